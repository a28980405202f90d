// SPDX-License-Identifier: GPL-2.0

//! The parts of a call number (`include/uapi/asm-generic/ioctl.h`). Architectures have other bits for the directions, and
//! another length of the size.

/// The directions, as the kernel sees them: it reads the caller's structure, or writes it.
const READS: u32 = libc::_IOW::<()>(0, 0) as u32;
const WRITES: u32 = libc::_IOR::<()>(0, 0) as u32;
const NEITHER: u32 = libc::_IO(0, 0) as u32;

const SIZE_SHIFT: u32 = 16;
/// The lowest bit of the direction, which stands above the size.
pub(crate) const DIRECTION_SHIFT: u32 = (READS | WRITES | NEITHER).trailing_zeros();

/// The largest structure size that fits into a number, in bytes.
pub(crate) const MAX_SIZE: usize = (1 << (DIRECTION_SHIFT - SIZE_SHIFT)) - 1;

/// Returns the size of the structure, in bytes.
pub(crate) fn size(number: u32) -> usize {
    (number >> SIZE_SHIFT) as usize & MAX_SIZE
}

/// Returns the number of the same call with a structure of another size.
pub(crate) fn resized(number: u32, size: usize) -> u32 {
    assert!(size <= MAX_SIZE);
    number & !((MAX_SIZE as u32) << SIZE_SHIFT) | ((size as u32) << SIZE_SHIFT)
}

/// Whether the module reads the structure.
pub(crate) fn reads(number: u32) -> bool {
    number & READS != 0
}

/// Whether the module writes the structure.
pub(crate) fn writes(number: u32) -> bool {
    number & WRITES != 0
}
