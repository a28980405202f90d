// SPDX-License-Identifier: GPL-2.0

//! Memory of files.

use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    path::Path, //
};

use libc::c_int;
use rust_gup_memory::{
    file::memfd,
    proc::PAGEMAP_PRESENT,
    size::{
        page_bytes,
        pmd_bytes, //
    }, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_STOP_ABSENT as ABSENT,
        RUST_GUP_STOP_FILE_LONGTERM as FILE_LONGTERM,
        RUST_GUP_STOP_READ_ONLY as READ_ONLY,
        RUST_GUP_STOP_SECRET as SECRET,
        RUST_GUP_STOP_UNSHARE as UNSHARE, //
    },
    How, //
};
use rustix::fs::MemfdFlags;

use super::{
    anon,
    situation::{
        fill,
        touch,
        words,
        Way, //
    },
    Page,
    Parity,
    Scene,
    Situation, //
};
use crate::harness::{
    disks,
    fixture::check,
    memory::{
        has_secret_memory,
        Map,
        RW, //
    },
    proof::{
        kpf,
        pm,
        settle_lists, //
    },
    runner::skip, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("ramfs", ramfs),
    Situation::new("tmpfs", || shared_dirty(Fs::Tmpfs)),
    Situation::new("tmpfs_read_only", || read_only(Fs::Tmpfs, Folios::Small)),
    Situation::new("tmpfs_huge", tmpfs_huge),
    Situation::new("tmpfs_huge_pte", tmpfs_huge_pte),
    Situation::new("tmpfs_private", || private(Fs::Tmpfs, Folios::Small)),
    Situation::new("tmpfs_private_cow", || {
        private_cow(Fs::Tmpfs, Folios::Small)
    }),
    Situation::new("tmpfs_truncated", truncated),
    Situation::new("memfd", || shared_dirty(Fs::Memfd)),
    Situation::new("memfd_private", || private(Fs::Memfd, Folios::Small)),
    Situation::new("dev_zero_shared", dev_zero_shared),
    Situation::new("shm_locked", shm_locked),
    Situation::new("ext4_dirty", || shared_dirty(Fs::Ext4)),
    Situation::new("ext4_dirty_large", || dirty_large(Fs::Ext4)),
    Situation::new("ext4_clean", || shared_clean(Fs::Ext4, Folios::Small)),
    Situation::new("ext4_clean_large", || shared_clean(Fs::Ext4, Folios::Large)),
    Situation::new("ext4_read_only_large", || {
        read_only(Fs::Ext4, Folios::Large)
    }),
    Situation::new("ext4_private", || private(Fs::Ext4, Folios::Small)),
    Situation::new("ext4_private_cow", || private_cow(Fs::Ext4, Folios::Large)),
    Situation::new("xfs_dirty", || shared_dirty(Fs::Xfs)),
    Situation::new("xfs_dirty_large", || dirty_large(Fs::Xfs)),
    Situation::new("xfs_clean", || shared_clean(Fs::Xfs, Folios::Small)),
    Situation::new("xfs_clean_large", || shared_clean(Fs::Xfs, Folios::Large)),
    Situation::new("xfs_read_only", || read_only(Fs::Xfs, Folios::Small)),
    Situation::new("xfs_private_large", || private(Fs::Xfs, Folios::Large)),
    Situation::new("xfs_private_cow", || private_cow(Fs::Xfs, Folios::Small)),
];

const NR_PAGES: usize = 16;
fn len_bytes() -> usize {
    NR_PAGES * page_bytes()
}

/// The file system of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fs {
    Memfd,
    Tmpfs,
    Ext4,
    Xfs,
}

/// The size of a file's folios.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folios {
    /// One page per folio.
    Small,
    /// Several pages per folio.
    Large,
}

impl Fs {
    /// Whether the file system must be told before a clean page is written.
    fn tracks_dirty(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs)
    }

    /// Returns an empty file without a name.
    fn file(self) -> File {
        match self {
            Self::Memfd => memfd(MemfdFlags::empty(), 0).expect("memfd_create"),
            Self::Tmpfs => disks::unnamed(&disks::mount("tmpfs", "tmpfs", "huge=never")),
            Self::Ext4 => disks::unnamed_on("ext4"),
            Self::Xfs => disks::unnamed_on("xfs"),
        }
    }

    /// Returns a file of known contents in folios of that size, all of them clean if that matters.
    fn filled(self, folios: Folios) -> (File, Vec<u64>) {
        // On a slow machine the flusher would write pages back, and write-protect them, during a comparison. No other
        // test needs the flusher.
        fs::write("/proc/sys/vm/dirty_writeback_centisecs", "0").expect("no flusher");
        let file = self.file();
        let words = words(1, NR_PAGES);
        let mut bytes = vec![0; len_bytes()];
        for (page, word) in bytes.chunks_exact_mut(page_bytes()).zip(&words) {
            page[..8].copy_from_slice(&word.to_ne_bytes());
        }
        // Data written in one piece goes into one folio, if the file system supports large folios.
        let piece = if folios == Folios::Small {
            page_bytes()
        } else {
            len_bytes()
        };
        for (i, piece) in bytes.chunks(piece).enumerate() {
            file.write_all_at(piece, (i * page_bytes()) as u64)
                .expect("a file");
        }
        file.sync_all().expect("fsync");
        (file, words)
    }
}

