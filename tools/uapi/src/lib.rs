// SPDX-License-Identifier: GPL-2.0

//! The user-land side of `/dev/rust_gup`.
//!
//! - [`raw`] is what bindgen makes of `rust_gup.h`, the only definition of the ABI: types, constants, ioctl numbers.
//! - [`Device`] and [`Pinned`] are a thin layer over the calls, with enums for flags and handles that release
//!   themselves.
//! - [`edu`] is the same for `/dev/edu_dma`, the device of `samples/edu_dma`.
//!
//! # Examples
//!
//! ```no_run
//! use rust_gup_uapi::{Device, Engine, Request};
//!
//! let buffer = vec![42u8; 100_000];
//! let device = Device::open()?;
//! let pinned = device.pin(&Request::new(buffer.as_ptr().addr(), buffer.len()), Engine::Rust)?;
//! println!("{} pages in {} runs", pinned.nr_pages(), pinned.nr_runs());
//!
//! let mut copy = [0u8; 16];
//! pinned.read(0, &mut copy)?;
//! assert_eq!(copy, [42u8; 16]);
//! pinned.release()?;
//! # Ok::<(), std::io::Error>(())
//! ```

// The derives of zerocopy make some, and this lint is one of whole crates.
#![allow(non_ascii_idents)]

mod device;
pub mod edu;
mod error;
mod request;
mod stop;

pub use device::{
    Compared,
    Device,
    Info,
    Measured,
    Pinned,
    Run,
    Stats, //
};
pub use error::{
    errno_name,
    errno_of,
    failed,
    last_failed,
    CallError,
    ERRNO_NAMES, //
};
pub use request::{
    Access,
    Engine,
    Fallback,
    How,
    Request, //
};
pub use stop::{
    Stop,
    StopAt, //
};

/// The ABI as bindgen generates it from the C header.
///
/// The header documents each type and constant.
#[allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    clippy::as_underscore,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
pub mod raw {
    include!(concat!(env!("OUT_DIR"), "/rust_gup.rs"));
}
