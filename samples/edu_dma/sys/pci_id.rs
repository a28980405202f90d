// SPDX-License-Identifier: GPL-2.0

//! The PCI numbers of the device.

use kernel::pci::{DeviceId, Vendor};

/// The vendor number that QEMU uses. It is not registered, so the kernel crate has no constant for it, and no way to
/// make one.
// SAFETY: `Vendor` is a transparent wrapper of the number, and every number is one.
const QEMU: Vendor = unsafe { core::mem::transmute::<u16, Vendor>(0x1234) };

/// QEMU's edu device.
pub(crate) const EDU: DeviceId = DeviceId::from_id(QEMU, 0x11e8);
