// SPDX-License-Identifier: GPL-2.0

//! What the device may address.

use kernel::{
    bindings,
    device::{Bound, Core, Device, DeviceContext},
    dma::{Device as _, DmaMask},
    page::PAGE_SIZE,
    pci,
    prelude::*,
};

use crate::device::BoundLock;

/// How long an entry of a scatter list may be: its length has 32 bits. A multiple of the page size.
const MAX_SEGMENT_BYTES: usize = 1 << 30;

/// Says how many address bits the device has, and that it does not mind how long a piece of memory is.
///
/// # Errors
///
/// `EINVAL` for a width that there is not, `EIO` if the machine cannot do with it.
pub(crate) fn set_mask(pdev: &pci::Device<Core<'_>>, bits: u32) -> Result {
    let mask = DmaMask::try_new(bits)?;
    // SAFETY: The device is being probed: nothing is mapped for it yet.
    unsafe {
        pdev.dma_set_mask_and_coherent(mask)?;
        pdev.dma_set_max_seg_size(MAX_SEGMENT_BYTES as u32);
    }
    Ok(())
}

/// How long an entry of a scatter list may be that is mapped for a device whose address bits are known: less if memory
/// is out of reach, and the kernel has the device use other memory instead (swiotlb). A multiple of the page size.
#[doc(alias = "dma_max_mapping_size")]
pub(crate) fn max_segment_bytes(pdev: &pci::Device<Bound>) -> usize {
    // SAFETY: The device is valid.
    let max_bytes = unsafe { bindings::dma_max_mapping_size(raw_device(pdev.as_ref())) };
    max_bytes.min(MAX_SEGMENT_BYTES) & !(PAGE_SIZE - 1)
}

/// The C structure of a device; the kernel crate keeps its own way to it to itself.
pub(super) fn raw_device<Ctx: DeviceContext>(dev: &Device<Ctx>) -> *mut bindings::device {
    // `Device` is a transparent wrapper of it.
    core::ptr::from_ref(dev)
        .cast::<bindings::device>()
        .cast_mut()
}

/// Forbids the device to access memory.
pub(crate) fn clear_master<Ctx: DeviceContext>(pdev: &pci::Device<Ctx>) {
    let pdev = core::ptr::from_ref(pdev)
        .cast::<bindings::pci_dev>()
        .cast_mut();
    // SAFETY: `pci::Device` is a transparent wrapper of the C type; the reference keeps it alive.
    unsafe { bindings::pci_clear_master(pdev) };
}

/// Calls `f` with a device, if the driver is bound to it.
///
/// # Errors
///
/// `ENODEV` if it is not; otherwise what `f` returns.
pub(crate) fn with_bound<R>(
    dev: &Device,
    bound: &BoundLock<'_>,
    f: impl FnOnce(&Device<Bound>) -> Result<R>,
) -> Result<R> {
    if !**bound {
        return Err(ENODEV);
    }
    // SAFETY: The driver is bound, and unbinding waits for the lock.
    f(unsafe { dev.as_bound() })
}
