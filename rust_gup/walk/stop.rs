// SPDX-License-Identifier: GPL-2.0

//! Why the walk stops.

/// Why a page cannot be had by the fast walk.
///
/// Stopping is never an error by itself: the slow path, which may sleep and has the VMA, decides. `mm/gup.c` returns 0
/// for all of these; here each can be told apart, counted and shown.
///
/// The numbers are those of the ABI (`RUST_GUP_STOP_*`); `device/` asserts that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// Nothing is mapped: never touched, swapped out, or migrating.
    Absent = 1,
    /// `PROT_NONE`, a NUMA hint, or a userfaultfd access marker: not present for the CPU, but mapped.
    ProtNone = 2,
    /// Wanted for writing and mapped read-only.
    ReadOnly = 3,
    /// Mapped for the kernel alone.
    NotUser = 4,
    /// The thread's protection keys deny the access.
    Pkey = 5,
    /// A special mapping, which may have no `struct page`.
    Special = 6,
    /// A table entry that makes no sense.
    Bad = 7,
    /// An entry changed between the first look and the reference.
    Changed = 8,
    /// The folio's reference count was zero, so that it is being freed, split or migrated.
    Unreferenced = 9,
    /// The folio changed its head or its size between two looks, or is smaller than what a huge leaf maps; or it is
    /// device memory without a page map, which is being taken apart.
    Split = 10,
    /// PCI peer-to-peer memory, for a caller who did not ask for it.
    Device = 11,
    /// The zero page.
    ZeroPage = 12,
    /// Not where it can stay for long: movable, CMA, or isolated; device memory of a file system, or coherent.
    Longterm = 13,
    /// A small folio without an owner: truncated, or inserted by a driver.
    NoMapping = 14,
    /// File-backed, and wanted for writing for long.
    FileLongterm = 15,
    /// Secret memory, or unevictable so that it could be.
    Secret = 16,
    /// An R/O pin of an anonymous page that is not exclusive.
    Unshare = 17,
    /// The architecture could not make the folio accessible.
    Inaccessible = 18,
    /// fork() is write-protecting the address space, or was meanwhile.
    Fork = 19,
    /// Beyond what the tables of this process can map.
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

    /// All of them.
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

    /// Whether the cause is gone as soon as the walk looks again, so that trying once more without the slow path is
    /// worth its while: something changed under the walk, and what is there now was not looked at.
    pub const fn is_race(self) -> bool {
        matches!(self, Self::Changed | Self::Split)
    }
}
