// SPDX-License-Identifier: GPL-2.0

//! Races against who truncates a file, or punches holes into it.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

use super::arena::Arena;
use super::frame::Race;
use super::races;
use crate::fixture::{check, HUGE, PAGE};
use crate::memory::Setting;
use crate::runner::skip;

races![
    file_references_are_noticed,
    against_truncation,
    against_holes,
    against_holes_in_large_folios,
];

const LEN: usize = 2 * HUGE;

/// A file without a name, of `len` bytes that are not there yet.
pub(super) fn file(len: usize, flags: libc::c_uint) -> File {
    let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: The name ends in a zero byte.
    let fd = check(unsafe { libc::memfd_create(c"arena".as_ptr(), flags) }).expect("memfd_create");
    // SAFETY: It was opened just now and belongs to nobody else.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len as u64).expect("ftruncate");
    file
}

/// A file that is mapped.
fn arena(file: &File) -> Arena {
    let arena = Arena::of(LEN, HUGE, libc::MAP_SHARED, file.as_raw_fd()).may_be_absent();
    arena.stamp(0, LEN);
    arena
}

/// Whether nobody but the file has a reference to its pages: it cannot be sealed against writing otherwise.
fn seal(file: &File) -> bool {
    // SAFETY: Takes no pointers.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) };
    match check(sealed) {
        Ok(_) => true,
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => false,
        Err(e) => panic!("F_ADD_SEALS: {e}"),
    }
}

fn no_reference_left(arena: Arena, file: &File) {
    drop(arena);
    assert!(seal(file), "pages of the file keep references");
}

pub(super) fn punch(file: &File, (at, len): (usize, usize)) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: Takes no pointers.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, at as i64, len as i64) })
        .expect("fallocate");
}

fn file_references_are_noticed() {
    use crate::fixture::{open, pin, writable, HOWS};
    for how in HOWS {
        let file = file(LEN, 0);
        let device = open();
        let arena = arena(&file);
        let pages = pin(&device, &writable(arena.map.addr, PAGE).how(how));
        drop(arena);
        assert!(!seal(&file), "{how:?}: a held page was not noticed");
        drop(pages);
        assert!(seal(&file), "{how:?}: a page keeps a reference");
    }
}

fn against_truncation() {
    let file = file(LEN, 0);
    let arena = arena(&file);
    Race::new(&arena, 100).taking_away().run(|turn| {
        let (at, _) = turn.piece();
        arena.replace((at, LEN - at), || {
            file.set_len(at as u64).expect("ftruncate");
            file.set_len(LEN as u64).expect("ftruncate");
        });
        let end = (at + 64 * PAGE).min(LEN);
        arena.stamp(at, end - at);
    });
    no_reference_left(arena, &file);
}

fn against_holes() {
    let file = file(LEN, 0);
    let arena = arena(&file);
    Race::new(&arena, 200).taking_away().run(|turn| {
        let piece = turn.piece();
        arena.replace(piece, || punch(&file, piece));
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(arena, &file);
}

/// A folio that lies partly in the hole is split, unless somebody holds it; its pages become zero then.
fn against_holes_in_large_folios() {
    let Some(_setting) = Setting::set(
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always",
    ) else {
        skip("no huge pages on tmpfs: CONFIG_TRANSPARENT_HUGEPAGE");
    };
    let file = file(LEN, 0);
    let arena = arena(&file).may_be_zeroed();
    let race = Race::new(&arena, 50).taking_away();
    race.evidence("thp_file_alloc").run(|turn| {
        let piece = match turn.round % 3 {
            // All of a folio, and a new one.
            0 => (HUGE * turn.random.below(2), HUGE),
            _ => turn.piece(),
        };
        arena.replace(piece, || punch(&file, piece));
        arena.stamp(piece.0, piece.1);
    });
    no_reference_left(arena, &file);
}
