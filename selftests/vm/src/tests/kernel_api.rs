// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - the functions for other modules keep what `rust_gup_api.h` promises: `selftests/module` lists the promises, and
//!   tests them when it is loaded;
//! - a module that uses these functions holds a reference on rust_gup, and the counters include the pages it took.

use std::{
    ffi::CStr,
    path::Path, //
};

use crate::harness::{
    fixture::{
        refused,
        stats, //
    },
    module::{
        load,
        unload, //
    },
    runner::Test, //
};

pub(crate) fn tests() -> Vec<Test> {
    let tests: [(&str, fn()); 2] = [("promises", promises), ("sample_in_c", sample_in_c)];
    tests
        .map(|(name, run)| Test::new(module_path!(), name, run))
        .into_iter()
        // These modules write to the kernel's log, and the tests allow that.
        .map(|test| test.allow_log(&["hello_dma", "rust_gup_api_test"]))
        .collect()
}

/// Loads a module that does all its work in its init function.
fn run(path: &str, name: &CStr) {
    load(Path::new(path), c"").unwrap_or_else(|e| panic!("{path}: {e}; the kernel's log says why"));
    refused(unload(c"rust_gup"), libc::EWOULDBLOCK, "with a user");
    unload(name).expect("delete_module");
}

fn promises() {
    let before = stats().expect("STATS");
    run("/lib/rust_gup_api_test.ko", c"rust_gup_api_test");
    let after = stats().expect("STATS");
    assert!(after.nr_fast >= before.nr_fast + 1000, "the fast walk ran");
}

fn sample_in_c() {
    run("/lib/hello_dma.ko", c"hello_dma");
}
