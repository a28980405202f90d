// SPDX-License-Identifier: GPL-2.0

//! The registers of QEMU's edu device (`docs/specs/edu.rst` of QEMU), in its only BAR.

/// The identification of the device.
pub(crate) const ID: usize = 0x00;
/// The reasons for the interrupt. Read-only.
pub(crate) const IRQ_STATUS: usize = 0x24;
/// Acknowledges reasons. Write-only; needed with MSI as well.
pub(crate) const IRQ_ACK: usize = 0x64;
/// The source of a copy. 8 bytes, like the next two registers. Ignored while a copy runs.
pub(crate) const DMA_SRC: usize = 0x80;
/// The destination of a copy.
pub(crate) const DMA_DST: usize = 0x88;
/// The number of bytes to copy.
pub(crate) const DMA_COUNT: usize = 0x90;
/// Starts a copy.
pub(crate) const DMA_CMD: usize = 0x98;
/// The end of the part of the BAR that the driver needs.
pub(crate) const END: usize = 0xa0;

/// The value of `ID` without the version.
pub(crate) const ID_EDU: u32 = 0xed;

/// `DMA_CMD`: start; reads as set while a copy runs.
pub(crate) const CMD_RUN: u64 = 1 << 0;
/// `DMA_CMD`: from the device, otherwise to it.
pub(crate) const CMD_FROM_DEVICE: u64 = 1 << 1;
/// `DMA_CMD`: interrupt at the end.
pub(crate) const CMD_IRQ: u64 = 1 << 2;
/// `IRQ_STATUS`: a copy has ended.
pub(crate) const IRQ_DMA: u32 = 0x100;

/// Address of the device's memory, as the device sees it.
pub(crate) const MEMORY: u64 = 0x40000;
/// The size of the device's memory.
pub(crate) const MEMORY_BYTES: usize = 4096;
/// The most bytes that are copied at once. This is half of the device's memory: QEMU 7.2 aborts when all of it is
/// copied, and no version of QEMU refuses copies that are too long.
pub(crate) const CHUNK_BYTES: usize = 2048;
