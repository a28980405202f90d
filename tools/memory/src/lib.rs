// SPDX-License-Identifier: GPL-2.0

//! Kinds of memory that a page-table walk distinguishes.
//!
//! - A [`Mapping`] is memory of a [`Kind`], filled with data and checked: it never claims a kind that the kernel did not
//!   give. If a machine cannot make a kind, [`Kind::map`] fails with [`std::io::ErrorKind::Unsupported`], and the error
//!   says what to do about it.
//! - An [`Area`] is address space between guard pages, for mappings of the caller's own.
//! - A [`Setting`] is a value in sysfs or procfs that gets its old value back.
//! - [`proc`] reads what the kernel says about memory, [`size`] how large pages are.

mod area;
mod child;
mod file;
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

/// The error for what this machine cannot make.
fn unavailable(reason: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Unsupported, reason.into())
}
