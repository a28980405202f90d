// SPDX-License-Identifier: GPL-2.0

//! What a sequence consists of: operations that make memory, and ranges that are taken of it.

use std::fmt;

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    Access,
    Engine,
    Fallback,
    How,
    Request, //
};

use super::place::{
    Place,
    Spot, //
};

/// Whole pages of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) page: usize,
    pub(super) nr_pages: usize,
}

impl Piece {
    /// All of it.
    pub(super) fn of(place: Place) -> Self {
        Self {
            place,
            page: 0,
            nr_pages: place.nr_pages(),
        }
    }

    pub(super) fn addr(self) -> usize {
        self.place.addr() + self.page * page_bytes()
    }

    pub(super) fn len_bytes(self) -> usize {
        self.nr_pages * page_bytes()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.page + self.nr_pages;
        write!(f, "{:?}[{}..{end}]", self.place, self.page)
    }
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Memory {
    Anon,
    DevZero,
    Memfd,
    /// tmpfs that is mounted with huge=always.
    Tmpfs,
    /// A file on a disk.
    Disk,
    /// Huge pages of 2 MiB out of the pool.
    Hugetlb,
    Secret,
    /// Memory of a device, by way of /dev/mem.
    Device,
    /// The file that was made last, from its beginning on.
    Again,
}

impl Memory {
    const ALL: [Self; 9] = [
        Self::Anon,
        Self::DevZero,
        Self::Memfd,
        Self::Tmpfs,
        Self::Disk,
        Self::Hugetlb,
        Self::Secret,
        Self::Device,
        Self::Again,
    ];
}

/// Rights of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rights {
    ReadWrite,
    Read,
    Write,
    None,
    ReadExec,
    /// By a protection key that denies reading, where there are keys.
    Exec,
}

impl Rights {
    pub(super) fn bits(self) -> libc::c_int {
        match self {
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Self::Read => libc::PROT_READ,
            Self::Write => libc::PROT_WRITE,
            Self::None => libc::PROT_NONE,
            Self::ReadExec => libc::PROT_READ | libc::PROT_EXEC,
            Self::Exec => libc::PROT_EXEC,
        }
    }
}

/// What a protection key denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denies {
    Nothing,
    Writing,
    Access,
}

/// Advice of madvise(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Advice {
    DontNeed,
    DontNeedLocked,
    Free,
    Remove,
    HugePage,
    NoHugePage,
    Collapse,
    PageOut,
    Cold,
    PopulateRead,
    PopulateWrite,
    GuardInstall,
    GuardRemove,
    WipeOnFork,
    KeepOnFork,
    DontFork,
    DoFork,
    Unmergeable,
}

impl Advice {
    pub(super) const ALL: [Self; 18] = [
        Self::DontNeed,
        Self::DontNeedLocked,
        Self::Free,
        Self::Remove,
        Self::HugePage,
        Self::NoHugePage,
        Self::Collapse,
        Self::PageOut,
        Self::Cold,
        Self::PopulateRead,
        Self::PopulateWrite,
        Self::GuardInstall,
        Self::GuardRemove,
        Self::WipeOnFork,
        Self::KeepOnFork,
        Self::DontFork,
        Self::DoFork,
        Self::Unmergeable,
    ];

    pub(super) fn number(self) -> libc::c_int {
        match self {
            Self::DontNeed => libc::MADV_DONTNEED,
            Self::DontNeedLocked => 24,
            Self::Free => libc::MADV_FREE,
            Self::Remove => libc::MADV_REMOVE,
            Self::HugePage => libc::MADV_HUGEPAGE,
            Self::NoHugePage => libc::MADV_NOHUGEPAGE,
            Self::Collapse => 25,
            Self::PageOut => libc::MADV_PAGEOUT,
            Self::Cold => libc::MADV_COLD,
            Self::PopulateRead => libc::MADV_POPULATE_READ,
            Self::PopulateWrite => libc::MADV_POPULATE_WRITE,
            Self::GuardInstall => 102,
            Self::GuardRemove => 103,
            Self::WipeOnFork => libc::MADV_WIPEONFORK,
            Self::KeepOnFork => libc::MADV_KEEPONFORK,
            Self::DontFork => libc::MADV_DONTFORK,
            Self::DoFork => libc::MADV_DOFORK,
            Self::Unmergeable => libc::MADV_UNMERGEABLE,
        }
    }
}

/// How large the folios are that anonymous memory gets unasked. With `HugePage` it gets any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sizes {
    Base,
    K64,
    M1,
    M2,
}

