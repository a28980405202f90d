// SPDX-License-Identifier: GPL-2.0

//! libFuzzer's way into the target `decode`.

#![no_main]

rust_gup_host::libfuzzer_target!(rust_gup_host::fuzz::decode);
