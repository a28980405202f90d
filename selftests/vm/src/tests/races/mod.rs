// SPDX-License-Identifier: GPL-2.0

//! Verify that pages can be taken while the owner, the kernel or another process takes them away, moves them, or
//! replaces them, and that each time
//!
//! - a held page belongs to nobody else: it bears its owner's stamp as long as it is held, and bytes written through a
//!   handle stay there and appear in no memory of others;
//! - as long as the mapping stands, the owner reads what is written through a pin, and the pin shows what the owner
//!   writes;
//! - a page is zero only while its owner has given up its contents;
//! - refusals are the documented ones, and each way of asking succeeds at some time;
//! - no reference is left in the end.
//!
//! Takers, disturber and the process that wants pages hold no lock and share only memory. Documentation/races.rst names
//! the check of the walk that each race tests.

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

/// Returns all races.
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
        // This one comes last, because memory loses pages in it and does not get them back.
        migration::noisy_races(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Makes the test of a race, with the time that it needs at the requested scale.
fn race(name: &str, run: fn()) -> Test {
    Test::new(module_path!(), name, run).within(frame::time_limit())
}

/// Makes a function `races()` that returns the races of a family.
macro_rules! races {
    ($($name:ident),+ $(,)?) => {
        pub(super) fn races() -> Vec<$crate::harness::runner::Test> {
            vec![$($crate::tests::races::race(stringify!($name), $name)),+]
        }
    };
}
use races;

pub(super) use total::line as last_line;
