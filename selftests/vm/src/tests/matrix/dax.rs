// SPDX-License-Identifier: GPL-2.0

//! Persistent memory: files on file systems that map the device's own pages (fsdax), and the device itself
//! (device-dax), under leaves of each level.
//!
//! The machine needs two pieces of persistent memory: /dev/pmem0 for file systems, and namespace1.0 for ndctl to make a
//! device of.

use std::{
    fs::File,
    os::fd::AsRawFd,
    sync::OnceLock, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes,
    pud_bytes, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_STOP_FILE_LONGTERM as FILE_LONGTERM,
        RUST_GUP_STOP_LONGTERM as LONGTERM,
        RUST_GUP_STOP_READ_ONLY as READ_ONLY, //
    },
    How, //
};

use super::{
    situation::{
        fill,
        touch, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::harness::{
    memory::{
        Map,
        RW, //
    },
    pmem::{
        self,
        by_pmd,
        file,
        mapped,
        new_device,
        Fs,
        LOG, //
    },
    proof::faults, //
};

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
    Situation::new("devdax_4k", || devdax(page_bytes())).logs(LOG),
    Situation::new("devdax_2m", || devdax(pmd_bytes())).logs(LOG),
    Situation::new("devdax_1g", || devdax(pud_bytes())).logs(LOG),
];

/// Returns no situations on a machine without such memory.
pub(super) fn situations() -> &'static [Situation] {
    if pmem::is_there() {
        SITUATIONS
    } else {
        &[]
    }
}

/// The expectations for the device's own pages, by level of the leaf.
const BASE_PAGES: Page = Page::fast(0);
const HUGE_LEAF: Page = Page::fast(1);
const GIANT_LEAF: Page = Page::fast(2);

/// How the file is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Pte,
    Pmd,
    /// Base pages of a large folio, which a second mapping maps by a leaf of 2 MiB.
    PmdByPte,
    /// A leaf of 2 MiB, mapped with `MAP_SYNC`.
    SyncPmd,
}

fn fsdax(fs: Fs, leaf: Leaf) -> Scene {
    let (flags, flag) = match leaf {
        Leaf::SyncPmd => (libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC, "sf"),
        _ => (libc::MAP_SHARED, "sh"),
    };
    let (map, page) = match leaf {
        // The address is a multiple of 2 MiB and the offset is not, so only base pages fit.
        Leaf::Pte => {
            let file = file(fs, 2 * pmd_bytes());
            let map = mapped(&file, pmd_bytes(), flags, page_bytes());
            assert_eq!(
                faults(&map, page_bytes()),
                map.nr_pages() as u64,
                "base pages"
            );
            (map, BASE_PAGES)
        }
        Leaf::Pmd | Leaf::SyncPmd => (by_pmd(fs, flags).1, HUGE_LEAF),
        Leaf::PmdByPte => {
            let (file, _) = by_pmd(fs, flags);
            let map = mapped(&file, pmd_bytes(), flags, page_bytes());
            assert_eq!(
                faults(&map, page_bytes()),
                map.nr_pages() as u64,
                "base pages"
            );
            (map, BASE_PAGES)
        }
    };
    let words = fill(&map);
    map.prove_frames(&pmem::frames());
    map.prove_vm_flag(flag);
    Scene::new(map, words, move |way, _| {
        if way.how == How::LongTerm {
            refused_for_long(LONGTERM)
        } else {
            page
        }
    })
}

/// The kernel refuses long-term pins of fsdax, `mm/gup.c:1213`.
fn refused_for_long(stop: u32) -> Page {
    Page::refused(stop, libc::EOPNOTSUPP)
}

/// A private mapping of a file that was only read: the device's own pages, read-only until they are copied.
fn fsdax_private() -> Scene {
    let file = file(Fs::Ext4, 2 * pmd_bytes());
    let words = fill(&mapped(&file, pmd_bytes(), libc::MAP_SHARED, page_bytes()));
    let map = mapped(&file, pmd_bytes(), libc::MAP_PRIVATE, page_bytes());
    assert_eq!(touch(&map), words);
    map.prove_frames(&pmem::frames());
    Scene::new(map, words, |way, _| match (way.how, way.is_write()) {
        (How::LongTerm, false) => refused_for_long(LONGTERM),
        (How::LongTerm, true) => refused_for_long(READ_ONLY),
        (_, false) => BASE_PAGES,
        (_, true) => Page::readied(READ_ONLY, 0),
    })
}

/// Returns the device, made once for each test.
fn device(align: usize) -> &'static File {
    static DEVICE: OnceLock<File> = OnceLock::new();
    DEVICE.get_or_init(|| new_device(align))
}

/// The device as one piece of memory, under leaves of `align` bytes.
fn devdax(align: usize) -> Scene {
    let device = device(align);
    let len_bytes = align.max(4 * pmd_bytes());
    let flags = libc::MAP_SHARED;
    let map = Map::guarded(
        len_bytes,
        align.max(pmd_bytes()),
        RW,
        flags,
        (device.as_raw_fd(), 0),
    );
    let map = map.expect("the device is mapped");
    let step = (align * page_bytes() / pmd_bytes()).max(page_bytes());
    let nr_leaves = (len_bytes / align) as u64;
    assert_eq!(faults(&map, step), nr_leaves, "leaves of {align:#x} bytes");
    // Reading /proc/self/pagemap would remove a leaf of the largest size, `mm/pagewalk.c:233`.
    if align < pud_bytes() {
        map.prove_frames(&pmem::frames());
    }
    let part = map.part(pmd_bytes(), 2 * pmd_bytes());
    let words = fill(&part);
    let page = if align == page_bytes() {
        BASE_PAGES
    } else if align == pmd_bytes() {
        HUGE_LEAF
    } else {
        GIANT_LEAF
    };
    let scene = Scene::new(part, words, move |way, _| {
        if way.how == How::LongTerm && way.is_write() {
            // The kernel's fast walk treats the device as a file, too.
            Page::slow(FILE_LONGTERM)
        } else {
            page
        }
    });
    let scene = scene.unguarded().keep(map);
    if align < pud_bytes() {
        scene
    } else {
        scene.invisible()
    }
}
