// SPDX-License-Identifier: GPL-2.0

//! The parts that differ in the kernel crate of Linux 7.3. `linux_7_2.rs` has the same names.

use kernel::{device::Bound, irq, pci, prelude::*, sync::Arc};

use crate::{device::Edu, regs};

/// The BAR with the registers.
pub(crate) type Bar<'a> = pci::Bar<'a, { regs::END }>;

/// The BAR for code that outlives the binding of the driver. Access fails after the binding has ended.
pub(crate) type SharedBar = pci::DevresBar<{ regs::END }>;

/// The type of the data that `probe()` gets from the table.
pub(crate) type IdInfo<'a, T> = Option<&'a T>;

/// Declares the table of a driver for one device.
macro_rules! pci_device_table {
    ($name:ident, $driver:ty, $id:expr) => {
        kernel::pci_device_table!($name, <$driver as pci::Driver>::IdInfo, [($id, ())]);
    };
}
pub(crate) use pci_device_table;

/// The device's interrupt, handled as long as this value exists.
#[pin_data]
pub(crate) struct Irq<'bound> {
    // The first field is dropped first, because it borrows the vectors.
    #[pin]
    registration: irq::Registration<'bound, Handler>,
    vectors: pci::IrqVectorRegistration<'bound>,
}

struct Handler(Arc<Edu>);

impl irq::Handler for Handler {
    fn handle(&self) -> irq::IrqReturn {
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
        let types = pci::IrqTypes::default()
            .with(pci::IrqType::Msi)
            .with(pci::IrqType::Intx);
        try_pin_init!(&this in Self {
            vectors: pdev.alloc_irq_vectors(1, 1, types)?,
            registration <- {
                // SAFETY: The field above is initialised. It stays where it is, because the structure is pinned, and is
                // dropped after the field that borrows it.
                let vectors: &'bound pci::IrqVectorRegistration<'bound> =
                    unsafe { &(*this.as_ptr()).vectors };
                let vector = vectors.index(0)?;
                // SAFETY: The registration is part of a structure that is dropped, and not leaked.
                unsafe {
                    irq::Registration::new(
                        vector.into(),
                        irq::Flags::SHARED,
                        c"edu_dma",
                        Ok::<_, Error>(Handler(edu)),
                    )
                }
            },
        })
    }
}
