// SPDX-License-Identifier: GPL-2.0

//! Kinds of memory that a page-table walk distinguishes.
//!
//! - A [`Mapping`] is memory of a [`Kind`], filled with data and checked. It never claims a kind that the kernel did
//!   not give. If a machine cannot make a kind, [`Kind::map`] fails with [`std::io::ErrorKind::Unsupported`], and the
//!   error says what to do about it.
//! - An [`Area`] is address space between guard pages, for mappings of the caller's own.
//! - A [`Setting`] is a value in sysfs or procfs that gets its old value back on drop.
//! - [`mod@file`] makes files without names, [`proc`] reads what the kernel reports about memory, and [`size`] how
//!   large pages are.

mod area;
mod child;
pub mod file;
mod kind;
mod make;
mod mapping;
pub mod proc;
mod setting;
pub mod size;

pub use area::Area;
pub use kind::Kind;
pub use mapping::Mapping;
pub use setting::Setting;

/// Makes the error for memory that this machine cannot make.
fn unavailable(reason: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Unsupported, reason.into())
}

/// Returns a word with which memory is filled so that it can be recognized. Each number gives another word.
pub fn word(number: u64) -> u64 {
    // The factor is odd, so the multiplication loses nothing. Its bits are those of the golden ratio.
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
