// SPDX-License-Identifier: GPL-2.0

//! Every entry that a format can meet, but for the address in it, is decoded as the kernel decodes it: at every level,
//! for reading and for writing, and under every state of a protection key.
//!
//! The expected verdict is what `gup_fast_pte_range()` and its callers up the tree make of the entry. One file a format
//! spells out the inline functions that they call: after the kernel's headers, under the kernel's names, with plain
//! numbers, and without a look at the decoder. Before such a rule is believed, it has to agree with the encoder about the
//! entries that a kernel writes.

// The decoder and the encoder as they are, compiled as this crate is.
#[path = "../host/src/encode/mod.rs"]
pub mod encode;
#[path = "../../rust_gup/walk/mod.rs"]
pub mod walk;

#[cfg(test)]
mod rules;