impl Folios {
    #[track_caller]
    fn prove(self, map: &Map) {
        match self {
            Self::Small => map.prove_folios(1),
            Self::Large => map.prove_folios(NR_PAGES),
        }
        map.prove_kind(kpf::ANON, 0);
    }
}

pub(super) fn map_file(file: &File, len: usize, prot: c_int, flags: c_int) -> Map {
    Map::guarded(len, page_bytes(), prot, flags, (file.as_raw_fd(), 0)).expect("mmap")
}

/// A shared mapping that was written to. Its entries are writable.
fn shared_dirty(fs: Fs) -> Scene {
    let file = fs.file();
    file.set_len(len_bytes() as u64).expect("its length");
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    let words = fill(&map);
    Folios::Small.prove(&map);
    map.prove_state(PAGEMAP_PRESENT | pm::FILE, PAGEMAP_PRESENT | pm::FILE);
    Scene::new(map, words, move |way, _| writable(fs, way))
}

/// Returns the expectations for a page of a shared file mapping with writable entries.
fn writable(fs: Fs, way: Way) -> Page {
    if fs.tracks_dirty() && way.how == How::LongTerm && way.is_write() {
        Page::refused(FILE_LONGTERM, libc::EFAULT)
    } else {
        Page::fast(0)
    }
}

/// The same with folios of more than one page.
fn dirty_large(fs: Fs) -> Scene {
    let (file, _) = fs.filled(Folios::Large);
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    let words = fill(&map);
    Folios::Large.prove(&map);
    map.prove_kind(kpf::DIRTY, kpf::DIRTY);
    Scene::new(map, words, move |way, _| writable(fs, way))
}

/// Returns the expectations for a page of a shared file mapping with read-only entries, of which no copy is made.
fn shared_read_only(way: Way) -> Page {
    if way.how == How::LongTerm {
        // Without the VMA the fast walk cannot tell it from a private mapping.
        Page::slow(UNSHARE)
    } else {
        Page::fast(0)
    }
}

/// A shared mapping of a clean file that was only read so far.
fn shared_clean(fs: Fs, folios: Folios) -> Scene {
    let (file, words) = fs.filled(folios);
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    assert_eq!(touch(&map), words);
    folios.prove(&map);
    Scene::new(map, words, move |way, _| match (way.is_write(), way.how) {
        (true, How::LongTerm) => Page::refused(READ_ONLY, libc::EFAULT),
        (true, _) => Page::readied(READ_ONLY, 0),
        (false, _) => shared_read_only(way),
    })
}

/// A shared read-only mapping.
fn read_only(fs: Fs, folios: Folios) -> Scene {
    let (file, words) = fs.filled(folios);
    let map = map_file(&file, len_bytes(), libc::PROT_READ, libc::MAP_SHARED);
    assert_eq!(touch(&map), words);
    folios.prove(&map);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            shared_read_only(way)
        }
    })
}

/// A private mapping that was only read so far. It maps the file's own pages.
fn private(fs: Fs, folios: Folios) -> Scene {
    let (file, words) = fs.filled(folios);
    let map = map_file(&file, len_bytes(), RW, libc::MAP_PRIVATE);
    assert_eq!(touch(&map), words);
    folios.prove(&map);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::readied(READ_ONLY, 0)
        } else if way.how == How::LongTerm {
            Page::readied(UNSHARE, 0)
        } else {
            Page::fast(0)
        }
    })
}

/// A private mapping that was written to. It maps copies.
fn private_cow(fs: Fs, folios: Folios) -> Scene {
    let (file, _) = fs.filled(folios);
    let map = map_file(&file, len_bytes(), RW, libc::MAP_PRIVATE);
    touch(&map);
    folios.prove(&map);
    let words = fill(&map);
    anon::prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0))
}

