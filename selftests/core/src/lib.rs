// SPDX-License-Identifier: GPL-2.0

//! The portable walker, in a crate without `std` and `alloc`: it names nothing but `core` and itself.

#![no_std]

#[path = "../../../rust_gup/walk/mod.rs"]
pub mod walk;
