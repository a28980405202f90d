// SPDX-License-Identifier: GPL-2.0

//! Files.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::null;
use std::sync::OnceLock;

use rust_gup_uapi::raw::RUST_GUP_STOP_SECRET as SECRET;
use rust_gup_uapi::How;

use super::proof::kpf;
use super::situation::fill;
use super::{Page, Parity, Scene, Situation};
use crate::fixture::{check, PAGE};
use crate::memory::{Map, RW};

pub(super) const SITUATIONS: &[Situation] = &[Situation::new("ramfs", ramfs)];

const NR_PAGES: usize = 16;

/// Mounts a file system for this test alone, and returns where it is.
fn mount(kind: &str, device: &str) -> PathBuf {
    static PRIVATE: OnceLock<()> = OnceLock::new();
    PRIVATE.get_or_init(|| {
        // SAFETY: Takes no pointers.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).expect("a mount namespace");
    });
    let path = PathBuf::from(format!("/tmp/{kind}"));
    if path.exists() {
        return path;
    }
    fs::create_dir(&path).expect("a mount point");
    let text = |s: &str| CString::new(s).expect("no zero byte");
    let (device, target) = (text(device), text(path.to_str().expect("ASCII")));
    let kind = text(kind);
    // SAFETY: The strings end in a zero byte, and there are no options.
    check(unsafe { libc::mount(device.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, null()) })
        .expect("mount");
    path
}

/// A file without a name.
fn unnamed(dir: &std::path::Path, nr_pages: usize) -> File {
    let path = dir.join("file");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .expect("a file");
    fs::remove_file(&path).expect("its name");
    file.set_len((nr_pages * PAGE) as u64).expect("its length");
    file
}

fn ramfs() -> Scene {
    let file = unnamed(&mount("ramfs", "ramfs"), NR_PAGES);
    let len = NR_PAGES * PAGE;
    let map = Map::guarded(len, PAGE, RW, libc::MAP_SHARED, (file.as_raw_fd(), 0)).expect("mmap");
    let words = fill(&map);
    map.prove_kind(kpf::ANON | kpf::COMPOUND_HEAD | kpf::COMPOUND_TAIL, 0);
    Scene::new(map, words, |way, _| {
        if way.how == How::LongTerm && way.is_write() {
            Page::refused(SECRET, libc::EFAULT)
        } else if way.how == How::LongTerm {
            Page::slow(SECRET)
        } else {
            Page::stricter(SECRET, Parity::Unevictable)
        }
    })
}
