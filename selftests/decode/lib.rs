// SPDX-License-Identifier: GPL-2.0

//! Decodes every entry that a format can meet, except for the address in it, and compares the verdict with the
//! kernel's: at every level, for reading and for writing, and under every state of a protection key.
//!
//! The kernel's verdict is the verdict of `gup_fast_pte_range()` and its callers up the tree. One file for each format
//! spells out the inline functions that these functions call. It follows the kernel's headers, uses the kernel's names
//! and plain numbers, and does not look at the decoder. Before such a rule counts, it must agree with the encoder about
//! the entries that a kernel writes.

// This crate compiles the decoder and the encoder themselves.
#[path = "../host/src/encode/mod.rs"]
pub mod encode;
#[path = "../../rust_gup/walk/mod.rs"]
pub mod walk;

#[cfg(test)]
mod rules;
