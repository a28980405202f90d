// SPDX-License-Identifier: GPL-2.0

//! 64-bit Arm. Here the state of the processor, not the instruction, decides whether a call is a 32-bit or a 64-bit
//! one.

use super::Compat;

/// `AUDIT_ARCH_AARCH64`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_00b7;

pub(crate) const COMPAT: Option<Compat> = None;
