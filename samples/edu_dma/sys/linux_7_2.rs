// SPDX-License-Identifier: GPL-2.0

//! The parts that differ in the kernel crate of Linux 7.2. `linux_7_3.rs` has the same names.

use kernel::{
    device::{Bound, Device},
    devres::Devres,
    irq, pci,
    prelude::*,
    sync::Arc,
};

use crate::{device::Edu, regs};

/// The BAR with the registers.
pub(crate) type Bar<'a> = pci::Bar<'a, { regs::END }>;

/// The BAR for code that outlives the binding of the driver. Access fails after the binding has ended.
pub(crate) type SharedBar = Devres<Bar<'static>>;

/// The type of the data that `probe()` gets from the table.
pub(crate) type IdInfo<'a, T> = &'a T;

/// Declares the table of a driver for one device.
macro_rules! pci_device_table {
    ($name:ident, $driver:ty, $id:expr) => {
        kernel::pci_device_table!(
            $name,
            MODULE_PCI_TABLE,
            <$driver as pci::Driver>::IdInfo,
            [($id, ())]
        );
    };
}
pub(crate) use pci_device_table;

/// The device's interrupt, handled as long as this value exists.
#[pin_data]
pub(crate) struct Irq<'bound> {
    #[pin]
    registration: irq::Registration<Handler>,
    bound: core::marker::PhantomData<&'bound ()>,
}

struct Handler(Arc<Edu>);

impl irq::Handler for Handler {
    fn handle(&self, _dev: &Device<Bound>) -> irq::IrqReturn {
        if self.0.interrupt() {
            irq::IrqReturn::Handled
        } else {
            irq::IrqReturn::None
        }
    }
}

impl<'bound> Irq<'bound> {
    /// Requests the interrupt. [`Edu::interrupt()`] handles it.
    pub(crate) fn new(
        pdev: &'bound pci::Device<Bound>,
        edu: Arc<Edu>,
    ) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let types = pci::IrqTypes::default()
                .with(pci::IrqType::Msi)
                .with(pci::IrqType::Intx);
            let vectors = pdev.alloc_irq_vectors(1, 1, types)?;
            Ok(try_pin_init!(Self {
                registration <- pdev.request_irq(
                    *vectors.start(),
                    irq::Flags::SHARED,
                    c"edu_dma",
                    Ok::<_, Error>(Handler(edu)),
                ),
                bound: core::marker::PhantomData,
            }))
        })
    }
}
