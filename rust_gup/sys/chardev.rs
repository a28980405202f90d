// SPDX-License-Identifier: GPL-2.0

//! A misc device whose open files hold the module.
//!
//! The kernel crate's `MiscDevice` of Linux 7.2 leaves `file_operations.owner` empty, so that the module could be
//! removed under an open file. Until no supported kernel has that mistake the registration is made here.

use core::marker::PhantomData;

use kernel::{bindings, error::to_result, prelude::*, types::Opaque, ThisModule};

/// What the device does. A value is one open file.
pub(crate) trait CharDevice: Send + Sync + Sized + 'static {
    /// Opens the device.
    fn open() -> Result<Pin<KBox<Self>>>;

    /// Serves an ioctl. Process context; several may run at a time.
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;
}

/// A device node `/dev/NAME` that exists as long as this value.
///
/// # Invariants
///
/// `misc` is registered, and refers to `fops`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: CharDevice> {
    #[pin]
    fops: Opaque<bindings::file_operations>,
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    device: PhantomData<T>,
}

// SAFETY: Deregistering is possible from any thread, and nothing else can be done with a registration.
unsafe impl<T: CharDevice> Send for Registration<T> {}
// SAFETY: A shared reference to it gives access to nothing.
unsafe impl<T: CharDevice> Sync for Registration<T> {}

impl<T: CharDevice> Registration<T> {
    /// Registers the device. Its node has mode `mode`.
    pub(crate) fn new(
        module: &'static ThisModule,
        name: &'static CStr,
        mode: u16,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            fops <- Opaque::new(bindings::file_operations {
                owner: module.as_ptr(),
                open: Some(Self::open),
                release: Some(Self::release),
                unlocked_ioctl: Some(Self::ioctl),
                #[cfg(CONFIG_COMPAT)]
                compat_ioctl: bindings::compat_ptr_ioctl,
                ..pin_init::zeroed()
            }),
            misc <- Opaque::new(bindings::miscdevice {
                minor: bindings::MISC_DYNAMIC_MINOR as i32,
                name: name.as_char_ptr(),
                mode,
                ..pin_init::zeroed()
            }),
            device: PhantomData,
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

    extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        match T::open() {
            Ok(open_file) => {
                // SAFETY: The value stays pinned: it is only ever accessed through shared references, and dropped in
                // place by `release()`.
                let open_file = KBox::into_raw(unsafe { Pin::into_inner_unchecked(open_file) });
                // SAFETY: The file is being opened, nobody else accesses it yet. misc_open() left its own pointer
                // here, which is not needed.
                unsafe { (*file).private_data = open_file.cast() };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open()` stored it, and this is the last access to the file.
        drop(unsafe { KBox::from_raw((*file).private_data.cast::<T>()) });
        0
    }

    extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: `open()` stored it, and the file is not released during an ioctl.
        let open_file = unsafe { &*(*file).private_data.cast::<T>() };
        match open_file.ioctl(cmd, arg) {
            Ok(result) => result,
            Err(error) => error.to_errno() as c_long,
        }
    }
}

#[pinned_drop]
impl<T: CharDevice> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariant it is registered. No file is open: each holds the module.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}
