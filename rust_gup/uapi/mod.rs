// SPDX-License-Identifier: GPL-2.0

//! The types and numbers of the ABI.

#![forbid(unsafe_code)]

/// What bindgen makes of `rust_gup.h`. It asserts sizes and offsets.
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
