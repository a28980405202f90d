// SPDX-License-Identifier: GPL-2.0

//! The kernel's own flags for requests, for a caller who passes on what user space says.

use kernel::{bindings, prelude::*};

use super::errno::operation_not_supported;
use crate::walk::{Access, RefKind};

/// What the fast functions take (`mm/gup.c:3183`).
const FAST: u32 = bindings::FOLL_WRITE
    | bindings::FOLL_GET
    | bindings::FOLL_FORCE
    | bindings::FOLL_NOFAULT
    | bindings::FOLL_LONGTERM
    | bindings::FOLL_PCI_P2PDMA
    | bindings::FOLL_HONOR_NUMA_FAULT;

/// What all functions take together; the rest is internal (`INTERNAL_GUP_FLAGS`, `mm/internal.h:1332`) or nothing.
const PUBLIC: u32 = FAST
    | bindings::FOLL_DUMP
    | bindings::FOLL_NOWAIT
    | bindings::FOLL_HWPOISON
    | bindings::FOLL_ANON
    | bindings::FOLL_SPLIT_PMD
    | bindings::FOLL_INTERRUPTIBLE;

/// `FOLL_` flags that the kernel takes for the kind of reference that they are for.
#[derive(Clone, Copy)]
pub(crate) struct FollFlags(u32);

impl FollFlags {
    /// Checks flags for the slow functions and references of kind `K`.
    ///
    /// # Errors
    ///
    /// `EINVAL` as the functions themselves, which warn besides: their callers are not user space.
    #[doc(alias = "is_valid_gup_args")]
    pub(crate) fn slow<K: RefKind>(flags: u32) -> Result<Self> {
        let has = |flag| flags & flag != 0;
        let longterm = has(bindings::FOLL_LONGTERM);
        let is_valid = flags & !PUBLIC == 0
            && !(K::PINS && has(bindings::FOLL_GET))
            && !(longterm && (!K::PINS || has(bindings::FOLL_PCI_P2PDMA)));
        if is_valid {
            Ok(Self(flags))
        } else {
            Err(EINVAL)
        }
    }

    /// Checks flags for the fast functions and references of kind `K`.
    ///
    /// # Errors
    ///
    /// As [`slow()`](Self::slow).
    #[doc(alias = "gup_fast_fallback")]
    pub(crate) fn fast<K: RefKind>(flags: u32) -> Result<Self> {
        if flags & !FAST == 0 {
            Self::slow::<K>(flags)
        } else {
            Err(EINVAL)
        }
    }

    /// These flags, not checked yet, and `FOLL_LONGTERM`.
    pub(crate) const fn and_longterm(flags: u32) -> u32 {
        flags | bindings::FOLL_LONGTERM
    }

    /// The flags for a long-term pin.
    pub(crate) const fn longterm(access: Access) -> Self {
        Self(Self::and_longterm(match access {
            Access::Read => 0,
            Access::Write => bindings::FOLL_WRITE,
        }))
    }

    /// What the flags mean to the walk: the access, and whether it is for long.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a flag that it does not know.
    pub(crate) fn for_walk(self) -> Result<(Access, bool)> {
        let known = bindings::FOLL_WRITE | bindings::FOLL_GET | bindings::FOLL_LONGTERM;
        if self.0 & !known != 0 {
            return Err(operation_not_supported());
        }
        let access = if self.0 & bindings::FOLL_WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        };
        Ok((access, self.0 & bindings::FOLL_LONGTERM != 0))
    }

    /// The flags.
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}
