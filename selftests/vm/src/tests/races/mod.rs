// SPDX-License-Identifier: GPL-2.0

//! Verify that pages can be taken while the owner, the kernel or another process does anything that takes them away,
//! moves them, or makes others of them, and that each time
//!
//! - a page that is held is nobody else's: it bears its owner's stamp for as long as it is held, what is written
//!   through a handle stays there, and turns up in no memory of others;
//! - as long as the mapping stands, what is written through a pin is what the owner reads, and what the owner writes is
//!   what is read through the pin;
//! - a page is zero only while its owner has given up its contents;
//! - refusals are the documented ones, and each way of asking succeeds at some time;
//! - no reference is left in the end.
//!
//! Nobody holds a lock: takers, disturber, and who wants pages only share memory. Documentation/races.rst says which
//! check of the walk each race is after.

mod arena;
mod counts;
mod ends;
mod files;
mod forks;
mod frame;
mod hotplug;
mod huge;
mod hugetlb;
mod mappings;
mod migration;
mod owner;
mod reclaim;
mod shared;
mod sharing;
mod squatter;
mod taker;
mod total;
mod ways;

use crate::harness::runner::Test;

/// All races.
pub(crate) fn tests() -> Vec<Test> {
    total::begin();
    counts::begin();
    [
        mappings::races(),
        forks::races(),
        huge::races(),
        reclaim::races(),
        sharing::races(),
        files::races(),
        hugetlb::races(),
        migration::races(),
        hotplug::races(),
        ends::races(),
        // Last: memory that lacks a page does not come back once it was taken away.
        migration::noisy_races(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A race, with the time that it needs at the scale that was asked for.
fn race(name: &str, run: fn()) -> Test {
    Test::new(module_path!(), name, run).within(frame::time_limit())
}

/// Makes a function `races()` of a family's races.
macro_rules! races {
    ($($name:ident),+ $(,)?) => {
        pub(super) fn races() -> Vec<$crate::harness::runner::Test> {
            vec![$($crate::tests::races::race(stringify!($name), $name)),+]
        }
    };
}
use races;

pub(super) use total::line as last_line;
