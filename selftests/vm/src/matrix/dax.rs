// SPDX-License-Identifier: GPL-2.0

//! Persistent memory: files on file systems that map the device's own pages (fsdax), and the device itself
//! (device-dax), under leaves of each level.
//!
//! The machine needs two pieces of it: /dev/pmem0 for file systems, and namespace1.0 for ndctl to make a device of.

use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use rust_gup_uapi::raw::{
    RUST_GUP_STOP_FILE_LONGTERM as FILE_LONGTERM, RUST_GUP_STOP_LONGTERM as LONGTERM,
    RUST_GUP_STOP_READ_ONLY as READ_ONLY,
};
use rust_gup_uapi::How;

use super::device::{faults, prove_frames, prove_vm_flag};
use super::situation::{fill, touch};
use super::{Page, Scene, Situation};
use crate::fixture::{check, HUGE, PAGE};
use crate::memory::{Map, RW};

const SITUATIONS: &[Situation] = &[
    Situation::new("fsdax_ext4_pte", || fsdax(Fs::Ext4, Leaf::Pte)),
    Situation::new("fsdax_ext4_pmd", || fsdax(Fs::Ext4, Leaf::Pmd)),
    Situation::new("fsdax_ext4_pmd_by_pte", || fsdax(Fs::Ext4, Leaf::PmdByPte)),
    Situation::new("fsdax_ext4_sync", || fsdax(Fs::Ext4, Leaf::SyncPmd)),
    Situation::new("fsdax_xfs_pte", || fsdax(Fs::Xfs, Leaf::Pte)),
    Situation::new("fsdax_xfs_pmd", || fsdax(Fs::Xfs, Leaf::Pmd)),
    Situation::new("fsdax_xfs_pmd_by_pte", || fsdax(Fs::Xfs, Leaf::PmdByPte)),
    Situation::new("fsdax_xfs_sync", || fsdax(Fs::Xfs, Leaf::SyncPmd)),
    Situation::new("fsdax_private", fsdax_private),
    Situation::new("devdax_4k", || devdax(PAGE)).logs(LOG),
    Situation::new("devdax_2m", || devdax(HUGE)).logs(LOG),
    Situation::new("devdax_1g", || devdax(GIANT)).logs(LOG),
];

/// QEMU's memory is not that persistent, and the kernel says so each time that the namespace changes.
const LOG: &[&str] = &["unable to guarantee persistence of writes"];

/// None where the machine was not given such memory.
pub(super) fn situations() -> &'static [Situation] {
    let is_meant = fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("memmap="));
    if is_meant {
        SITUATIONS
    } else {
        &[]
    }
}

const GIANT: usize = 1 << 30;
/// What the device's own pages are mapped by.
const BASE_PAGES: Page = Page::fast(0);
const HUGE_LEAF: Page = Page::fast(1);
const GIANT_LEAF: Page = Page::fast(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fs {
    Ext4,
    Xfs,
}

/// How the file is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Pte,
    Pmd,
    /// Base pages of a large folio, which another mapping has by a leaf of 2 MiB.
    PmdByPte,
    /// With `MAP_SYNC`.
    SyncPmd,
}

fn fsdax(fs: Fs, leaf: Leaf) -> Scene {
    let (flags, flag) = match leaf {
        Leaf::SyncPmd => (libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC, "sf"),
        _ => (libc::MAP_SHARED, "sh"),
    };
    let (map, page) = match leaf {
        // An offset that is no multiple of 2 MiB at an address that is one: base pages it is.
        Leaf::Pte => {
            let file = file(fs, 2 * HUGE);
            let map = mapped(&file, HUGE, flags, PAGE);
            assert_eq!(faults(&map, PAGE), map.nr_pages() as u64, "base pages");
            (map, BASE_PAGES)
        }
        Leaf::Pmd | Leaf::SyncPmd => (by_pmd(fs, flags).1, HUGE_LEAF),
        Leaf::PmdByPte => {
            let (file, _) = by_pmd(fs, flags);
            let map = mapped(&file, HUGE, flags, PAGE);
            assert_eq!(faults(&map, PAGE), map.nr_pages() as u64, "base pages");
            (map, BASE_PAGES)
        }
    };
    let words = fill(&map);
    prove_frames(&map, &pmem());
    prove_vm_flag(&map, flag);
    Scene::new(map, words, move |way, _| {
        if way.how == How::LongTerm {
            refused_for_long(LONGTERM)
        } else {
            page
        }
    })
}

/// `mm/gup.c:1213`.
fn refused_for_long(stop: u32) -> Page {
    Page::refused(stop, libc::EOPNOTSUPP)
}

/// A file, mapped by leaves of 2 MiB. That depends on where the file system puts it, so more than one is tried.
fn by_pmd(fs: Fs, flags: libc::c_int) -> (File, Map) {
    for _ in 0..8 {
        let file = file(fs, 2 * HUGE);
        let map = mapped(&file, 2 * HUGE, flags, 0);
        if faults(&map, PAGE) == 2 {
            return (file, map);
        }
    }
    panic!("no file is mapped by leaves of 2 MiB");
}

