// SPDX-License-Identifier: GPL-2.0

//! The tests of the loaded module. Each file begins with its promises.

mod abi;
mod blocks;
mod compare;
mod concurrency;
mod cow;
mod dax;
mod dirty;
mod dma;
mod faults;
mod gup_test;
mod handles;
mod huge_zero;
mod interrupts;
mod isolated;
mod kernel_api;
mod kinds;
mod layout;
mod levels;
pub(crate) mod lifetime;
pub(crate) mod matrix;
mod measure;
mod memlock;
mod off;
mod overflow;
mod placement;
mod privileges;
pub(crate) mod races;
mod ranges;
pub(crate) mod runs;
mod slow_only;
mod stops;
pub(crate) mod swap;
mod tags;
mod unload;
mod unusual;

use crate::harness::runner::Test;

/// Returns all tests. Tests that unload the module come last.
pub(crate) fn all() -> Vec<Test> {
    [
        abi::tests(),
        layout::tests(),
        ranges::tests(),
        tags::tests(),
        blocks::tests(),
        levels::tests(),
        privileges::tests(),
        handles::tests(),
        overflow::tests(),
        runs::tests(),
        kinds::tests(),
        stops::tests(),
        slow_only::tests(),
        unusual::tests(),
        isolated::tests(),
        matrix::tests(),
        placement::tests(),
        dax::tests(),
        off::tests(),
        swap::tests(),
        dirty::tests(),
        cow::tests(),
        compare::tests(),
        measure::tests(),
        huge_zero::tests(),
        lifetime::tests(),
        memlock::tests(),
        concurrency::tests(),
        interrupts::tests(),
        races::tests(),
        kernel_api::tests(),
        dma::tests(),
        gup_test::tests(),
        faults::tests(),
        unload::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns a summary line for the end of the run, if a race has run.
pub(crate) fn last_line() -> Option<String> {
    races::last_line()
}
