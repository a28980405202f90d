// SPDX-License-Identifier: GPL-2.0

//! Stop reasons of the fast walk, in words.

use std::fmt;

use crate::raw;

/// A stop reason of the fast walk: one of `RUST_GUP_STOP_*`.
///
/// `Display` writes one sentence that says what the reason means and what can be done about it, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stop(u32);

impl Stop {
    /// Returns the reason with this number. A number of a newer module is accepted; it only has no name here.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number of the reason in the ABI.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Iterates over all reasons that this crate knows, without `RUST_GUP_STOP_NONE`.
    pub fn all() -> impl Iterator<Item = Self> {
        (raw::RUST_GUP_STOP_NONE + 1..raw::RUST_GUP_NR_STOPS).map(Self)
    }

    /// Returns the short name, as in tables and JSON.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// Returns the short name and the sentence.
    fn words(self) -> (&'static str, &'static str) {
        match self.0 {
            raw::RUST_GUP_STOP_NONE => ("none", "The fast walk took everything."),
            raw::RUST_GUP_STOP_ABSENT => (
                "absent",
                "No page is mapped there (never touched, swapped out, migrating, or a hole): touch the memory first, \
                 or let the slow path fault it in.",
            ),
            raw::RUST_GUP_STOP_PROT_NONE => (
                "prot-none",
                "The page is mapped without access rights (PROT_NONE, a NUMA hint, or a marker of userfaultfd): \
                 mprotect() it, or let the slow path resolve the hint.",
            ),
            raw::RUST_GUP_STOP_READ_ONLY => (
                "read-only",
                "The page is wanted for writing but mapped read-only (copy-on-write, or write-protected): write to \
                 it first, or let the slow path make it writable.",
            ),
            raw::RUST_GUP_STOP_NOT_USER => (
                "not-user",
                "The page belongs to the kernel: no user address leads to it, check the address.",
            ),
            raw::RUST_GUP_STOP_PKEY => (
                "pkey",
                "The thread's protection keys deny the access: change them with pkey_set().",
            ),
            raw::RUST_GUP_STOP_SPECIAL => (
                "special",
                "A special mapping: the zero page under memory that was only read so far, or device memory, which may \
                 have no struct page. Only the slow path can tell.",
            ),
            raw::RUST_GUP_STOP_BAD => (
                "bad",
                "A page-table entry makes no sense: look at the kernel log, memory may be corrupted.",
            ),
            raw::RUST_GUP_STOP_CHANGED => (
                "changed",
                "The entry changed while its page was being taken, because somebody is changing the \
                 mapping: try again.",
            ),
            raw::RUST_GUP_STOP_UNREFERENCED => (
                "unreferenced",
                "The page has no references, because it is being freed, split or migrated: try again.",
            ),
            raw::RUST_GUP_STOP_SPLIT => (
                "split",
                "The folio was split while it was being taken: try again.",
            ),
            raw::RUST_GUP_STOP_DEVICE => (
                "device",
                "PCI peer-to-peer memory: a program that can use it passes RUST_GUP_PCI_P2PDMA.",
            ),
            raw::RUST_GUP_STOP_ZERO_PAGE => (
                "zero-page",
                "The zero page, which the slow path treats by its own rules: write to the memory to get a page of \
                 your own.",
            ),
            raw::RUST_GUP_STOP_LONGTERM => (
                "longterm",
                "The page lies in movable memory or CMA and may not stay there for long: the slow path migrates it. Or \
                 it is file-system DAX memory, which cannot be pinned for long.",
            ),
            raw::RUST_GUP_STOP_NO_MAPPING => (
                "no-mapping",
                "A small folio without a mapping (truncated meanwhile, or a driver's): the slow path decides.",
            ),
            raw::RUST_GUP_STOP_FILE_LONGTERM => (
                "file-longterm",
                "A page of a file wanted for writing for long: only tmpfs, memfd and hugetlb allow that, and only \
                 the slow path can tell.",
            ),
            raw::RUST_GUP_STOP_SECRET => (
                "secret",
                "The page may be secret memory (memfd_secret), which only its owner may read: the slow path refuses \
                 secret memory, and takes other unevictable memory.",
            ),
            raw::RUST_GUP_STOP_UNSHARE => (
                "unshare",
                "The page is shared copy-on-write (after fork(), by KSM, or with a file) and must be unshared before \
                 it is pinned for reading: the slow path does that.",
            ),
            raw::RUST_GUP_STOP_INACCESSIBLE => (
                "inaccessible",
                "The machine could not make the page accessible (protected virtualization).",
            ),
            raw::RUST_GUP_STOP_FORK => (
                "fork",
                "fork() is copying the address space: try again after it.",
            ),
            raw::RUST_GUP_STOP_RANGE => (
                "range",
                "The range lies beyond what the page tables of this process can map: check address and length.",
            ),
            raw::RUST_GUP_STOP_OFF => (
                "off",
                "The fast walk is off on this machine (Xen PV; hash tables of PowerPC): everything takes the slow path.",
            ),
            raw::RUST_GUP_STOP_SIGNAL => (
                "signal",
                "A fatal signal is pending: the process is about to die.",
            ),
            raw::RUST_GUP_STOP_TOO_MANY_REFS => (
                "too-many-refs",
                "The page has so many references that its count could overflow: release handles that hold it.",
            ),
            _ => (
                "unknown",
                "A reason that this program does not know: it is older than the module, update it.",
            ),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

/// The first stop of the fast walk: reason and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// The stop reason.
    pub reason: Stop,
    /// Address of the page at which the walk stopped.
    pub addr: u64,
}

impl StopAt {
    /// Converts the two fields of the ABI. Returns `None` if the walk did not stop.
    pub(crate) fn from_raw(stop: u32, addr: u64) -> Option<Self> {
        (stop != raw::RUST_GUP_STOP_NONE).then_some(Self {
            reason: Stop(stop),
            addr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_header_has_a_name_of_its_own() {
        let mut names: Vec<_> = Stop::all().map(Stop::name).collect();
        assert!(!names.contains(&"unknown"));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), raw::RUST_GUP_NR_STOPS as usize - 1);
        assert_eq!(Stop::from_number(raw::RUST_GUP_NR_STOPS).name(), "unknown");
    }
}
