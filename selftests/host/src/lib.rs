// SPDX-License-Identifier: GPL-2.0

//! The portable walker, on a machine that is emulated.
//!
//! [`walk`] is not a copy: it is the very source that the kernel module is built from. This crate puts another machine
//! under it, whose tables are vectors, and whose every load and every atomic operation is a point where something else
//! may happen ([`machine`]). What happens is written down as the program of a rival ([`rival`]), and each interleaving
//! of the two is tried.

#[path = "../../../rust_gup/walk/mod.rs"]
pub mod walk;

/// What the words of a `struct page` mean.
#[path = "../../../rust_gup/sys/memory/words.rs"]
pub mod words;

pub mod drive;
pub mod encode;
pub mod fuzz;
pub mod grouped;
pub mod machine;
pub mod rival;
pub mod tiny;
