// SPDX-License-Identifier: GPL-2.0

//! Files without names.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{
        FromRawFd,
        OwnedFd,
        RawFd, //
    }, //
};

use rust_gup_uapi::{
    failed,
    last_failed, //
};
use rustix::{
    fs::{
        memfd_create,
        openat,
        MemfdFlags,
        Mode,
        OFlags, //
    },
    mount::{
        fsconfig_create,
        fsconfig_set_string,
        fsmount,
        fsopen,
        FsMountFlags,
        FsOpenFlags,
        MountAttrFlags, //
    }, //
};

use crate::unavailable;

/// Creates a file without a name on a tmpfs that nobody else sees, mounted with `huge=`.
pub(crate) fn tmpfs(huge: &CStr, len_bytes: usize) -> io::Result<File> {
    let root_needed =
        |call| move |err| unavailable(format!("{call}: {err}; only root may mount a tmpfs"));

    let context = fsopen("tmpfs", FsOpenFlags::empty()).map_err(root_needed("fsopen()"))?;
    fsconfig_set_string(&context, "huge", huge).map_err(|err| {
        unavailable(format!(
            "fsconfig(): {err}; this kernel has no huge pages for tmpfs"
        ))
    })?;
    fsconfig_create(&context).map_err(|err| failed("fsconfig()", err.into(), None))?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(root_needed("fsmount()"))?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(&mount, ".", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|err| failed("openat()", err.into(), None))?;
    with_len(file, len_bytes)
}

/// Creates a memfd that is closed on exec.
pub fn memfd(flags: MemfdFlags, len_bytes: usize) -> io::Result<File> {
    let file = memfd_create("rust_gup", flags | MemfdFlags::CLOEXEC)
        .map_err(|err| failed("memfd_create()", err.into(), None))?;
    with_len(file, len_bytes)
}

/// Creates a file of secret memory, memfd_secret(2).
pub fn secret(len_bytes: usize) -> io::Result<File> {
    // The number is the same on all architectures here. The libc crate does not know it on LoongArch.
    const SYS_MEMFD_SECRET: libc::c_long = 447;
    // SAFETY: The call takes no pointers.
    let fd = unsafe { libc::syscall(SYS_MEMFD_SECRET, libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(unavailable(format!(
            "{}; boot with secretmem.enable=1, on a kernel with CONFIG_SECRETMEM",
            last_failed("memfd_secret()", None)
        )));
    }
    let fd = RawFd::try_from(fd).expect("a file descriptor is an int");
    // SAFETY: The kernel has just returned this descriptor, and nobody else knows it.
    with_len(unsafe { OwnedFd::from_raw_fd(fd) }, len_bytes)
}

fn with_len(file: OwnedFd, len_bytes: usize) -> io::Result<File> {
    let file = File::from(file);
    file.set_len(u64::try_from(len_bytes).expect("a length has at most 64 bits"))?;
    Ok(file)
}
