// SPDX-License-Identifier: GPL-2.0

//! Races against truncation of a file, holes punched into it, and file systems that write it to a disk.

use std::{
    fs::File,
    os::fd::AsRawFd,
    ptr::with_exposed_provenance_mut, //
};

use rand::Rng;
use rust_gup_memory::{
    file::memfd,
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::{
    raw,
    Access,
    How, //
};
use rustix::{
    fs::{
        fadvise,
        fcntl_add_seals,
        Advice,
        MemfdFlags,
        SealFlags, //
    },
    io::Errno, //
};

use super::{
    arena::{
        Arena,
        Grip, //
    },
    frame::Race,
    races, //
};
use crate::harness::{
    disks,
    fixture::{
        check,
        open,
        pin,
        punch,
        writable,
        HOWS, //
    },
    memory::{
        Map,
        RW, //
    },
    pmem::{
        self,
        Fs, //
    },
    runner::skip, //
};

races![
    file_references_are_noticed,
    disk_references_are_noticed,
    against_truncation,
    against_holes,
    against_holes_in_large_folios,
    against_ext4,
    against_xfs,
    against_dax_on_ext4,
    against_dax_on_xfs,
];

fn len_bytes() -> usize {
    2 * pmd_bytes()
}

/// Returns a file without a name, of `len` bytes, without any pages yet.
pub(super) fn file(len: usize, flags: MemfdFlags) -> File {
    memfd(flags | MemfdFlags::ALLOW_SEALING, len).expect("memfd_create")
}

/// Returns a mapping of a file.
fn arena(file: &File) -> Arena {
    let arena =
        Arena::of(len_bytes(), pmd_bytes(), libc::MAP_SHARED, file.as_raw_fd()).may_be_absent();
    arena.stamp(0, len_bytes());
    arena
}

/// Seals the file against writing. Returns false if its pages have references other than the file's own, because the
/// kernel then refuses the seal.
fn seal(file: &File) -> bool {
    match fcntl_add_seals(file, SealFlags::WRITE) {
        Ok(()) => true,
        Err(Errno::BUSY) => false,
        Err(e) => panic!("F_ADD_SEALS: {e}"),
    }
}

fn no_reference_left(arena: Arena, file: &File) {
    drop(arena);
    assert!(seal(file), "pages of the file keep references");
}

fn make_hole(arena: &Arena, file: &File, piece: (usize, usize)) {
    arena.replace(piece, || punch(file, piece));
    arena.stamp(piece.0, piece.1);
}

/// Truncates the file, and restores its length.
fn cut_off(arena: &Arena, file: &File, at: usize) {
    arena.replace((at, len_bytes() - at), || {
        file.set_len(at as u64).expect("ftruncate");
        file.set_len(len_bytes() as u64).expect("ftruncate");
    });
    let end = (at + 64 * page_bytes()).min(len_bytes());
    arena.stamp(at, end - at);
}

fn file_references_are_noticed() {
    for how in HOWS {
        let file = file(len_bytes(), MemfdFlags::empty());
        let device = open();
        let arena = arena(&file);
        let pages = pin(&device, &writable(arena.map.addr, page_bytes()).how(how));
        drop(arena);
        assert!(!seal(&file), "{how:?}: a held page was not noticed");
        drop(pages);
        assert!(seal(&file), "{how:?}: a page keeps a reference");
    }
}

fn against_truncation() {
    let file = file(len_bytes(), MemfdFlags::empty());
    let arena = arena(&file);
    Race::new(&arena, 100).taking_away().run(|turn| {
        cut_off(&arena, &file, turn.piece().0);
    });
    no_reference_left(arena, &file);
}

fn against_holes() {
    let file = file(len_bytes(), MemfdFlags::empty());
    let arena = arena(&file);
    Race::new(&arena, 200).taking_away().run(|turn| {
        make_hole(&arena, &file, turn.piece());
    });
    no_reference_left(arena, &file);
}

/// The kernel splits a folio that lies partly in the hole. If the folio is held, it zeroes the pages in the hole
/// instead.
fn against_holes_in_large_folios() {
    let Ok(_setting) = Setting::set(
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always",
    ) else {
        skip("no huge pages on tmpfs: CONFIG_TRANSPARENT_HUGEPAGE");
    };
    let file = file(len_bytes(), MemfdFlags::empty());
    let arena = arena(&file).may_be_zeroed();
    let race = Race::new(&arena, 50).taking_away();
    race.evidence("thp_file_alloc").run(|turn| {
        let piece = match turn.round % 3 {
            // All of a folio, so that there will be a new one.
            0 => (pmd_bytes() * turn.random.random_range(0..2), pmd_bytes()),
            _ => turn.piece(),
        };
        make_hole(&arena, &file, piece);
    });
    no_reference_left(arena, &file);
}

fn against_ext4() {
    against_writing_back("ext4");
}

fn against_xfs() {
    against_writing_back("xfs");
}

/// The file system must know about writes to a page, so it makes the entry read-only when it writes the page to the
/// disk. If the file is cut off within a folio that is held, the kernel zeroes the rest of the folio.
fn against_writing_back(fs: &str) {
    let file = file_on(fs);
    let arena = arena(&file).may_be_zeroed();
    let race = Race::new(&arena, 90).taking_away();
    let race = race.stopping(raw::RUST_GUP_STOP_READ_ONLY);
    // The file system has to know about each write: writable_file_mapping_allowed().
    let race = race.refusing(How::LongTerm, Access::Write, libc::EFAULT);
    race.run(|turn| {
        let piece = turn.piece();
        match turn.round % 3 {
            0 => write_back(&file, piece),
            1 => make_hole(&arena, &file, piece),
            _ => cut_off(&arena, &file, piece.0),
        }
    });
    drop(arena);
    assert_eq!(nr_kept(&file), 0, "pages of the file that keep references");
}

fn against_dax_on_ext4() {
    against_dax(Fs::Ext4);
}

fn against_dax_on_xfs() {
    against_dax(Fs::Xfs);
}

/// A folio is taken apart when its part of the file goes (`dax_folio_put()`), and a new one is made of the same memory.
/// The file system waits until no page of the file is held or mapped again (`dax_break_layout()`). So the mapping
/// denies access meanwhile.
fn against_dax(fs: Fs) {
    if !pmem::is_there() {
        skip("no persistent memory: see selftests/vm/profiles");
    }
    let file = pmem::file(fs, len_bytes());
    let arena = arena(&file).with_grip(Grip::Brief);
    let race = Race::new(&arena, 30).evidence_of("pages were taken away", || arena.nr_taken_away());
    let refusal = libc::EOPNOTSUPP;
    let race = race.refusing(How::LongTerm, Access::Read, refusal);
    let race = race.refusing(How::LongTerm, Access::Write, refusal);
    race.run(|turn| {
        arena.map.protect(0, len_bytes(), libc::PROT_NONE);
        let (at, len) = match turn.round % 3 {
            // All memory of the file becomes free at once, and comes back in huge pages.
            0 => (0, len_bytes()),
            1 => turn.piece(),
            _ => {
                let at = turn.piece().0;
                (at, len_bytes() - at)
            }
        };
        arena.replace((at, len), || {
            if turn.round % 3 == 1 {
                punch(&file, (at, len));
            } else {
                file.set_len(at as u64).expect("ftruncate");
                file.set_len(len_bytes() as u64).expect("ftruncate");
            }
            arena.map.protect(0, len_bytes(), RW);
        });
        arena.stamp(at, len);
    });
    drop(arena);
    // If a page were held, this call would not return.
    file.set_len(0).expect("ftruncate");
}

fn disk_references_are_noticed() {
    for fs in ["ext4", "xfs"] {
        let file = file_on(fs);
        let device = open();
        let arena = arena(&file);
        let pages = pin(
            &device,
            &writable(arena.map.addr + page_bytes(), page_bytes()).how(How::Pin),
        );
        drop(arena);
        assert_ne!(nr_kept(&file), 0, "{fs}: a held page was not noticed");
        drop(pages);
        assert_eq!(nr_kept(&file), 0, "{fs}: pages keep references");
    }
}

fn file_on(fs: &str) -> File {
    let file = disks::unnamed_on(fs);
    file.set_len(len_bytes() as u64).expect("ftruncate");
    file
}

fn write_back(file: &File, (at, len): (usize, usize)) {
    let flags = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: The call takes no pointers.
    check(unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, len as i64, flags) })
        .expect("sync_file_range");
}

/// Counts the pages of an unmapped file that stay in the page cache after it is written to the disk and dropped. Those
/// are the pages that somebody holds.
fn nr_kept(file: &File) -> usize {
    file.sync_all().expect("fsync");
    fadvise(file, 0, None, Advice::DontNeed).expect("posix_fadvise");
    let place = file.as_raw_fd();
    let map = Map::new(0, len_bytes(), libc::PROT_READ, libc::MAP_SHARED, place).expect("mmap");
    let mut pages = vec![0_u8; len_bytes() / page_bytes()];
    // SAFETY: The buffer has a byte for each page of the range.
    check(unsafe {
        libc::mincore(
            with_exposed_provenance_mut(map.addr),
            len_bytes(),
            pages.as_mut_ptr(),
        )
    })
    .expect("mincore");
    pages.iter().filter(|page| **page & 1 != 0).count()
}
