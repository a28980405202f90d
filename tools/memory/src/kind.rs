// SPDX-License-Identifier: GPL-2.0

//! The kinds of memory and their names.

use std::{
    fmt,
    io,
    str::FromStr, //
};

use crate::{
    make,
    size::{
        page_bytes,
        pmd_bytes,
        pud_bytes, //
    },
    Mapping, //
};

/// Size of the transparent huge pages of [`Kind::Mthp64k`].
pub(crate) const MTHP_BYTES: usize = 64 << 10;

/// A kind of memory.
///
/// Names and texts give the sizes on a machine with base pages of 4 KiB. [`Kind::granule_bytes`] returns the size on
/// this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Anonymous memory in base pages. The frames lie as the kernel gives them, mostly next to each other.
    Anon4k,
    /// Anonymous memory in base pages with frames in random order, as on a machine that has run for a long time.
    Anon4kScattered,
    /// Anonymous memory that has only been read so far: the shared zero page, mapped read-only.
    ZeroPage,
    /// Anonymous memory that is shared copy-on-write with a child.
    AnonForked,
    /// A transparent huge page of 2 MiB under one entry.
    Thp2m,
    /// A transparent huge page of 2 MiB that is mapped in base pages.
    Thp2mSplit,
    /// Transparent huge pages of 64 KiB, which x86-64 maps in base pages.
    Mthp64k,
    /// A huge page of 2 MiB from the reserved pool.
    Hugetlb2m,
    /// A huge page of 1 GiB from the reserved pool.
    Hugetlb1g,
    /// A shared file on tmpfs in base pages.
    Tmpfs,
    /// A shared file on tmpfs in huge pages of 2 MiB.
    TmpfsHuge,
    /// A shared memfd in base pages.
    Memfd,
    /// A private mapping of a file that has only been read so far.
    FilePrivate,
    /// A private mapping of a file after it was written to: anonymous copies of the file's pages.
    FilePrivateCow,
    /// Secret memory, memfd_secret(2), which nobody may pin.
    Secret,
    /// Anonymous memory whose access rights were removed afterwards.
    ProtNone,
    /// Anonymous memory with one page in the middle unmapped.
    Hole,
}

impl Kind {
    /// All kinds, the plain ones first.
    pub const ALL: [Self; 17] = [
        Self::Anon4k,
        Self::Anon4kScattered,
        Self::ZeroPage,
        Self::AnonForked,
        Self::Thp2m,
        Self::Thp2mSplit,
        Self::Mthp64k,
        Self::Hugetlb2m,
        Self::Hugetlb1g,
        Self::Tmpfs,
        Self::TmpfsHuge,
        Self::Memfd,
        Self::FilePrivate,
        Self::FilePrivateCow,
        Self::Secret,
        Self::ProtNone,
        Self::Hole,
    ];

    /// Returns the short name, as in tables, JSON and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anon4k => "anon-4k",
            Self::Anon4kScattered => "anon-4k-scattered",
            Self::ZeroPage => "zero-page",
            Self::AnonForked => "anon-forked",
            Self::Thp2m => "thp-2m",
            Self::Thp2mSplit => "thp-2m-split",
            Self::Mthp64k => "mthp-64k",
            Self::Hugetlb2m => "hugetlb-2m",
            Self::Hugetlb1g => "hugetlb-1g",
            Self::Tmpfs => "tmpfs",
            Self::TmpfsHuge => "tmpfs-huge",
            Self::Memfd => "memfd",
            Self::FilePrivate => "file-private",
            Self::FilePrivateCow => "file-private-cow",
            Self::Secret => "secret",
            Self::ProtNone => "prot-none",
            Self::Hole => "hole",
        }
    }

    /// Returns a short description of the kind.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Anon4k => "anonymous memory in base pages",
            Self::Anon4kScattered => "anonymous memory in base pages in random order",
            Self::ZeroPage => "anonymous memory that was only read: the shared zero page",
            Self::AnonForked => "anonymous memory shared copy-on-write with a child",
            Self::Thp2m => "transparent huge page of 2 MiB under one entry",
            Self::Thp2mSplit => "transparent huge page of 2 MiB mapped in base pages",
            Self::Mthp64k => "transparent huge pages of 64 KiB",
            Self::Hugetlb2m => "reserved huge page of 2 MiB",
            Self::Hugetlb1g => "reserved huge page of 1 GiB",
            Self::Tmpfs => "shared file on tmpfs in base pages",
            Self::TmpfsHuge => "shared file on tmpfs in huge pages of 2 MiB",
            Self::Memfd => "shared memfd in base pages",
            Self::FilePrivate => "private mapping of a file, only read so far",
            Self::FilePrivateCow => "private mapping of a file, after writing to it",
            Self::Secret => "secret memory, which nobody may pin",
            Self::ProtNone => "anonymous memory without access rights",
            Self::Hole => "anonymous memory with one page in the middle unmapped",
        }
    }

    /// Returns the granule of this kind: the size of each mapping is a multiple of it, in bytes.
    pub fn granule_bytes(self) -> usize {
        match self {
            Self::Thp2m | Self::Thp2mSplit | Self::Hugetlb2m | Self::TmpfsHuge => pmd_bytes(),
            Self::Mthp64k => MTHP_BYTES,
            Self::Hugetlb1g => pud_bytes(),
            // Leaves mapped pages beside the hole.
            Self::Hole => 4 * page_bytes(),
            _ => page_bytes(),
        }
    }

    /// Returns whether the folios of this kind have more than one page.
    pub fn has_large_folios(self) -> bool {
        matches!(
            self,
            Self::Thp2m
                | Self::Thp2mSplit
                | Self::Mthp64k
                | Self::Hugetlb2m
                | Self::Hugetlb1g
                | Self::TmpfsHuge
        )
    }

    /// Maps at least `len_bytes` of this kind, rounded up to [`Kind::granule_bytes`], and faults them in.
    pub fn map(self, len_bytes: usize) -> io::Result<Mapping> {
        make::map(self, len_bytes)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
                format!(
                    "no kind of memory is called `{name}`, there are: {}",
                    names.join(", ")
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("thp".parse::<Kind>().is_err());
    }
}
