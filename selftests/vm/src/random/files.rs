// SPDX-License-Identifier: GPL-2.0

//! The file systems whose files are mapped, and the huge page that all sequences share.

use std::{
    ffi::CString,
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io,
    os::unix::fs::OpenOptionsExt,
    sync::OnceLock, //
};

use rust_gup_memory::{
    file,
    size::page_bytes, //
};
use rustix::{
    fs::MemfdFlags,
    mount::{
        mount,
        unmount,
        MountFlags,
        UnmountFlags, //
    }, //
};

use super::{
    place::Place,
    step::{
        Memory,
        Piece,
        Rights, //
    }, //
};
use crate::harness::{
    disks::Disk,
    fixture::check, //
};

/// Size of the disk: enough for a few files as long as the arena.
const DISK_BYTES: u64 = 48 << 20;

/// The file systems that are mounted while sequences run.
pub(super) struct FileSystems {
    disk: Disk,
    tmpfs: Mount,
}

static DIRECTORIES: OnceLock<[(Memory, String); 2]> = OnceLock::new();
static GIANT: OnceLock<Option<File>> = OnceLock::new();

impl FileSystems {
    /// Mounts all file systems, and makes the huge page if the machine has one.
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

/// Creates a file of 1 GiB and allocates its only page. The sequences share the file, because clearing the page takes
/// seconds.
fn giant() -> io::Result<File> {
    let file = file::memfd(MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB, 0)?;
    file.set_len((Place::Giant.nr_pages() * page_bytes()) as u64)?;
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

/// Returns the file with the huge page of 1 GiB, on machines that have one.
pub(super) fn giant_file() -> Option<&'static File> {
    GIANT.get()?.as_ref()
}

/// Creates a file without a name on the file system for `memory`.
pub(super) fn file_of(memory: Memory, nr_pages: usize) -> io::Result<File> {
    let directories = DIRECTORIES.get().expect("the file systems are mounted");
    let file = match directories.iter().find(|(m, _)| *m == memory) {
        Some((_, directory)) => OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(directory)?,
        None if memory == Memory::Secret => file::secret(0)?,
        None => file::memfd(MemfdFlags::empty(), 0)?,
    };
    file.set_len((nr_pages * page_bytes()) as u64)?;
    Ok(file)
}

/// A mounted file system. It is unmounted on drop.
struct Mount(&'static str);

impl Mount {
    fn new(kind: &str, directory: &'static str, options: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let options = CString::new(options).expect("no zero byte");
        mount(kind, directory, kind, MountFlags::empty(), Some(&*options))?;
        Ok(Self(directory))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::empty());
    }
}
