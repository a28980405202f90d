// SPDX-License-Identifier: GPL-2.0

//! The parts of a sequence: operations that make memory, and ranges of that memory to take.

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

/// Consecutive whole pages of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) page: usize,
    pub(super) nr_pages: usize,
}

impl Piece {
    /// Returns the piece that covers the whole place.
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

/// A kind of memory to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Memory {
    Anon,
    DevZero,
    Memfd,
    /// A file on a tmpfs that is mounted with huge=always.
    Tmpfs,
    /// A file on a disk.
    Disk,
    /// Huge pages of 2 MiB from the pool.
    Hugetlb,
    Secret,
    /// Memory of a device, mapped through /dev/mem.
    Device,
    /// The file that was made last, from its beginning.
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

/// Access rights of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rights {
    ReadWrite,
    Read,
    Write,
    None,
    ReadExec,
    /// Execute-only. Where there are protection keys, the kernel uses a key that denies reading.
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

/// The accesses that a protection key denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denies {
    Nothing,
    Writing,
    Access,
}

/// An advice for madvise(2).
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

/// Size of the folios that anonymous memory gets unasked. With `HugePage` it may get any of the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sizes {
    Base,
    K64,
    M1,
    M2,
}

/// The accesses of which userfaultfd gives notice. Nobody serves the faults, so they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notice {
    Missing,
    Writes,
    MissingAndWrites,
    /// Any access. Needs Linux 7.3.
    Accesses,
}

impl Notice {
    pub(super) const ALL: [Self; 4] = [
        Self::Missing,
        Self::Writes,
        Self::MissingAndWrites,
        Self::Accesses,
    ];
}

/// An operation that makes or changes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Map {
        piece: Piece,
        memory: Memory,
        shared: bool,
        rights: Rights,
    },
    /// Maps the huge page of 1 GiB, which all sequences share.
    MapGiant(Rights),
    Unmap(Piece),
    Protect(Piece, Rights),
    ProtectByKey(Piece, Denies),
    Advise(Piece, Advice),
    Move {
        from: Piece,
        to: Spot,
        /// Leaves the old mapping in place, empty.
        leaves: bool,
    },
    /// Accesses a word of every `stride`-th page.
    Touch {
        piece: Piece,
        stride: usize,
        access: Access,
    },
    /// Forks a child. The child may write to a piece, and lives on.
    Fork {
        writes: Option<Piece>,
    },
    /// Ends the oldest child.
    Reap,
    Lock {
        piece: Piece,
        on_fault: bool,
    },
    Unlock(Piece),
    Notice(Piece, Notice),
    /// Removes the protection, as serving the fault would.
    Reveal(Piece, Notice),
    /// Writes to /proc/self/clear_refs.
    ClearRefs(u8),
    FolioSizes(Sizes),
    /// Truncates the file that was made last.
    Truncate {
        nr_pages: usize,
    },
    /// Releases the oldest handle that was kept.
    Release,
}

/// Operations that are counted without distinguishing their arguments.
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
    /// Returns the short names of all operations.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let memory = Memory::ALL.iter().map(|memory| format!("Map {memory:?}"));
        let advice = Advice::ALL
            .iter()
            .map(|advice| format!("Advise {advice:?}"));
        let notices = Notice::ALL.into_iter().map(Self::name_of_notice);
        let plain = PLAIN.iter().map(ToString::to_string);
        memory.chain(advice).chain(notices).chain(plain)
    }

    /// Returns the short name of registering a piece for notices.
    pub(super) fn name_of_notice(notice: Notice) -> String {
        format!("Notice {notice:?}")
    }

    /// Returns the short name of the operation, for counting.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Map { memory, .. } => format!("Map {memory:?}"),
            Self::Advise(_, advice) => format!("Advise {advice:?}"),
            Self::Notice(_, notice) => Self::name_of_notice(*notice),
            other => {
                let text = format!("{other:?}");
                let end = text.find([' ', '(', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            }
        }
    }
}

/// How both engines take a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Compare,
    /// PIN by each engine, by `first` before the other one. The pages are checked each time.
    Pin {
        first: Engine,
        /// The second engine takes the range while the first one still holds it.
        overlap: bool,
        /// The pages that the first engine took stay held.
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

/// An operation, and the ranges to take after it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) op: Op,
    pub(super) takes: Vec<Take>,
}

/// A sequence of operations on fresh memory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) sizes: Sizes,
    /// What the arena is mapped to at the beginning.
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
