// SPDX-License-Identifier: GPL-2.0

//! The portable walker, in a crate without `std` and `alloc`. That the crate compiles shows that `walk/` needs nothing
//! but `core`.

#![no_std]

#[path = "../../../rust_gup/walk/mod.rs"]
pub mod walk;
