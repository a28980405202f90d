// SPDX-License-Identifier: GPL-2.0

//! What the device may address.

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

/// A device, and whether the driver is bound to it.
#[pin_data]
pub(crate) struct Binding {
    pdev: ARef<pci::Device>,
    /// # Invariants
    ///
    /// False once the resources of the binding are given back.
    #[pin]
    is_bound: Mutex<bool>,
}

/// Given back with the resources of the binding.
struct End(Arc<Binding>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Binding {
    /// A device that the driver is bound to.
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
        // However the binding ends, this is given back with its other resources.
        devres::register(pdev.as_ref(), End(binding.clone()), GFP_KERNEL)?;
        Ok(binding)
    }

    /// The device.
    pub(crate) fn pdev(&self) -> &pci::Device {
        &self.pdev
    }

    /// Whether the driver is still bound.
    pub(crate) fn is_bound(&self) -> bool {
        *self.is_bound.lock()
    }

    /// Calls `f` with the device, which stays bound meanwhile.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the driver is unbound; otherwise what `f` returns.
    pub(crate) fn with_bound<R>(&self, f: impl FnOnce(&Device<Bound>) -> Result<R>) -> Result<R> {
        let is_bound = self.is_bound.lock();
        if !*is_bound {
            return Err(ENODEV);
        }
        let dev: &Device = self.pdev().as_ref();
        // SAFETY: The driver is bound: by the invariant the resources of the binding are not given back yet, and that
        // waits for the lock.
        f(unsafe { dev.as_bound() })
    }

    /// The driver is about to be unbound. Waits for those who rely on the opposite.
    pub(crate) fn end(&self) {
        *self.is_bound.lock() = false;
    }
}
