// SPDX-License-Identifier: GPL-2.0

//! The differential matrix. Verify of memory in each [`Situation`], for reading and for writing, by a reference, a pin
//! and a pin for long, of ranges from a byte up to more than there is, that the module does as the kernel's functions:
//!
//! - at first touch, on memory that is made anew for each engine: the same number of pages or the same error, of the
//!   same kind, mapped in the same way, as many pins in /proc/vmstat, and the contents that the owner gave them;
//! - of memory that is made anew, of which the engine in Rust takes what it finds and the kernel's function then,
//!   within one comparison: the same pages;
//! - on memory at rest, which the kernel's function has taken before: the same pages, the same reference counts, pin
//!   counts and referenced flags;
//! - without the slow path, before and afterwards: the same pages as `get_user_pages_fast_only()`, and for pins, for
//!   which the kernel has no such function, a beginning of them, up to the page and for the reason that are expected;
//! - that what is read and written through the pages is what the owner writes and reads;
//! - that nothing is left behind: no page counts as pinned, memory at rest has as many references as before, and all
//!   pages are freed with their mapping and file;
//!
//! and that both do what is expected of the situation. Where the module is stricter on purpose, a [`Parity`] says so.
//!
//! A situation is one function that makes a [`Scene`], proves that it is what it says, and says what to expect of each
//! page of it. They are in the files below this one, by kinds of memory.

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

/// Memory is made many times. Under Xen each time takes long.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Each situation is compared at least so often.
const NR_LEAST: u64 = 200;
/// And so many looks more may be needed for that.
const MAX_RETRIES: u64 = 6;

/// A test for each situation, and one for their sum.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = [
        anon::SITUATIONS,
        huge::SITUATIONS,
        hugetlb::SITUATIONS,
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
            // The memory is at rest; that a list of the kernel is emptied meanwhile is the exception.
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

/// How many situations there were, how often they were compared and how often that looked again, by all tests, which
/// are processes of their own.
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

/// Counts a situation that was compared `nr` times.
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
