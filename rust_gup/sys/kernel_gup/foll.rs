// SPDX-License-Identifier: GPL-2.0

//! The kernel's own flags for requests, for callers that pass on flags from user space.

use kernel::{
    bindings,
    prelude::*, //
};

use crate::walk::{
    Access,
    RefKind,
    Rules, //
};

/// Flags that the fast functions accept (`mm/gup.c:3183`).
const FAST: u32 = bindings::FOLL_WRITE
    | bindings::FOLL_GET
    | bindings::FOLL_FORCE
    | bindings::FOLL_NOFAULT
    | bindings::FOLL_LONGTERM
    | bindings::FOLL_PCI_P2PDMA
    | bindings::FOLL_HONOR_NUMA_FAULT;

/// Flags that at least one function accepts. The other bits are internal (`INTERNAL_GUP_FLAGS`, `mm/internal.h:1332`)
/// or have no meaning.
const PUBLIC: u32 = FAST
    | bindings::FOLL_DUMP
    | bindings::FOLL_NOWAIT
    | bindings::FOLL_HWPOISON
    | bindings::FOLL_ANON
    | bindings::FOLL_SPLIT_PMD
    | bindings::FOLL_INTERRUPTIBLE;

/// Flags that the slow path obeys and the fast walk ignores, as in `mm/gup.c`. Only `PCI_P2PDMA` is obeyed by both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlowOnly(u32);

impl SlowOnly {
    /// Write to private memory that is mapped read-only.
    #[doc(alias = "FOLL_FORCE")]
    pub(crate) const FORCE: Self = Self(bindings::FOLL_FORCE);
    /// Do not fault pages in.
    #[doc(alias = "FOLL_NOFAULT")]
    pub(crate) const NOFAULT: Self = Self(bindings::FOLL_NOFAULT);
    /// Take peer-to-peer memory too. Not together with `FOLL_LONGTERM`.
    #[doc(alias = "FOLL_PCI_P2PDMA")]
    pub(crate) const PCI_P2PDMA: Self = Self(bindings::FOLL_PCI_P2PDMA);
    /// Let NUMA hints fault first.
    #[doc(alias = "FOLL_HONOR_NUMA_FAULT")]
    pub(crate) const HONOR_NUMA_FAULT: Self = Self(bindings::FOLL_HONOR_NUMA_FAULT);

    const ALL: Self = Self::FORCE
        .and(Self::NOFAULT)
        .and(Self::PCI_P2PDMA)
        .and(Self::HONOR_NUMA_FAULT);

    /// Returns the flags of both values.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether this value has all flags of `other`.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// `FOLL_` flags that the kernel accepts for their kind of reference.
#[derive(Clone, Copy)]
pub(crate) struct FollFlags(u32);

impl FollFlags {
    /// Checks flags for the slow functions and references of kind `K`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that the functions themselves refuse. The functions also warn, because their callers are not
    /// user space.
    #[doc(alias = "is_valid_gup_args")]
    pub(crate) fn slow<K: RefKind>(flags: u32) -> Result<Self> {
        let has = |flag| flags & flag != 0;
        let longterm = has(bindings::FOLL_LONGTERM);
        let is_valid = flags & !PUBLIC == 0
            && !(K::PINS && has(bindings::FOLL_GET))
            && !(longterm && (!K::PINS || has(bindings::FOLL_PCI_P2PDMA)));
        if is_valid {
            Ok(Self(flags))
        } else {
            Err(EINVAL)
        }
    }

    /// Checks flags for the fast functions and references of kind `K`.
    ///
    /// # Errors
    ///
    /// As [`slow()`](Self::slow).
    #[doc(alias = "gup_fast_fallback")]
    pub(crate) fn fast<K: RefKind>(flags: u32) -> Result<Self> {
        if flags & !FAST == 0 {
            Self::slow::<K>(flags)
        } else {
            Err(EINVAL)
        }
    }

    /// Adds `FOLL_LONGTERM` to flags that are not checked yet.
    pub(crate) const fn and_longterm(flags: u32) -> u32 {
        flags | bindings::FOLL_LONGTERM
    }

    /// Returns the flags for a long-term pin.
    pub(crate) const fn longterm(access: Access) -> Self {
        Self(Self::and_longterm(match access {
            Access::Read => 0,
            Access::Write => bindings::FOLL_WRITE,
        }))
    }

    /// Returns the flags for these rules. The kernel accepts them, because `longterm` comes only with pins, and never
    /// with peer-to-peer memory.
    pub(crate) fn new(rules: &Rules, slow_only: SlowOnly) -> Self {
        let mut flags = slow_only.0;
        if rules.access.is_write() {
            flags |= bindings::FOLL_WRITE;
        }
        if rules.longterm {
            flags |= bindings::FOLL_LONGTERM;
        }
        Self(flags)
    }

    /// Splits flags for the fast functions into the access, whether the pin is for long, and the flags for the slow
    /// path.
    pub(crate) fn for_walk(self) -> (Access, bool, SlowOnly) {
        let access = if self.0 & bindings::FOLL_WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        };
        let longterm = self.0 & bindings::FOLL_LONGTERM != 0;
        (access, longterm, SlowOnly(self.0 & SlowOnly::ALL.0))
    }

    /// Returns the flags.
    pub(in crate::sys) fn bits(self) -> u32 {
        self.0
    }
}
