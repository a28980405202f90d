// SPDX-License-Identifier: GPL-2.0

//! The device. It does one copy at a time, and none after the driver is unbound.

use kernel::{
    device::Bound,
    devres::Devres,
    new_mutex, pci,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

use crate::{
    engine::{
        Copy,
        Engine, //
    },
    regs,
    sys::{
        self,
        dma::Binding,
        linux::Bar,
        sg::{
            List,
            Mapping, //
        },
    },
};

/// The direction of a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From memory to the device.
    ToDevice,
    /// From the device to memory.
    FromDevice,
}

/// The device. The value lives as long as anybody refers to it, even after the driver was unbound from the device.
#[pin_data]
pub(crate) struct Edu {
    /// Mappings are made while the driver is bound, and undone by the kernel after `shut_down()`.
    binding: Arc<Binding>,
    /// The maximum length of an entry of a scatter list.
    max_segment_bytes: usize,
    /// Locked as long as the device copies.
    #[pin]
    state: Mutex<State>,
    #[pin]
    engine: Engine,
}

/// Whether the device can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The device can be used. It is idle while the state is not locked.
    Works,
    /// The device did not end a copy in time, or the driver is unbound. The device may not access memory any more.
    Off,
}

impl Edu {
    /// Returns the device, once it is idle. It cannot reach memory if it could not before.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is another device, `ETIMEDOUT` if the device still works for an earlier user and does not end.
    pub(crate) fn new(
        pdev: &pci::Device<Bound>,
        bar: Bar<'_>,
        timeout_ms: u32,
    ) -> Result<Arc<Self>> {
        let engine = Engine::new(bar, timeout_ms)?;
        let max_segment_bytes = sys::dma::max_segment_bytes(pdev);
        let edu = Arc::pin_init(
            try_pin_init!(Self {
                binding: Binding::new(pdev)?,
                max_segment_bytes,
                state <- new_mutex!(State::Works),
                engine <- engine,
            }),
            GFP_KERNEL,
        )?;
        edu.engine.quiesce()?;
        Ok(edu)
    }

    /// Returns the maximum length of an entry of a scatter list.
    pub(crate) fn max_segment_bytes(&self) -> usize {
        self.max_segment_bytes
    }

    /// Maps pages for the device until the value is dropped, or the driver unbound.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the driver is unbound, and the errors of the DMA API.
    pub(crate) fn map(&self, list: List, direction: Direction) -> Result<Devres<Mapping>> {
        self.binding
            .with_bound(|dev| Mapping::new(dev, list, direction))
    }

    /// Copies `len_bytes` bytes between the device and a mapping, chunk by chunk. `progress` is called after each chunk
    /// with the number of its bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the bytes are not all within the device's memory and the mapping, `ENODEV` if the driver is unbound,
    /// `EIO` if the device has failed, `EINTR` if the task was killed.
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

    /// Copies as many bytes as the device can be given at once, at most `max_bytes`. Returns how many.
    fn copy_chunk(
        &self,
        mapping: &Devres<Mapping>,
        direction: Direction,
        offset: usize,
        device_offset: usize,
        max_bytes: usize,
    ) -> Result<usize> {
        // From here on unbinding waits, so that neither the mapping nor the registers go away.
        let mut state = self.state.lock();
        if !self.binding.is_bound() {
            return Err(ENODEV);
        }
        if *state == State::Off {
            return Err(EIO);
        }
        let chunk = mapping
            .try_access_with(|mapping| mapping.give_to_device(offset, max_bytes))
            .ok_or(ENODEV)?
            .ok_or(EINVAL)?;
        let device_addr = regs::MEMORY.wrapping_add(device_offset as u64);
        let from_device = direction == Direction::FromDevice;
        let (from, to) = if from_device {
            (device_addr, chunk.addr)
        } else {
            (chunk.addr, device_addr)
        };
        let copy = Copy {
            from,
            to,
            len_bytes: chunk.len_bytes,
            from_device,
        };
        if let Err(error) = self.engine.run(&copy) {
            *state = State::Off;
            self.cut_off();
            return Err(error);
        }
        mapping
            .try_access_with(|mapping| mapping.take_from_device(&chunk))
            .ok_or(ENODEV)?;
        Ok(chunk.len_bytes)
    }

    /// Cuts off the device from memory, because it cannot be told to stop. `nvme_dev_disable()`
    /// (`drivers/nvme/host/pci.c`) does the same before it gives requests back. The pages of the copy may be released
    /// afterwards, whatever the device goes on to do.
    fn cut_off(&self) {
        sys::dma::clear_master(self.binding.pdev());
        // Earlier writes of the device may still be on their way. They arrive before the answer to this read.
        let _ = self.engine.is_busy();
        dev_err!(
            self.binding.pdev().as_ref(),
            "no end of a copy, the device is off\n"
        );
    }

    /// Handles an interrupt. Returns whether the device has raised it.
    pub(crate) fn interrupt(&self) -> bool {
        self.engine.interrupt()
    }

    /// Shuts the device down before the driver is unbound. Waits for the chunk that is being copied. Afterwards no
    /// chunk is copied, nothing is mapped, and the device cannot access memory.
    pub(crate) fn shut_down(&self, pdev: &pci::Device<Bound>) {
        self.binding.end();
        *self.state.lock() = State::Off;
        sys::dma::clear_master(pdev);
        // A device that was cut off may still be at work. Its next user lets it reach memory again, and then it would
        // write to where the pages were. And nobody would serve its interrupt.
        if self.engine.quiesce().is_err() {
            dev_err!(pdev.as_ref(), "unbound from a device that is at work\n");
        }
    }
}
