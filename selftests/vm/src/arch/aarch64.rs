// SPDX-License-Identifier: GPL-2.0

//! 64-bit Arm. The state of the processor decides how many bits a call has, not the instruction.

use super::Compat;

/// `AUDIT_ARCH_AARCH64`
pub(crate) const AUDIT_ARCH: u32 = 0xc000_00b7;

pub(crate) const COMPAT: Option<Compat> = None;
