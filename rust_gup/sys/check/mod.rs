// SPDX-License-Identifier: GPL-2.0

//! Checks only: the layout of the kernel's structures when the module is loaded, the counts of pages after two engines
//! (`gup/compare.rs`), and the assertions about pinned pages (`gup_test/`).

pub(crate) mod gup_test_pages;
pub(crate) mod inspect;
pub(crate) mod layout;
