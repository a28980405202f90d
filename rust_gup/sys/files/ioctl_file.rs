// SPDX-License-Identifier: GPL-2.0

//! Open files that serve ioctls and hold the module.

use kernel::{
    bindings,
    prelude::*,
    ThisModule, //
};

/// An open file that serves ioctls.
pub(crate) trait IoctlFile: Send + Sync + Sized + 'static {
    /// Opens the file.
    fn open() -> Result<Pin<KBox<Self>>>;

    /// Serves an ioctl. Called in process context; several calls may run at the same time.
    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize>;
}

/// Returns the operations of files that open as `T`. Each open file holds `module`.
pub(super) fn file_operations<T: IoctlFile>(
    module: &'static ThisModule,
) -> bindings::file_operations {
    bindings::file_operations {
        owner: module.as_ptr(),
        open: Some(open::<T>),
        release: Some(release::<T>),
        unlocked_ioctl: Some(ioctl::<T>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        ..pin_init::zeroed()
    }
}

extern "C" fn open<T: IoctlFile>(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    match T::open() {
        Ok(open_file) => {
            // SAFETY: The value stays pinned: it is only ever accessed through shared references, and dropped in
            // place by `release()`.
            let open_file = KBox::into_raw(unsafe { Pin::into_inner_unchecked(open_file) });
            // SAFETY: The file is being opened, so nobody else accesses it yet. The value that misc_open() left in the
            // field is not needed.
            unsafe { (*file).private_data = open_file.cast() };
            0
        }
        Err(error) => error.to_errno(),
    }
}

extern "C" fn release<T: IoctlFile>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: `open()` stored it, and this is the last access to the file.
    drop(unsafe { KBox::from_raw((*file).private_data.cast::<T>()) });
    0
}

extern "C" fn ioctl<T: IoctlFile>(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: `open()` stored it, and the file is not released during an ioctl.
    let open_file = unsafe { &*(*file).private_data.cast::<T>() };
    match open_file.ioctl(cmd, arg) {
        Ok(result) => result,
        Err(error) => error.to_errno() as c_long,
    }
}
