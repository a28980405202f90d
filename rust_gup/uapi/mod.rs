// SPDX-License-Identifier: GPL-2.0

//! The types and numbers of the ABI, for the module.

#![forbid(unsafe_code)]

/// `rust_gup.h`, as bindgen translates it. The translation asserts sizes and offsets.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub
)]
mod generated {
    include!(env!("RUST_GUP_UAPI_RS"));
}

pub(crate) use self::generated::*;
