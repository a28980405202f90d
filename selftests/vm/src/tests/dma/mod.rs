// SPDX-License-Identifier: GPL-2.0

//! Verify that, for a device that reads and writes memory which the walk has pinned (`samples/edu_dma`),
//!
//! - each byte arrives, both ways, in all kinds of memory, and no other byte changes;
//! - this holds while the owner forks and writes, forbids access, unmaps, or is killed, and while the kernel tries to
//!   move or swap the pages, with the device at work;
//! - memory that may not be pinned for long is moved first, or refused, as the kernel's own functions do;
//! - the driver can be removed and come back in the middle of a transfer, and rust_gup stays as long as it is needed;
//! - an interrupt that comes late or without a reason ends no transfer, and a device that does not end reaches no
//!   memory that was given back;
//! - a process cannot register more than it may lock, and without CAP_SYS_ADMIN cannot learn how memory lies
//!   physically;
//! - with an IOMMU, the device reaches only memory that is mapped for it.
//!
//! The tests run on machines with QEMU's edu device, and edu_dma.ko loaded. A test fails for each DMA fault in the
//! kernel's log.

mod at_work;
mod gone;
mod integrity;
mod late;
mod machine;
mod refused;

use std::{
    io,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::page_bytes,
    Kind, //
};
use rust_gup_uapi::edu::{
    Buffer,
    Edu,
    Method,
    Use, //
};

use crate::harness::{
    fixture::{
        scaled,
        stats, //
    },
    memory::Map,
    runner::Test, //
};

/// The kernel logs one of these when the IOMMU stops the device.
const FAULTS: &[&str] = &["DMAR:", "arm-smmu-v3"];
/// Long enough for a transfer to have begun, and too short for it to end.
const IN_FLIGHT: Duration = Duration::from_millis(60);

pub(crate) fn tests() -> Vec<Test> {
    // A machine without the device has no such tests. A machine meant for them selects them by name, and fails if there
    // are none.
    if machine::pci_device().is_none() {
        return Vec::new();
    }
    let kinds = [
        Kind::Anon4k,
        Kind::Thp2m,
        Kind::Thp2mSplit,
        Kind::Mthp64k,
        Kind::Hugetlb2m,
        Kind::Tmpfs,
        Kind::TmpfsHuge,
        Kind::Memfd,
        Kind::AnonForked,
        Kind::FilePrivateCow,
    ];
    let mut tests: Vec<Test> = kinds
        .map(|kind| {
            let name = format!("integrity::{kind}");
            Test::new(module_path!(), &name, move || integrity::integrity(kind))
        })
        .into();
    let more: [(&str, fn()); 22] = [
        ("movable_memory", integrity::movable_memory),
        ("every_method", integrity::every_method),
        ("bounds", refused::bounds),
        ("read_only_buffer", refused::read_only_buffer),
        ("shared_file_refused", refused::shared_file_refused),
        (
            "unregister_while_at_work",
            at_work::unregister_while_at_work,
        ),
        ("fork_and_write", at_work::fork_and_write),
        ("fork_and_child_writes", at_work::fork_and_child_writes),
        ("mprotect", at_work::mprotect),
        ("munmap", at_work::munmap),
        ("migration_and_swap", at_work::migration_and_swap),
        ("killed", at_work::killed),
        (
            "closed_without_unregister",
            at_work::closed_without_unregister,
        ),
        ("unbind_while_at_work", gone::unbind_while_at_work),
        ("remove_while_at_work", gone::remove_while_at_work),
        ("modules_stay", gone::modules_stay),
        (
            "written_while_registered",
            integrity::written_while_registered,
        ),
        ("limit_of_locked_memory", refused::limit_of_locked_memory),
        ("layout_is_hidden", refused::layout_is_hidden),
        (
            "handle_that_cannot_be_told",
            refused::handle_that_cannot_be_told,
        ),
        ("late_interrupt", late::late_interrupt),
        ("interrupt_for_nothing", late::interrupt_for_nothing),
    ];
    tests.extend(more.map(|(name, run)| Test::new(module_path!(), name, run)));
    let not_ending: [(&str, fn()); 2] = [
        ("no_end", late::no_end),
        ("rebound_at_work", late::rebound_at_work),
    ];
    tests.extend(
        not_ending.map(|(name, run)| Test::new(module_path!(), name, run).expect_log(late::NO_END)),
    );
    tests.push(
        Test::new(
            module_path!(),
            "what_is_not_mapped",
            gone::what_is_not_mapped,
        )
        .expect_log(FAULTS),
    );
    tests
}

fn edu() -> Edu {
    Edu::open().expect("the device opens")
}

#[track_caller]
fn register<'e>(edu: &'e Edu, map: &Map, offset: usize, len: usize) -> Buffer<'e> {
    edu.register(map.addr + offset, len, Use::ReadWrite, Method::Runs)
        .expect("REGISTER")
}

/// Copies from the device. The tests access the memory only by `Map`, which lends no references.
fn from_device(buffer: &Buffer<'_>, offset: usize, len: usize, at: u32) -> io::Result<u64> {
    // SAFETY: As above.
    unsafe { buffer.copy_from_device(offset, len, at) }
}

/// Writes `data` to the device's memory.
fn preset(edu: &Edu, data: &[u8]) {
    let map = Map::anon(data.len().div_ceil(page_bytes()));
    map.store(0, data);
    let buffer = edu.register(map.addr, data.len(), Use::Read, Method::Runs);
    buffer
        .expect("REGISTER")
        .copy_to_device(0, data.len(), 0)
        .expect("TRANSFER");
}

/// Fails unless `map` begins with `expected`. Reports the first byte that differs.
#[track_caller]
fn is(map: &Map, expected: &[u8]) {
    let found = map.load(0, expected.len());
    if let Some(at) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!("{:#x} at {at:#x}, expected {:#x}", found[at], expected[at]);
    }
}

/// Sends parts of a buffer to the device, has them written to other places of the buffer, and checks the memory.
fn round_trips(edu: &Edu, map: &Map, method: Method) {
    // The buffer begins and ends within a page.
    const SKIPPED: usize = 123;
    let mut expected = map.fill(7);
    let len = map.len_bytes - 2 * SKIPPED;
    let buffer = edu
        .register(map.addr + SKIPPED, len, Use::ReadWrite, method)
        .expect("REGISTER");
    assert_eq!(buffer.raw().nr_pages, map.nr_pages() as u64);
    assert_ne!(buffer.raw().nr_entries, 0);
    // From, to, length: within a page, across pages and chunks, the first bytes and the last ones.
    let moves = [
        (0, len - 100, 100),
        (page_bytes() - 700 - SKIPPED, len / 2 - 900, 3000),
        (len - 33, 1, 33),
    ];
    for (from, to, nr) in moves {
        buffer.copy_to_device(from, nr, 64).expect("to the device");
        from_device(&buffer, to, nr, 64).expect("from the device");
        let (from, to) = (SKIPPED + from, SKIPPED + to);
        expected.copy_within(from..from + nr, to);
        is(map, &expected);
    }
    buffer.unregister().expect("UNREGISTER");
    is(map, &expected);
}

/// Fails unless all pages are released. After the end of a process that may take a moment.
fn nothing_is_held() {
    let deadline = Instant::now() + scaled(Duration::from_secs(5));
    loop {
        let stats = stats().expect("STATS");
        if stats.nr_handles == 0 && stats.nr_held_pages == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "pages are still held");
        thread::sleep(Duration::from_millis(10));
    }
}

fn works() {
    let edu = edu();
    round_trips(&edu, &Map::anon(4), Method::Runs);
}
