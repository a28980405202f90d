// SPDX-License-Identifier: GPL-2.0

//! Requests for the pages of a user range.

use kernel::prelude::*;

use crate::{
    sys::{
        machine,
        task,
        FollFlags,
        SlowOnly, //
    },
    walk::{
        Access,
        RangeError,
        Rules,
        UserRange, //
    },
};

/// The kind of reference, and for how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// A plain reference.
    Get,
    /// A pin that the caller releases soon.
    Pin,
    /// A pin that user space may keep for as long as it likes.
    PinLongterm,
}

/// What to do where the fast walk stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Ask the slow path, which may sleep.
    #[doc(alias = "gup_fast_fallback")]
    Slow,
    /// Return what the fast walk took.
    #[doc(alias = "FOLL_FAST_ONLY")]
    None,
}

/// On what terms pages are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How the caller accesses the pages.
    pub(crate) access: Access,
    /// The kind of reference.
    pub(crate) how: How,
    /// Whether the slow path may be used.
    pub(crate) fallback: Fallback,
    /// Further flags for the slow path.
    pub(crate) slow_only: SlowOnly,
}

impl Terms {
    /// Returns the flags for the kernel's functions.
    pub(crate) fn foll_flags(&self) -> FollFlags {
        let rules = Rules {
            access: self.access,
            longterm: self.how == How::PinLongterm,
        };
        FollFlags::new(&rules, self.slow_only)
    }
}

/// A request for the pages of a user range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The range of pages.
    pub(crate) range: UserRange,
    /// Number of bytes that the caller asked for.
    pub(crate) len_bytes: u64,
    /// The terms.
    pub(crate) terms: Terms,
}

impl Request {
    /// Makes a request for the bytes `[addr, addr + len_bytes)` of the current process.
    ///
    /// # Errors
    ///
    /// `EINVAL` for no bytes, `EOVERFLOW` if the range wraps around, `EFAULT` if it reaches beyond user space.
    pub(crate) fn new(addr: u64, len_bytes: u64, terms: Terms) -> Result<Self> {
        let addr = task::untagged(addr);
        let range = UserRange::new(addr, len_bytes, machine::PAGE_SHIFT, machine::user_limit())
            .map_err(|error| match error {
                RangeError::Empty => EINVAL,
                RangeError::Overflow => EOVERFLOW,
                RangeError::BeyondUserSpace => EFAULT,
            })?;
        Ok(Self {
            range,
            len_bytes,
            terms,
        })
    }
}