/// What userfaultfd is to notice. Nobody serves the faults: they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notice {
    Missing,
    Writes,
    MissingAndWrites,
    /// Any access, from Linux 7.3 on.
    Accesses,
}

impl Notice {
    const ALL: [Self; 4] = [
        Self::Missing,
        Self::Writes,
        Self::MissingAndWrites,
        Self::Accesses,
    ];
}

/// Makes memory, or changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Map {
        piece: Piece,
        memory: Memory,
        shared: bool,
        rights: Rights,
    },
    /// The huge page of 1 GiB, shared by all sequences.
    MapGiant(Rights),
    Unmap(Piece),
    Protect(Piece, Rights),
    ProtectByKey(Piece, Denies),
    Advise(Piece, Advice),
    Move {
        from: Piece,
        to: Spot,
        /// Leaves the mapping behind, empty.
        leaves: bool,
    },
    /// Accesses a word of every `stride`-th page.
    Touch {
        piece: Piece,
        stride: usize,
        access: Access,
    },
    /// A child that lives on, and writes before that.
    Fork {
        writes: Option<Piece>,
    },
    /// Ends the eldest child.
    Reap,
    Lock {
        piece: Piece,
        on_fault: bool,
    },
    Unlock(Piece),
    Notice(Piece, Notice),
    /// Takes the protection back, as if that had been served.
    Reveal(Piece, Notice),
    /// /proc/self/clear_refs
    ClearRefs(u8),
    FolioSizes(Sizes),
    /// Cuts the file that was made last.
    Truncate {
        nr_pages: usize,
    },
    /// Releases the eldest of what was kept.
    Release,
}

/// Operations that are not told apart any further.
const PLAIN: [&str; 15] = [
    "MapGiant",
    "Unmap",
    "Protect",
    "ProtectByKey",
    "Move",
    "Touch",
    "Fork",
    "Reap",
    "Lock",
    "Unlock",
    "Reveal",
    "ClearRefs",
    "FolioSizes",
    "Truncate",
    "Release",
];

impl Op {
    /// All short names.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let memory = Memory::ALL.iter().map(|memory| format!("Map {memory:?}"));
        let advice = Advice::ALL
            .iter()
            .map(|advice| format!("Advise {advice:?}"));
        let notices = Notice::ALL
            .iter()
            .map(|notice| format!("Notice {notice:?}"));
        let plain = PLAIN.iter().map(ToString::to_string);
        memory.chain(advice).chain(notices).chain(plain)
    }

    /// Short name, for counting.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Map { memory, .. } => format!("Map {memory:?}"),
            Self::Advise(_, advice) => format!("Advise {advice:?}"),
            Self::Notice(_, notice) => format!("Notice {notice:?}"),
            other => {
                let text = format!("{other:?}");
                let end = text.find([' ', '(', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            }
        }
    }
}

/// Who takes a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Compare,
    /// Each engine, this one first, with a look at what it took.
    Pin {
        first: Engine,
        /// The second one takes while the first one still holds.
        overlap: bool,
        /// What the first one took is held on.
        keep: bool,
    },
}

/// One case: a range that both engines take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Take {
    pub(super) place: Place,
    pub(super) offset: usize,
    pub(super) len_bytes: usize,
    pub(super) how: How,
    pub(super) access: Access,
    pub(super) fallback: Fallback,
    pub(super) by: By,
}

impl Take {
    pub(super) fn request(&self) -> Request {
        Request::new(self.place.addr() + self.offset, self.len_bytes)
            .how(self.how)
            .access(self.access)
            .fallback(self.fallback)
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            offset,
            len_bytes,
            ..
        } = self;
        let (page, byte) = (offset / page_bytes(), offset % page_bytes());
        write!(f, "{place:?}[page {page} byte {byte}, {len_bytes} bytes]")?;
        write!(f, " {:?} {:?}", self.how, self.access)?;
        if self.fallback == Fallback::Never {
            f.write_str(" FastOnly")?;
        }
        write!(f, " by {:?}", self.by)
    }
}

/// An operation, and what is taken after it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) op: Op,
    pub(super) takes: Vec<Take>,
}

/// A sequence of operations on memory that was not touched yet.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) sizes: Sizes,
    /// What the arena consists of in the beginning.
    pub(super) ground: Option<(Memory, bool)>,
    pub(super) groups: Vec<Group>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:?}", self.op)?;
        let takes = &self.takes;
        takes.iter().try_for_each(|t| writeln!(f, "    take {t:?}"))
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  folios: {:?}; arena: {:?}", self.sizes, self.ground)?;
        self.groups.iter().try_for_each(|g| write!(f, "{g:?}"))
    }
}
