// SPDX-License-Identifier: GPL-2.0

//! The file systems that files are mapped from, and the huge page that all sequences share.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use super::place::Place;
use super::step::{Memory, Piece, Rights};
use crate::harness::disks::Disk;
use crate::harness::fixture::{check, PAGE};

/// Large enough for a few files as long as the arena.
const DISK_BYTES: u64 = 48 << 20;

/// What is mounted while sequences run.
pub(super) struct FileSystems {
    disk: Disk,
    tmpfs: Mount,
}

static DIRECTORIES: OnceLock<[(Memory, String); 2]> = OnceLock::new();
static GIANT: OnceLock<Option<File>> = OnceLock::new();

impl FileSystems {
    /// Mounts all, and makes the huge page if there is one.
    pub(super) fn new() -> io::Result<Self> {
        let all = Self {
            disk: Disk::new(DISK_BYTES),
            tmpfs: Mount::new("tmpfs", "/tmp/random-tmpfs", "huge=always")?,
        };
        DIRECTORIES.get_or_init(|| {
            [
                (Memory::Disk, all.disk.mounted.to_owned()),
                (Memory::Tmpfs, all.tmpfs.0.to_owned()),
            ]
        });
        GIANT.get_or_init(|| giant().ok());
        Ok(all)
    }
}

/// A file of 1 GiB whose only page is there already: to clear it takes seconds.
fn giant() -> io::Result<File> {
    let file = memfd_with(libc::MFD_HUGETLB | libc::MFD_HUGE_1GB)?;
    file.set_len((Place::Giant.nr_pages() * PAGE) as u64)?;
    let flags = libc::MAP_SHARED;
    let piece = Piece::of(Place::Giant);
    super::world::map_file(piece, &file, Rights::ReadWrite, flags)?;
    // SAFETY: The mapping is of this length, and nobody uses it.
    let populated = check(unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(piece.addr()),
            piece.len_bytes(),
            libc::MADV_POPULATE_WRITE,
        )
    });
    super::world::unmap(piece)?;
    populated?;
    Ok(file)
}

/// The huge page of 1 GiB, on machines that have one.
pub(super) fn giant_file() -> Option<&'static File> {
    GIANT.get()?.as_ref()
}

/// A file without a name on the file system for `memory`.
pub(super) fn file_of(memory: Memory, nr_pages: usize) -> io::Result<File> {
    let directories = DIRECTORIES.get().expect("the file systems are mounted");
    let file = match directories.iter().find(|(m, _)| *m == memory) {
        Some((_, directory)) => OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(directory)?,
        None if memory == Memory::Secret => secret()?,
        None => memfd_with(0)?,
    };
    file.set_len((nr_pages * PAGE) as u64)?;
    Ok(file)
}

pub(super) fn memfd(len_bytes: u64) -> io::Result<File> {
    let file = memfd_with(0)?;
    file.set_len(len_bytes)?;
    Ok(file)
}

fn memfd_with(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: The name ends in a zero byte.
    let fd = check(unsafe { libc::memfd_create(c"random".as_ptr(), flags | libc::MFD_CLOEXEC) })?;
    // SAFETY: The kernel just gave it to us.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn secret() -> io::Result<File> {
    // SAFETY: Takes no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) })?;
    // SAFETY: The kernel just gave it to us.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) })
}

/// A file system, until this is dropped.
struct Mount(&'static str);

impl Mount {
    fn new(kind: &str, directory: &'static str, options: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let [kind, options, target] =
            [kind, options, directory].map(|s| CString::new(s).expect("no zero byte"));
        // SAFETY: The strings end in zero bytes.
        check(unsafe {
            libc::mount(
                kind.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        })?;
        Ok(Self(directory))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let target = CString::new(self.0).expect("no zero byte");
        // SAFETY: The string ends in a zero byte.
        unsafe { libc::umount(target.as_ptr()) };
    }
}
