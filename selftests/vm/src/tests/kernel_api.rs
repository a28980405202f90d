// SPDX-License-Identifier: GPL-2.0

//! Verify of the functions for other modules that
//!
//! - they keep what `rust_gup_api.h` promises: `selftests/module` says what that is, and tests it when it is loaded;
//! - a module that uses them holds rust_gup, and what it took is counted.

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
        // The modules may say what they do.
        .map(|test| test.allow_log(&["hello_dma", "rust_gup_api_test"]))
        .collect()
}

/// Loads a module that does all it is for when it is loaded.
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
