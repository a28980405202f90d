// SPDX-License-Identifier: GPL-2.0

//! The memory that the device may address, and whether it still has a driver.

use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        Device,
        DeviceContext, //
    },
    devres,
    dma::{
        Device as _,
        DmaMask, //
    },
    new_mutex,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
};

/// The maximum length of an entry of a scatter list, whose length field has 32 bits. A multiple of the page size.
const MAX_SEGMENT_BYTES: usize = 1 << 30;

/// Tells the kernel how many address bits the device has, and that the device sets no limit to the length of a piece of
/// memory.
///
/// # Errors
///
/// `EINVAL` for an impossible width, `EIO` if the machine does not support the width.
pub(crate) fn set_mask(pdev: &pci::Device<Core<'_>>, bits: u32) -> Result {
    // A CPU of 32 bits writes only the lower halves of the device's registers for addresses.
    let bits = if cfg!(CONFIG_64BIT) {
        bits
    } else {
        bits.min(32)
    };
    let mask = DmaMask::try_new(bits)?;
    // SAFETY: The device is being probed: nothing is mapped for it yet.
    unsafe {
        pdev.dma_set_mask_and_coherent(mask)?;
        pdev.dma_set_max_seg_size(MAX_SEGMENT_BYTES as u32);
    }
    Ok(())
}

/// Returns the maximum length of an entry of a scatter list for this device. The kernel must know the address bits of
/// the device. If some memory is out of its reach, the length is smaller, because the kernel makes the device use other
/// memory instead (swiotlb). A multiple of the page size.
#[doc(alias = "dma_max_mapping_size")]
pub(crate) fn max_segment_bytes(pdev: &pci::Device<Bound>) -> usize {
    // SAFETY: The device is valid.
    let max_bytes = unsafe { bindings::dma_max_mapping_size(raw_device(pdev.as_ref())) };
    max_bytes.min(MAX_SEGMENT_BYTES) & !(PAGE_SIZE - 1)
}

/// Returns the C structure of a device. The kernel crate has a private function for that.
pub(super) fn raw_device<Ctx: DeviceContext>(dev: &Device<Ctx>) -> *mut bindings::device {
    // `Device` is a transparent wrapper of the C structure.
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

/// A device, and whether the driver is bound to it.
#[pin_data]
pub(crate) struct Binding {
    pdev: ARef<pci::Device>,
    /// # Invariants
    ///
    /// The value is false once the resources of the binding are given back.
    #[pin]
    is_bound: Mutex<bool>,
}

/// Ends the binding when it is dropped, together with the other resources of the binding.
struct End(Arc<Binding>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Binding {
    /// Returns the binding of a device that the driver is bound to.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pdev: &pci::Device<Bound>) -> Result<Arc<Self>> {
        let binding = Arc::pin_init(
            pin_init!(Self {
                pdev: pdev.into(),
                is_bound <- new_mutex!(true),
            }),
            GFP_KERNEL,
        )?;
        // However the binding ends, the kernel drops this value with its other resources.
        devres::register(pdev.as_ref(), End(binding.clone()), GFP_KERNEL)?;
        Ok(binding)
    }

    /// Returns the device.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// Returns whether the driver is still bound.
    pub(crate) fn is_bound(&self) -> bool {
        *self.is_bound.lock()
    }

    /// Calls `f` with the device, which stays bound meanwhile.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the driver is unbound; otherwise the error of `f`.
    pub(crate) fn with_bound<R>(&self, f: impl FnOnce(&Device<Bound>) -> Result<R>) -> Result<R> {
        let is_bound = self.is_bound.lock();
        if !*is_bound {
            return Err(ENODEV);
        }
        let dev: &Device = self.pdev().as_ref();
        // SAFETY: The driver is bound. By the invariant the resources of the binding are not given back yet, and giving
        // them back waits for the lock.
        f(unsafe { dev.as_bound() })
    }

    /// Ends the binding, because the driver is about to be unbound. Waits for calls of `with_bound()` that still run.
    pub(crate) fn end(&self) {
        *self.is_bound.lock() = false;
    }
}
