// SPDX-License-Identifier: GPL-2.0

//! Counts of what all processes have done so far. The counters lie in memory that the processes share.

use std::{
    ptr::with_exposed_provenance,
    sync::atomic::{
        AtomicU64,
        Ordering::Relaxed, //
    }, //
};

use rust_gup_uapi::{
    errno_name,
    ERRNO_NAMES, //
};

use super::{
    arena,
    call::Call, //
};
use crate::harness::memory::RW;

const NR_CALLS: usize = Call::ALL.len();
/// Index for numbers that mean no call.
const UNKNOWN: usize = NR_CALLS;
/// Index for error numbers that no call may return.
const OTHER: usize = ERRNO_NAMES.len();

/// The counters. All zeroes is a valid value.
#[repr(C)]
pub(super) struct Tally {
    results: [[AtomicU64; OTHER + 1]; NR_CALLS + 1],
    nr_cases: AtomicU64,
    /// Memory in use before the calls, as [`growth`](super::growth) measured it, in KiB.
    pub(super) memory_before: [AtomicU64; 2],
    pub(super) calls_before: AtomicU64,
}

impl Tally {
    /// Creates counters for this process and its descendants.
    pub(super) fn new() -> &'static Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let start = arena::map(0, size_of::<Self>(), RW, flags, -1);
        // SAFETY: The memory is zeroed, large enough, page-aligned, and never unmapped.
        unsafe { &*with_exposed_provenance::<Self>(start) }
    }

    pub(super) fn count(&self, call: Option<Call>, errno: i32) {
        let call = Call::ALL.iter().position(|c| Some(*c) == call);
        let result = ERRNO_NAMES.iter().position(|(number, _)| *number == errno);
        self.results[call.unwrap_or(UNKNOWN)][result.unwrap_or(OTHER)].fetch_add(1, Relaxed);
    }

    pub(super) fn count_case(&self) {
        self.nr_cases.fetch_add(1, Relaxed);
    }

    pub(super) fn nr_cases(&self) -> u64 {
        self.nr_cases.load(Relaxed)
    }

    pub(super) fn nr_calls(&self) -> u64 {
        let results = self.results.iter().flatten();
        results.map(|result| result.load(Relaxed)).sum()
    }

    /// Returns how often `call` ended with `errno`.
    pub(super) fn nr_results(&self, call: Call, errno: i32) -> u64 {
        let call = Call::ALL.iter().position(|c| *c == call);
        let result = ERRNO_NAMES.iter().position(|(number, _)| *number == errno);
        match (call, result) {
            (Some(call), Some(result)) => self.results[call][result].load(Relaxed),
            _ => 0,
        }
    }

    /// Returns one line for each call.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(at, results): (usize, &[AtomicU64; OTHER + 1])| {
            let mut line = match Call::ALL.get(at) {
                Some(call) => format!("{call:?}:"),
                None => "no call:".to_owned(),
            };
            for (result, nr) in results.iter().enumerate() {
                let nr = nr.load(Relaxed);
                if nr != 0 {
                    let name = match ERRNO_NAMES.get(result) {
                        Some((errno, _)) => errno_name(*errno),
                        None => "other".to_owned(),
                    };
                    line += &format!(" {name} {nr}");
                }
            }
            line
        };
        self.results.iter().enumerate().map(line).collect()
    }
}
