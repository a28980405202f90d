// SPDX-License-Identifier: GPL-2.0

//! A driver for QEMU's edu device that copies between the device and buffers of processes, which it pins through
//! rust_gup.
//!
//! `device.rs` is the device, `engine.rs` its DMA engine, `held.rs` the pages of a buffer, `buffer.rs` a buffer from
//! pinning to releasing, `calls.rs` the calls of processes. `sys/` has the parts that lack an abstraction in the kernel
//! crate, or that differ between its versions. All `unsafe` is there.

use core::borrow::Borrow;

use kernel::{device::Core, driver, pci, prelude::*, sync::Arc};

mod buffer;
mod calls;
mod device;
mod engine;
mod held;
mod regs;
mod sys;

#[path = "../../rust_gup/sys/files/chardev.rs"]
mod chardev;
#[path = "../../rust_gup/include/rust_gup_api.rs"]
mod gup;
#[path = "../../rust_gup/device/handles.rs"]
mod handles;
#[path = "../../rust_gup/sys/files/ioctl_file.rs"]
mod ioctl_file;

use self::{
    calls::OpenFile,
    device::Edu,
    sys::{linux::Irq, slot},
};

module! {
    type: EduModule,
    name: "edu_dma",
    authors: ["The rust_gup authors"],
    description: "DMA between QEMU's edu device and user memory that rust_gup has pinned",
    license: "GPL",
    params: {
        dma_bits: u32 {
            default: 28,
            description: "Width of the device's DMA addresses: that of QEMU's dma_mask property",
        },
        timeout_ms: u32 {
            default: 2000,
            description: "How long a copy may take in milliseconds, which is 100 ms for QEMU's device",
        },
    },
}

/// The loaded module.
#[pin_data]
struct EduModule {
    // The first field is dropped first: without open files nobody uses the driver.
    #[pin]
    chardev: chardev::Registration<OpenFile>,
    #[pin]
    driver: driver::Registration<pci::Adapter<EduDriver>>,
}

impl kernel::InPlaceModule for EduModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                slot::init();
            },
            driver <- driver::Registration::new(c"edu_dma", module),
            chardev <- chardev::Registration::new(module, c"edu_dma", 0o600),
        })
    }
}

struct EduDriver;

/// The data of a device while the driver is bound to it.
#[pin_data]
struct EduData<'bound> {
    edu: Arc<Edu>,
    /// Lets processes open the device.
    published: slot::Published,
    #[pin]
    irq: Irq<'bound>,
}

sys::linux::pci_device_table!(PCI_TABLE, EduDriver, sys::pci_id::EDU);

impl pci::Driver for EduDriver {
    type IdInfo = ();
    type Data<'bound> = EduData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: sys::linux::IdInfo<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dma_bits = plain(module_parameters::dma_bits.value());
            let timeout_ms = plain(module_parameters::timeout_ms.value());
            pdev.enable_device_mem()?;
            sys::dma::set_mask(pdev, dma_bits)?;
            let bar = pdev.iomap_region_sized::<{ regs::END }>(0, c"edu_dma")?;
            let edu = Edu::new(pdev, bar, timeout_ms)?;
            Ok(try_pin_init!(EduData {
                irq <- Irq::new(pdev, edu.clone()),
                _: {
                    // The device may access memory only now that it is known to be idle. Otherwise it would go on with
                    // an earlier copy.
                    pdev.set_master();
                },
                published: slot::publish(edu.clone())
                    .inspect_err(|_| sys::dma::clear_master(pdev))?,
                edu,
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.edu.shut_down(pdev);
    }
}

/// Returns the value of a parameter. `value()` returns a reference in Linux 7.2, and the value itself from 7.3 on.
fn plain(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}
