// SPDX-License-Identifier: GPL-2.0

//! The fuzz targets. Each target takes bytes, makes its scene from them, and panics if something is wrong.
//!
//! There are two ways to run the targets:
//!
//! - `tests/fuzz.rs`, with `cargo test`, runs the saved inputs, and a fixed number of other inputs from a fixed seed.
//!   It does the same each time, takes some seconds, and needs only stable Rust.
//! - `make fuzz` lets libFuzzer search for inputs that reach new code. Debian's `rustc` has the instrumentation
//!   (`-C passes=sancov-module`) and its `libclang-rt` has the fuzzer, so `fuzz/*.rs` need neither `cargo fuzz` nor
//!   the nightly compiler on which `cargo fuzz` depends.
//!
//! `corpus/` keeps the useful inputs that libFuzzer has found, one a line, in hexadecimal. `make fuzz SAVE=y` writes
//! them.

mod decode;
mod walk;

use arbitrary::Unstructured;

/// A target. It ignores bytes that do not describe a scene.
pub type Target = fn(&[u8]);

/// All targets, with the names of their files in `fuzz/` and `corpus/`.
pub const TARGETS: [(&str, Target); 2] = [("decode", decode), ("walk", walk)];

/// Checks one entry of one format, at all levels.
pub fn decode(bytes: &[u8]) {
    let _ = decode::check(&mut Unstructured::new(bytes));
}

/// Checks one walk, while a rival runs a program.
pub fn walk(bytes: &[u8]) {
    let _ = walk::check(&mut Unstructured::new(bytes));
}

/// Makes a program of a target, whose `main()` is libFuzzer's.
#[macro_export]
macro_rules! libfuzzer_target {
    ($target:path) => {
        /// Called for each input.
        #[no_mangle]
        extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, len: usize) -> i32 {
            let bytes = if len == 0 {
                &[]
            } else {
                // SAFETY: libFuzzer lends `len` bytes for the time of the call.
                unsafe { core::slice::from_raw_parts(data, len) }
            };
            $target(bytes);
            0
        }
    };
}