/// Private memory of a file that was not written to: the device's own pages, read-only, until they are copied.
fn fsdax_private() -> Scene {
    let file = file(Fs::Ext4, 2 * HUGE);
    let words = fill(&mapped(&file, HUGE, libc::MAP_SHARED, PAGE));
    let map = mapped(&file, HUGE, libc::MAP_PRIVATE, PAGE);
    assert_eq!(touch(&map), words);
    prove_frames(&map, &pmem());
    Scene::new(map, words, |way, _| match (way.how, way.is_write()) {
        (How::LongTerm, false) => refused_for_long(LONGTERM),
        (How::LongTerm, true) => refused_for_long(READ_ONLY),
        (_, false) => BASE_PAGES,
        (_, true) => Page::readied(READ_ONLY, 0),
    })
}

/// The device as one piece of memory, under leaves of `align` bytes.
fn devdax(align: usize) -> Scene {
    let device = device(align);
    let len_bytes = align.max(4 * HUGE);
    let flags = libc::MAP_SHARED;
    let map = Map::guarded(
        len_bytes,
        align.max(HUGE),
        RW,
        flags,
        (device.as_raw_fd(), 0),
    );
    let map = map.expect("the device is mapped");
    let step = (align / 512).max(PAGE);
    let nr_leaves = (len_bytes / align) as u64;
    assert_eq!(faults(&map, step), nr_leaves, "leaves of {align:#x} bytes");
    // Not of the largest leaf: the kernel takes it away when it is looked at, `mm/pagewalk.c:233`.
    if align < GIANT {
        prove_frames(&map, &pmem());
    }
    let part = map.part(HUGE, 2 * HUGE);
    let words = fill(&part);
    let page = match align {
        PAGE => BASE_PAGES,
        HUGE => HUGE_LEAF,
        _ => GIANT_LEAF,
    };
    let scene = Scene::new(part, words, move |way, _| {
        if way.how == How::LongTerm && way.is_write() {
            // It is a file for the kernel's fast walk, too.
            Page::slow(FILE_LONGTERM)
        } else {
            page
        }
    });
    let scene = scene.unguarded().keep(map);
    if align < GIANT {
        scene
    } else {
        scene.invisible()
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Maps a file of [`file()`] from `offset` on.
fn mapped(file: &File, len_bytes: usize, flags: libc::c_int, offset: usize) -> Map {
    let place = (file.as_raw_fd(), offset);
    Map::guarded(len_bytes, HUGE, RW, flags, place).expect("the file is mapped")
}

/// A file with all its blocks.
fn file(fs: Fs, len_bytes: usize) -> File {
    static NR: AtomicU32 = AtomicU32::new(0);
    let nr = NR.fetch_add(1, Ordering::Relaxed);
    let path = format!("{}/{nr}", mount(fs));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    let file = file.expect("a file");
    // SAFETY: Takes no pointers.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len_bytes as libc::off_t) })
        .expect("room for a file");
    // It lives as long as it is mapped.
    fs::remove_file(path).expect("the file's name goes");
    file
}

/// Where the file system is mounted: a new one for each test.
fn mount(fs: Fs) -> &'static str {
    const MOUNTED: &str = "/tmp/dax";
    const DEVICE: &str = "/dev/pmem0";
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        fs::create_dir_all(MOUNTED).expect("a directory");
        // What the test before has left.
        let _ = Command::new("umount").arg(MOUNTED).output();
        // Both file systems are told to lay files out in pieces of 2 MiB.
        let (name, option) = match fs {
            Fs::Ext4 => {
                let stride = ["-q", "-t", "ext4", "-b", "4096", "-E", "stride=512", DEVICE];
                run("mke2fs", &stride);
                ("ext4", "dax")
            }
            Fs::Xfs => {
                run("mkfs.xfs", &["-q", "-f", "-d", "su=2m,sw=1", DEVICE]);
                ("xfs", "dax=always")
            }
        };
        run("mount", &["-t", name, "-o", option, DEVICE, MOUNTED]);
        let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
        let ours = mounts.lines().find(|line| line.contains(MOUNTED));
        assert!(
            ours.is_some_and(|line| line.contains(option)),
            "mounted: {ours:?}"
        );
    });
    MOUNTED
}

/// The device, which is mapped by leaves of `align` bytes.
fn device(align: usize) -> &'static File {
    static DEVICE: OnceLock<File> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let align = align.to_string();
        let make = [
            "create-namespace",
            "-f",
            "-e",
            "namespace1.0",
            "-m",
            "devdax",
            "-a",
        ];
        run("ndctl", &[&make[..], &[&align]].concat());
        let found = fs::read_to_string("/sys/bus/dax/devices/dax1.0/align").expect("the device");
        assert_eq!(found.trim(), align, "what it is mapped by");
        File::options()
            .read(true)
            .write(true)
            .open("/dev/dax1.0")
            .expect("the device opens")
    })
}

/// The frames of persistent memory, by /proc/iomem.
fn pmem() -> Vec<Range<u64>> {
    let text = fs::read_to_string("/proc/iomem").expect("/proc/iomem");
    let frame = |addr: &str| u64::from_str_radix(addr, 16).expect("an address") / PAGE as u64;
    text.lines()
        .filter_map(|line| line.trim().split_once(" : "))
        .filter(|(_, name)| name.starts_with("Persistent Memory"))
        .filter_map(|(range, _)| range.split_once('-'))
        .map(|(start, end)| frame(start)..frame(end) + 1)
        .collect()
}
