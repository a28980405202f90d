// SPDX-License-Identifier: GPL-2.0

//! The device: one copy at a time, and an end to that when the driver is unbound.

use kernel::{
    device::{Bound, Device},
    devres::Devres,
    io::Io,
    new_mutex, pci,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{mutex::MutexBackend, Guard},
        Arc, Mutex,
    },
};

use crate::{
    regs,
    sys::{
        self,
        done::Done,
        linux::{Bar, SharedBar},
        sg::{List, Mapping},
    },
};

/// How long a copy may take. It takes 100 ms.
const TIMEOUT_MS: u32 = 2000;

/// Which way a copy goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From memory to the device.
    ToDevice,
    /// From the device to memory.
    FromDevice,
}

/// The device, for as long as anybody refers to it. The driver need not be bound to it any more.
#[pin_data]
pub(crate) struct Edu {
    pdev: ARef<pci::Device>,
    bar: SharedBar,
    /// Whether the driver is bound. Held by whoever relies on that. Mappings are made under it, and undone by the kernel
    /// after `shut_down()`.
    #[pin]
    bound: Mutex<bool>,
    /// Held as long as the device copies.
    #[pin]
    engine: Mutex<Engine>,
    /// Completed by the interrupt.
    #[pin]
    done: Done,
}

/// The lock of [`Edu::bound`], of which a driver that is bound can be made sure.
pub(crate) type BoundLock<'a> = Guard<'a, bool, MutexBackend>;

/// Whether the device can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Works,
    /// It did not end a copy in time, or the driver is unbound. It may not access memory any more.
    Off,
}

impl Edu {
    pub(crate) fn new(pdev: &pci::Device<Bound>, bar: Bar<'_>) -> Result<Arc<Self>> {
        if bar.read32(regs::ID) & 0xff != regs::ID_EDU {
            return Err(ENODEV);
        }
        let bar = bar.into_devres()?;
        Arc::pin_init(
            try_pin_init!(Self {
                pdev: pdev.into(),
                bar,
                bound <- new_mutex!(true),
                engine <- new_mutex!(Engine::Works),
                done <- Done::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Maps pages for the device until the value is dropped, or the driver unbound.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the driver is unbound, and what the DMA API says.
    pub(crate) fn map(&self, list: List, direction: Direction) -> Result<Devres<Mapping>> {
        let bound = self.bound.lock();
        if !*bound {
            return Err(ENODEV);
        }
        let dev: &Device = (*self.pdev).as_ref();
        sys::dma::with_bound(dev, &bound, |dev| {
            Devres::new(dev, Mapping::new(dev, list, direction)?)
        })
    }

    /// Copies `len_bytes` bytes between the device and a mapping, chunk by chunk. `progress` is called after each chunk
    /// with the number of its bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are not all within the device's memory and the mapping, `ENODEV` if the driver is unbound, `EIO`
    /// if the device has failed, `EINTR` if the task was killed.
    pub(crate) fn copy(
        &self,
        mapping: &Devres<Mapping>,
        direction: Direction,
        offset: usize,
        device_offset: usize,
        len_bytes: usize,
        mut progress: impl FnMut(usize),
    ) -> Result {
        let end = device_offset.checked_add(len_bytes).ok_or(EINVAL)?;
        if end > regs::MEMORY_BYTES {
            return Err(EINVAL);
        }
        let mut nr_done = 0;
        while nr_done < len_bytes {
            if sys::done::fatal_signal_pending() {
                return Err(EINTR);
            }
            let nr = self.copy_chunk(
                mapping,
                direction,
                offset.checked_add(nr_done).ok_or(EINVAL)?,
                device_offset.wrapping_add(nr_done),
                len_bytes.wrapping_sub(nr_done).min(regs::CHUNK_BYTES),
            )?;
            progress(nr);
            nr_done = nr_done.wrapping_add(nr);
        }
        Ok(())
    }

    /// Copies at most `max_bytes` bytes: as many as lie in one piece for the device. Returns how many.
    fn copy_chunk(
        &self,
        mapping: &Devres<Mapping>,
        direction: Direction,
        offset: usize,
        device_offset: usize,
        max_bytes: usize,
    ) -> Result<usize> {
        // From here on unbinding waits, so that neither the mapping nor the registers go away.
        let mut engine = self.engine.lock();
        if !*self.bound.lock() {
            return Err(ENODEV);
        }
        if *engine == Engine::Off {
            return Err(EIO);
        }
        let chunk = mapping
            .try_access_with(|mapping| mapping.give_to_device(offset, max_bytes))
            .ok_or(ENODEV)?
            .ok_or(EINVAL)?;
        let device_addr = regs::MEMORY.wrapping_add(device_offset as u64);
        let (from, to, cmd) = match direction {
            Direction::ToDevice => (chunk.addr, device_addr, regs::CMD_RUN | regs::CMD_IRQ),
            Direction::FromDevice => (
                device_addr,
                chunk.addr,
                regs::CMD_RUN | regs::CMD_IRQ | regs::CMD_FROM_DEVICE,
            ),
        };
        self.done.reset();
        self.bar
            .try_access_with(|bar| {
                // Checked at run time, because the type of a BAR does not promise that it is aligned to 8 bytes.
                bar.try_write64(from, regs::DMA_SRC)?;
                bar.try_write64(to, regs::DMA_DST)?;
                bar.try_write64(chunk.len_bytes as u64, regs::DMA_COUNT)?;
                bar.try_write64(cmd, regs::DMA_CMD)
            })
            .ok_or(ENODEV)??;
        // Not interruptible: the device writes to the pages until it is done, whatever becomes of the process.
        if !self.done.wait(TIMEOUT_MS) && self.is_busy() {
            // It cannot be told to stop, but it can be kept from memory.
            sys::dma::clear_master(&self.pdev);
            *engine = Engine::Off;
            dev_err!(
                (*self.pdev).as_ref(),
                "no end of a copy, the device is off\n"
            );
            return Err(EIO);
        }
        mapping
            .try_access_with(|mapping| mapping.take_from_device(&chunk))
            .ok_or(ENODEV)?;
        Ok(chunk.len_bytes)
    }

    fn is_busy(&self) -> bool {
        self.bar
            .try_access_with(|bar| bar.try_read64(regs::DMA_CMD))
            .is_some_and(|cmd| cmd.is_ok_and(|cmd| cmd & regs::CMD_RUN != 0))
    }

    /// The interrupt handler: whether the device has interrupted.
    pub(crate) fn interrupt(&self) -> bool {
        let reasons = self.bar.try_access_with(|bar| {
            let reasons = bar.read32(regs::IRQ_STATUS);
            if reasons != 0 {
                bar.write32(reasons, regs::IRQ_ACK);
            }
            reasons
        });
        let reasons = reasons.unwrap_or(0);
        if reasons & regs::IRQ_DMA != 0 {
            self.done.complete();
        }
        reasons != 0
    }

    /// The driver is about to be unbound. Waits for the chunk that is being copied; none is copied from then on, nothing
    /// mapped, and the device cannot access memory.
    pub(crate) fn shut_down(&self, pdev: &pci::Device<Bound>) {
        *self.bound.lock() = false;
        *self.engine.lock() = Engine::Off;
        sys::dma::clear_master(pdev);
    }
}
