// SPDX-License-Identifier: GPL-2.0

//! Dispatches ioctls to the calls of the ABI, with their structures in and out.

use kernel::{
    ioctl::_IOC_SIZE,
    prelude::*, //
};

use super::{
    argument::Argument,
    calls,
    OpenFile, //
};
use crate::uapi;

/// The bits of an ioctl number that say how large its structure is.
const SIZE_BITS: u32 = kernel::uapi::_IOC_SIZEMASK << kernel::uapi::_IOC_SIZESHIFT;

/// Returns an ioctl number without the size. The module dispatches on that, so that a structure can grow.
const fn call(cmd: u32) -> u32 {
    cmd & !SIZE_BITS
}

const INFO: u32 = call(uapi::RUST_GUP_IOC_INFO);
const PIN: u32 = call(uapi::RUST_GUP_IOC_PIN);
const UNPIN: u32 = call(uapi::RUST_GUP_IOC_UNPIN);
const READ: u32 = call(uapi::RUST_GUP_IOC_READ);
const WRITE: u32 = call(uapi::RUST_GUP_IOC_WRITE);
const RUNS: u32 = call(uapi::RUST_GUP_IOC_RUNS);
const COMPARE: u32 = call(uapi::RUST_GUP_IOC_COMPARE);
const MEASURE: u32 = call(uapi::RUST_GUP_IOC_MEASURE);
const STATS: u32 = call(uapi::RUST_GUP_IOC_STATS);

/// Serves an ioctl.
///
/// # Errors
///
/// `ENOTTY` if there is no such call; otherwise what the call returns.
pub(super) fn dispatch(file: &OpenFile, cmd: u32, arg: usize) -> Result<isize> {
    let argument = Argument::new(arg, _IOC_SIZE(cmd));
    match call(cmd) {
        INFO => {
            argument.check_size::<uapi::rust_gup_info>()?;
            argument.write(&calls::info())?;
        }
        PIN => calls::pin(file, argument.read()?, &argument)?,
        UNPIN => calls::unpin(file, argument.read()?)?,
        READ => calls::read(file, argument.read()?)?,
        WRITE => calls::write(file, argument.read()?)?,
        RUNS => argument.write(&calls::runs(file, argument.read()?)?)?,
        COMPARE => argument.write(&calls::compare(argument.read()?)?)?,
        MEASURE => argument.write(&calls::measure(argument.read()?)?)?,
        STATS => {
            argument.check_size::<uapi::rust_gup_stats>()?;
            argument.write(&calls::stats())?;
        }
        _ => return Err(ENOTTY),
    }
    Ok(0)
}
