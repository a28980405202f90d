// SPDX-License-Identifier: GPL-2.0

//! The stop reasons of the walk.

/// The reason why the fast walk cannot take a page.
///
/// A stop is not an error: the slow path, which may sleep and has the VMA, decides. `mm/gup.c` returns 0 in all of
/// these cases; here each of them can be told apart, counted and shown.
///
/// The numbers are those of the ABI (`RUST_GUP_STOP_*`); `device/` asserts this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// Nothing is mapped: never touched, swapped out, or migrating.
    Absent = 1,
    /// `PROT_NONE`, a NUMA hint, or a userfaultfd access marker: not present for the CPU, but mapped.
    ProtNone = 2,
    /// The request is for writing, and the page is mapped read-only.
    ReadOnly = 3,
    /// The page is mapped for the kernel alone.
    NotUser = 4,
    /// The thread's protection keys deny the access.
    Pkey = 5,
    /// A special mapping, which may have no `struct page`.
    Special = 6,
    /// A table entry that makes no sense.
    Bad = 7,
    /// An entry changed between the read and the re-read.
    Changed = 8,
    /// The folio's reference count was zero: the folio is being freed, split or migrated.
    Unreferenced = 9,
    /// The folio's head or size changed before the walk held a reference, or the folio is smaller than what a huge leaf
    /// maps; or it is device memory without a page map, which is being taken apart.
    Split = 10,
    /// PCI peer-to-peer memory, for a caller that did not ask for it.
    Device = 11,
    /// The zero page, which is left to the slow path.
    ZeroPage = 12,
    /// The folio may not be pinned for long where it lies: it is movable, CMA, or isolated; or it is device memory of a
    /// file system, or coherent.
    Longterm = 13,
    /// A small folio without an owner: truncated, or inserted by a driver.
    NoMapping = 14,
    /// A long-term pin for writing of file-backed memory.
    FileLongterm = 15,
    /// Secret memory, or unevictable memory, which could be secret.
    Secret = 16,
    /// A read-only pin of an anonymous page that is not exclusive, or a long-term one of memory that is not anonymous.
    Unshare = 17,
    /// The architecture could not make the folio accessible.
    Inaccessible = 18,
    /// fork() is write-protecting the address space, or did so during the window.
    Fork = 19,
    /// The address is beyond what the tables of this process can map.
    Range = 20,
    /// The fast walk is off on this machine.
    Off = 21,
    /// A fatal signal is pending.
    Signal = 22,
    /// The folio has so many references that its count could overflow before long.
    TooManyRefs = 23,
}

impl Stop {
    /// One more than the highest number.
    pub const COUNT: usize = 24;

    /// All stop reasons.
    pub const ALL: [Self; Self::COUNT - 1] = [
        Self::Absent,
        Self::ProtNone,
        Self::ReadOnly,
        Self::NotUser,
        Self::Pkey,
        Self::Special,
        Self::Bad,
        Self::Changed,
        Self::Unreferenced,
        Self::Split,
        Self::Device,
        Self::ZeroPage,
        Self::Longterm,
        Self::NoMapping,
        Self::FileLongterm,
        Self::Secret,
        Self::Unshare,
        Self::Inaccessible,
        Self::Fork,
        Self::Range,
        Self::Off,
        Self::Signal,
        Self::TooManyRefs,
    ];

    /// Returns whether another try without the slow path is worthwhile: something changed under the walk, and the walk
    /// did not look at the new state.
    pub const fn is_race(self) -> bool {
        matches!(self, Self::Changed | Self::Split)
    }
}
