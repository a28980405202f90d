// SPDX-License-Identifier: GPL-2.0

//! What is fuzzed. Each target takes bytes, makes of them whatever it needs, and panics if something is wrong.
//!
//! There are two ways to run them:
//!
//! - `tests/fuzz.rs`, with `cargo test`: the saved inputs, and a fixed number of others from a fixed seed. The same
//!   each time, in some seconds, with nothing but stable Rust.
//! - `make fuzz`, in which libFuzzer looks for inputs that reach new code. Debian's `rustc` brings the instrumentation
//!   (`-C passes=sancov-module`) and its `libclang-rt` the fuzzer, so `fuzz/*.rs` need neither `cargo fuzz` nor the
//!   nightly compiler that it asks for.
//!
//! What libFuzzer has found worth keeping is in `corpus/`, an input a line, in hexadecimal: `make fuzz SAVE=y` writes
//! it.

mod decode;
mod walk;

use arbitrary::Unstructured;

/// A target: does nothing with bytes that it can make nothing of.
pub type Target = fn(&[u8]);

/// All targets, with the names of their files in `fuzz/` and `corpus/`.
pub const TARGETS: [(&str, Target); 2] = [("decode", decode), ("walk", walk)];

/// One entry of one format, at all levels.
pub fn decode(bytes: &[u8]) {
    let _ = decode::check(&mut Unstructured::new(bytes));
}

/// One walk, under a rival with a program.
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
