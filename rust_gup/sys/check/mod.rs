// SPDX-License-Identifier: GPL-2.0

//! What only checks: the layout of the kernel's structures when the module is loaded, what two engines did to pages
//! (`gup/compare.rs`), and what pins promise (`gup_test/`).

pub(crate) mod gup_test_pages;
pub(crate) mod inspect;
pub(crate) mod layout;