/// A file that was truncated to half its length.
fn truncated() -> Scene {
    const LEFT: usize = NR_PAGES / 2;
    let (file, words) = Fs::Tmpfs.filled(Folios::Small);
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    assert_eq!(touch(&map), words);
    file.set_len((LEFT * page_bytes()) as u64)
        .expect("its new length");
    let lost = map.part(LEFT * page_bytes(), len_bytes() - LEFT * page_bytes());
    lost.prove_state(PAGEMAP_PRESENT, 0);
    Scene::new(map, words, |_, page| {
        if page < LEFT {
            Page::fast(0)
        } else {
            Page::refused(ABSENT, libc::EFAULT)
        }
    })
}

/// Returns huge pages of a file on a tmpfs under one entry each, and their words.
fn huge_map(nr_huge: usize) -> (File, Map, Vec<u64>) {
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        skip("no transparent huge pages: CONFIG_TRANSPARENT_HUGEPAGE, a processor with leaves of 2 MiB");
    }
    let file = disks::unnamed(&disks::mount("tmpfs", "tmpfs", "huge=always"));
    file.set_len((nr_huge * pmd_bytes()) as u64)
        .expect("its length");
    let at = (file.as_raw_fd(), 0);
    let map =
        Map::guarded(nr_huge * pmd_bytes(), pmd_bytes(), RW, libc::MAP_SHARED, at).expect("mmap");
    let words = fill(&map);
    map.prove_smaps("ShmemPmdMapped", map.len_bytes);
    map.prove_folios(pmd_bytes() / page_bytes());
    (file, map, words)
}

fn tmpfs_huge() -> Scene {
    let (_, map, words) = huge_map(2);
    Scene::new(map, words, |_, _| Page::fast(1))
}

/// The same huge page in a second mapping, at an address where no huge entry fits.
fn tmpfs_huge_pte() -> Scene {
    let (file, _, words) = huge_map(1);
    let at = (file.as_raw_fd(), 0);
    let map = Map::guarded_at(
        pmd_bytes(),
        (pmd_bytes(), page_bytes()),
        RW,
        libc::MAP_SHARED,
        at,
    )
    .expect("mmap");
    assert_eq!(touch(&map), words);
    map.prove_smaps("ShmemPmdMapped", 0);
    map.prove_folios(pmd_bytes() / page_bytes());
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn dev_zero_shared() -> Scene {
    let options = OpenOptions::new().read(true).write(true).open("/dev/zero");
    let file = options.expect("/dev/zero");
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    let words = fill(&map);
    Folios::Small.prove(&map);
    Scene::new(map, words, |_, _| Page::fast(0))
}

/// Shared memory of System V that is locked: unevictable like secret memory, but on a tmpfs.
fn shm_locked() -> Scene {
    // SAFETY: The call takes no pointers.
    let id = check(unsafe { libc::shmget(libc::IPC_PRIVATE, len_bytes(), 0o600) });
    let Ok(id) = id else {
        skip("no shared memory of System V: CONFIG_SYSVIPC");
    };
    // SHMLBA, to which the address must be aligned, is four pages on 32-bit Arm.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let map = Map::guarded(len_bytes(), 4 * page_bytes(), RW, flags, (-1, 0)).expect("mmap");
    let place = std::ptr::with_exposed_provenance(map.addr);
    // SAFETY: The call replaces memory of our own that is not in use.
    let at = unsafe { libc::shmat(id, place, libc::SHM_REMAP) };
    assert_eq!(at.addr(), map.addr, "shmat");
    for command in [libc::SHM_LOCK, libc::IPC_RMID] {
        // SAFETY: These commands take no structure. The attached memory stays until it is detached.
        check(unsafe { libc::shmctl(id, command, std::ptr::null_mut()) }).expect("shmctl");
    }
    let words = fill(&map);
    settle_lists();
    map.prove_kind(kpf::UNEVICTABLE | kpf::ANON, kpf::UNEVICTABLE);
    Scene::new(map, words, |_, _| Page::fast(0))
}

fn ramfs() -> Scene {
    let file = disks::unnamed(&disks::mount("ramfs", "ramfs", ""));
    file.set_len(len_bytes() as u64).expect("its length");
    let map = map_file(&file, len_bytes(), RW, libc::MAP_SHARED);
    let words = fill(&map);
    Folios::Small.prove(&map);
    let may_be_secret = has_secret_memory();
    Scene::new(map, words, move |way, _| {
        match (way.how == How::LongTerm && way.is_write(), may_be_secret) {
            (true, true) => Page::refused(SECRET, libc::EFAULT),
            (true, false) => Page::refused(FILE_LONGTERM, libc::EFAULT),
            (false, true) => Page::stricter(SECRET, Parity::Unevictable),
            (false, false) => Page::fast(0),
        }
    })
}
