// SPDX-License-Identifier: GPL-2.0

//! The DMA engine of the device: starting a copy, and knowing when it has ended.
//!
//! An interrupt is a reason to ask the device, and never an answer. It may come late, for a copy that has already timed
//! out, or for nothing. If the driver took a running copy for ended, its pages would soon belong to somebody else.

use kernel::{
    io::{poll::read_poll_timeout, Io},
    prelude::*,
    time::{Delta, Instant, Monotonic},
};

use crate::{
    regs,
    sys::{
        done::Done,
        linux::{Bar, SharedBar},
    },
};

/// How long the driver waits for a device that must not reach memory any more.
const IDLE_TIMEOUT_MS: i64 = 1000;
/// The interval at which the driver asks the device meanwhile.
const IDLE_POLL_MS: i64 = 10;

/// A copy within the device's address space, which has the memory that is mapped for the device, and its own.
pub(crate) struct Copy {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) len_bytes: usize,
    /// Whether the device writes to memory.
    pub(crate) from_device: bool,
}

/// The registers, and the wait for the interrupt.
#[pin_data]
pub(crate) struct Engine {
    bar: SharedBar,
    timeout_ms: u32,
    /// Completed by the interrupt handler.
    #[pin]
    interrupted: Done,
}

impl Engine {
    /// Returns the engine of a device that has not been used yet. A copy may take `timeout_ms`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is another device.
    pub(crate) fn new(bar: Bar<'_>, timeout_ms: u32) -> Result<impl PinInit<Self, Error>> {
        if bar.read32(regs::ID) & 0xff != regs::ID_EDU {
            return Err(ENODEV);
        }
        let bar = bar.into_devres()?;
        Ok(try_pin_init!(Self {
            bar,
            timeout_ms,
            interrupted <- Done::new(),
        }))
    }

    /// Makes the device copy, and waits until the copy has ended. The wait is not interruptible, because the device
    /// accesses the pages until then, whatever becomes of the process. Only one caller at a time may call this
    /// function, and nobody may call it after it has returned `EIO`.
    ///
    /// # Errors
    ///
    /// `EIO` if the device is still at work when the time is over. The caller must then cut off the device from memory.
    /// `ENODEV` if the driver is unbound.
    pub(crate) fn run(&self, copy: &Copy) -> Result {
        let mut cmd = regs::CMD_RUN | regs::CMD_IRQ;
        if copy.from_device {
            cmd |= regs::CMD_FROM_DEVICE;
        }
        self.bar
            .try_access_with(|bar| {
                // An interrupt that an earlier copy left behind does not count.
                bar.write32(regs::IRQ_DMA, regs::IRQ_ACK);
                self.interrupted.reset();
                write_wide(bar, copy.from, regs::DMA_SRC)?;
                write_wide(bar, copy.to, regs::DMA_DST)?;
                write_wide(bar, copy.len_bytes as u64, regs::DMA_COUNT)?;
                write_wide(bar, cmd, regs::DMA_CMD)
            })
            .ok_or(ENODEV)??;
        let start = Instant::<Monotonic>::now();
        while self.is_busy() {
            let elapsed_ms = u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX);
            let left_ms = self.timeout_ms.saturating_sub(elapsed_ms);
            if left_ms == 0 {
                return Err(EIO);
            }
            self.interrupted.wait(left_ms);
        }
        Ok(())
    }

    /// Waits until the device is idle, and acknowledges its interrupts. The device must not reach memory any more, or
    /// not yet.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the device does not become idle, `ENODEV` if the driver is unbound.
    pub(crate) fn quiesce(&self) -> Result {
        read_poll_timeout(
            || Ok(self.is_busy()),
            |is_busy| !is_busy,
            Delta::from_millis(IDLE_POLL_MS),
            Delta::from_millis(IDLE_TIMEOUT_MS),
        )?;
        self.bar
            .try_access_with(|bar| bar.write32(u32::MAX, regs::IRQ_ACK))
            .ok_or(ENODEV)
    }

    /// Returns whether the device copies. A device that cannot be asked might copy. Once the answer is no, everything
    /// that the device has written has arrived: on the bus, the answer to a read does not overtake earlier writes of
    /// the device.
    pub(crate) fn is_busy(&self) -> bool {
        self.bar
            .try_access_with(|bar| read_wide(bar, regs::DMA_CMD))
            .is_none_or(|cmd| cmd.map_or(true, |cmd| cmd & regs::CMD_RUN != 0))
    }

    /// Handles an interrupt. Returns whether the device has raised it.
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
            self.interrupted.complete();
        }
        reasons != 0
    }
}

/// Writes to one of the registers of 64 bits. A CPU of 32 bits can only write to all of such a register at once by
/// writing its lower half: the device sets the upper half to zero.
///
/// The offset is checked at run time, because the type of a BAR does not promise that it is aligned to 8 bytes.
fn write_wide(bar: &Bar<'_>, value: u64, register: usize) -> Result {
    #[cfg(CONFIG_64BIT)]
    return bar.try_write64(value, register);
    #[cfg(not(CONFIG_64BIT))]
    return bar.try_write32(u32::try_from(value)?, register);
}

/// Reads one of the registers of 64 bits. A CPU of 32 bits reads its lower half.
fn read_wide(bar: &Bar<'_>, register: usize) -> Result<u64> {
    #[cfg(CONFIG_64BIT)]
    return bar.try_read64(register);
    #[cfg(not(CONFIG_64BIT))]
    return Ok(bar.try_read32(register)?.into());
}
