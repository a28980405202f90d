// SPDX-License-Identifier: GPL-2.0

//! A file in debugfs that serves ioctls.
//!
//! The kernel crate has debugfs files for reading and writing, but none that serve ioctls.

use core::marker::PhantomData;

use kernel::{
    bindings,
    prelude::*,
    types::Opaque,
    ThisModule, //
};

use super::ioctl_file::{
    file_operations,
    IoctlFile, //
};

/// A file in the root of debugfs that exists as long as this value. `T` serves its open files.
///
/// # Invariants
///
/// `dentry` belongs to the file, and the file refers to `fops`.
#[pin_data(PinnedDrop)]
pub(crate) struct File<T: IoctlFile> {
    #[pin]
    fops: Opaque<bindings::file_operations>,
    dentry: *mut bindings::dentry,
    open_file: PhantomData<T>,
}

// SAFETY: Any thread may remove the file, and nothing else can be done with it.
unsafe impl<T: IoctlFile> Send for File<T> {}
// SAFETY: A shared reference to it gives access to nothing.
unsafe impl<T: IoctlFile> Sync for File<T> {}

impl<T: IoctlFile> File<T> {
    /// Creates the file with mode `mode`.
    ///
    /// # Errors
    ///
    /// `EEXIST` if a file of this name exists, `ENODEV` if the kernel is built without debugfs, `EPERM` if debugfs was
    /// switched off at boot, `ENOMEM`.
    pub(crate) fn new(
        module: &'static ThisModule,
        name: &'static CStr,
        mode: u16,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            fops <- Opaque::new(file_operations::<T>(module)),
            // SAFETY: The operations stay where they are until the file is removed, by the drop below.
            dentry: unsafe { create(name, mode, fops.get())? },
            open_file: PhantomData,
        })
    }
}

/// # Safety
///
/// `fops` is valid as long as the file exists, and names its owner.
#[cfg(CONFIG_DEBUG_FS)]
unsafe fn create(
    name: &'static CStr,
    mode: u16,
    fops: *const bindings::file_operations,
) -> Result<*mut bindings::dentry> {
    let (root, data) = (core::ptr::null_mut(), core::ptr::null_mut());
    // "Unsafe" means that debugfs does not guard each operation against the removal of the file. Nobody removes an open
    // file, because it holds the owner of the operations. The guarded kind does not support `compat_ioctl`.
    // SAFETY: The name ends in a zero byte; the rest is as for this function.
    kernel::error::from_err_ptr(unsafe {
        bindings::debugfs_create_file_unsafe(name.as_char_ptr(), mode, root, data, fops)
    })
}

/// # Safety
///
/// Always safe to call.
#[cfg(not(CONFIG_DEBUG_FS))]
unsafe fn create(
    _name: &'static CStr,
    _mode: u16,
    _fops: *const bindings::file_operations,
) -> Result<*mut bindings::dentry> {
    Err(ENODEV)
}

#[pinned_drop]
impl<T: IoctlFile> PinnedDrop for File<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariant. No file is open, because each open file holds the module.
        #[cfg(CONFIG_DEBUG_FS)]
        unsafe {
            bindings::debugfs_remove(self.dentry)
        };
    }
}
