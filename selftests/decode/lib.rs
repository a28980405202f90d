// SPDX-License-Identifier: GPL-2.0

//! Decodes every entry that a format can meet, except for the address in it, and compares the verdict with the
//! kernel's: at every level, for reading and for writing, and under every state of a protection key.
//!
//! The kernel's verdict is that of `gup_fast_pte_range()` and its callers up the tree. One file for each format spells
//! out the inline functions that they call: after the kernel's headers, under the kernel's names, with plain numbers,
//! and without a look at the decoder. Before such a rule counts, it has to agree with the encoder about the entries
//! that a kernel writes.

// The decoder and the encoder themselves, compiled as this crate is.
#[path = "../host/src/encode/mod.rs"]
pub mod encode;
#[path = "../../rust_gup/walk/mod.rs"]
pub mod walk;

#[cfg(test)]
mod rules;
