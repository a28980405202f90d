// SPDX-License-Identifier: GPL-2.0

//! The differential matrix. Verify that, for memory in each [`Situation`], for reading and for writing, by a reference,
//! a pin and a long-term pin, and for ranges from one byte up to more than the memory, the module does the same as the
//! kernel's functions:
//!
//! - at first touch, on memory that is made anew for each engine: the same number of pages or the same error, pages of
//!   the same kind, mapped in the same way, as many pins in /proc/vmstat, and the contents that the owner wrote;
//! - on memory that is made anew, and that the Rust engine takes as it is and the kernel's function after that, within
//!   one comparison: the same pages;
//! - on memory at rest, which the kernel's function has taken before: the same pages, the same reference counts, pin
//!   counts and referenced flags;
//! - without the slow path, at first touch and at rest: the same pages as `get_user_pages_fast_only()`. The kernel has
//!   no such function for pins; they must be a beginning of these pages, up to the expected page and for the expected
//!   reason;
//! - bytes read and written through the pages are the bytes that the owner writes and reads;
//! - nothing is left behind: no page counts as pinned, memory at rest has as many references as before, and all pages
//!   are freed with their mapping and file;
//!
//! and that both engines do what the situation expects. Where the module is stricter on purpose, a [`Parity`] says so.
//!
//! A situation is one function that makes a [`Scene`], proves that the memory is in that situation, and says what to
//! expect of each page. The files below this one contain the situations, by kinds of memory.

mod anon;
mod bars;
mod case;
mod check;
mod cow;
mod dax;
mod file;
mod first;
pub(crate) mod huge;
mod hugetlb;
mod left;
mod pins;
mod places;
mod reclaim;
mod rights;
pub(crate) mod situation;
mod special;
mod struct_page;

use std::{
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        OnceLock, //
    },
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::{
    memory::{
        Map,
        RW, //
    },
    runner::Test, //
};

pub(crate) use situation::{Page, Parity, Scene, Situation};

/// Each situation makes its memory many times, which takes long under Xen.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Each situation needs at least this many comparisons.
const NR_LEAST: u64 = 200;
/// The comparisons of a situation may try again this often in total.
const MAX_RETRIES: u64 = 6;

/// Returns a test for each situation, and one for their sum.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = [
        anon::SITUATIONS,
        huge::SITUATIONS,
        hugetlb::SITUATIONS,
        hugetlb::CONTIGUOUS,
        cow::SITUATIONS,
        rights::SITUATIONS,
        reclaim::SITUATIONS,
        file::SITUATIONS,
        special::SITUATIONS,
    ]
    .into_iter()
    .flatten()
    .chain(places::situations())
    .chain(dax::situations())
    .chain(bars::situations())
    .map(|situation| {
        let name = situation.name;
        Test::new(module_path!(), name, move || {
            let nr = check::all(situation);
            let nr_retries = case::NR_RETRIES.load(Ordering::Relaxed);
            println!("{nr} comparisons, {nr_retries} looks more");
            assert!(nr >= NR_LEAST, "{name}: {nr} comparisons");
            // The memory is at rest, so reference counts differ only if the kernel happens to empty a per-CPU list.
            assert!(nr_retries <= MAX_RETRIES, "{name}: {nr_retries} looks more");
            count(nr, nr_retries);
        })
        .expect_log(situation.log)
        .within(TIME_LIMIT)
    })
    .collect();
    tests.extend(special::tests());
    tests.extend(bars::tests());
    tests.push(Test::new(
        module_path!(),
        "what_is_held_is_seen",
        left::what_is_held_is_seen,
    ));
    count(0, 0);
    tests.push(Test::new(module_path!(), "all", all));
    tests
}

/// Returns the sums over all tests: situations, comparisons, and retries of comparisons. Each test is a process of its
/// own, so the counters are in shared memory.
fn tally() -> &'static [AtomicU64; 3] {
    static TALLY: OnceLock<usize> = OnceLock::new();
    let addr = *TALLY.get_or_init(|| {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let map = Map::new(0, page_bytes(), RW, flags, -1).expect("shared memory");
        let addr = map.addr;
        std::mem::forget(map);
        addr
    });
    // SAFETY: The memory is mapped for good, aligned, zero at first, and accessed in no other way.
    unsafe { &*std::ptr::with_exposed_provenance(addr) }
}

/// Counts a situation with `nr` comparisons, which tried again `nr_more` times.
fn count(nr: u64, nr_more: u64) {
    let [nr_situations, nr_comparisons, nr_retries] = tally();
    nr_retries.fetch_add(nr_more, Ordering::Relaxed);
    nr_situations.fetch_add(u64::from(nr != 0), Ordering::Relaxed);
    nr_comparisons.fetch_add(nr, Ordering::Relaxed);
}

fn all() {
    let [nr_situations, nr_comparisons, nr_retries] =
        tally().each_ref().map(|n| n.load(Ordering::Relaxed));
    println!(
        "figures: {nr_comparisons} comparisons in {nr_situations} situations, which looked {nr_retries} times more"
    );
    assert!(nr_situations > 0 && nr_comparisons >= nr_situations * NR_LEAST);
}
