// SPDX-License-Identifier: GPL-2.0

//! The portable walker on an emulated machine.
//!
//! [`walk`] is not a copy: this crate compiles the same source as the kernel module. It puts another machine under the
//! walker. The tables of this machine are vectors, and each load and each atomic operation is a point at which
//! something else may happen ([`machine`]). A test writes these events as the program of a rival ([`rival`]), and each
//! interleaving of the program and the walk is tried.

#[path = "../../../rust_gup/walk/mod.rs"]
pub mod walk;

/// The meaning of the words of a `struct page`.
#[path = "../../../rust_gup/sys/memory/words.rs"]
pub mod words;

pub mod drive;
pub mod encode;
pub mod fuzz;
pub mod grouped;
pub mod machine;
pub mod rival;
pub mod tiny;
