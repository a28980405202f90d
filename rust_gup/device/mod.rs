// SPDX-License-Identifier: GPL-2.0

//! The device `/dev/rust_gup`, for user land.

#![forbid(unsafe_code)]

mod argument;
mod calls;
mod convert;
mod file_charge;
mod handles;
mod ioctl;

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

use self::{
    file_charge::{
        HeldByFile,
        HeldRange, //
    },
    handles::Handles, //
};
use crate::sys::files::ioctl_file::IoctlFile;

/// An open file, with the handles that were made through it.
///
/// The file is the capability: any process that has it, by fork() or over a socket, can use its handles. A pin always
/// takes pages of the calling process. The last close releases everything.
#[pin_data]
pub(crate) struct OpenFile {
    #[pin]
    handles: Mutex<Handles<HeldRange>>,
    held: HeldByFile,
}

impl IoctlFile for OpenFile {
    fn open() -> Result<Pin<KBox<Self>>> {
        let held = HeldByFile::new()?;
        KBox::pin_init(
            pin_init!(Self {
                handles <- new_mutex!(Handles::new()),
                held,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        ioctl::dispatch(self, cmd, arg)
    }
}
