// SPDX-License-Identifier: GPL-2.0

//! A misc device, whose open files serve ioctls.
//!
//! In Linux 7.2 the kernel crate's `MiscDevice` leaves `file_operations.owner` empty, so the module could be removed
//! while a file is open. This file registers the device itself until no supported kernel has that bug.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque,
    ThisModule, //
};

use super::ioctl_file::{
    file_operations,
    IoctlFile, //
};

/// A device node `/dev/NAME` that exists as long as this value. `T` serves its open files.
///
/// # Invariants
///
/// `misc` is registered, and refers to `fops`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: IoctlFile> {
    #[pin]
    fops: Opaque<bindings::file_operations>,
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    open_file: PhantomData<T>,
}

// SAFETY: Deregistering is possible from any thread, and nothing else can be done with a registration.
unsafe impl<T: IoctlFile> Send for Registration<T> {}
// SAFETY: A shared reference to it gives access to nothing.
unsafe impl<T: IoctlFile> Sync for Registration<T> {}

impl<T: IoctlFile> Registration<T> {
    /// Registers the device. Its node has mode `mode`.
    pub(crate) fn new(
        module: &'static ThisModule,
        name: &'static CStr,
        mode: u16,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            fops <- Opaque::new(file_operations::<T>(module)),
            misc <- Opaque::new(bindings::miscdevice {
                minor: bindings::MISC_DYNAMIC_MINOR as i32,
                name: name.as_char_ptr(),
                mode,
                ..pin_init::zeroed()
            }),
            open_file: PhantomData,
            _: {
                let misc = misc.get();
                // SAFETY: Both are initialised and stay where they are until the drop below.
                to_result(unsafe {
                    (*misc).fops = fops.get();
                    bindings::misc_register(misc)
                })?;
            },
        })
    }
}

#[pinned_drop]
impl<T: IoctlFile> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariant the device is registered. No file is open, because each open file holds the module.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}
