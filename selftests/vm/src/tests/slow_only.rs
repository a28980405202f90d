// SPDX-License-Identifier: GPL-2.0

//! Verify that, for the flags that only the slow path honours,
//!
//! - both engines agree under each combination of flags, on memory that is present, absent, or read-only;
//! - FORCE writes to private memory that is mapped read-only, but not to shared memory, and is for the administrator
//!   only;
//! - NOFAULT takes the pages that are present, and neither faults pages in nor copies them;
//! - PCI_P2PDMA is refused for long-term pins.

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Engine,
    How,
    Request, //
};

use crate::harness::{
    fixture::{
        open,
        pin,
        refused,
        store,
        HOWS, //
    },
    memory::{
        frames,
        Map, //
    },
    process::{
        become_nobody,
        Child, //
    },
    runner::tests, //
};

tests![
    engines_agree,
    force_writes_to_what_is_read_only,
    force_is_for_the_administrator,
    nofault_faults_nothing_in,
    peer_to_peer_memory_is_not_for_long,
];

const FLAGS: [u32; 4] = [
    raw::RUST_GUP_FORCE,
    raw::RUST_GUP_NOFAULT,
    raw::RUST_GUP_PCI_P2PDMA,
    raw::RUST_GUP_HONOR_NUMA_FAULT,
];

/// Maps the memory read-only.
fn read_only_of(map: Map) -> Map {
    map.protect(0, map.len_bytes, libc::PROT_READ);
    map
}

/// Returns four anonymous pages that are mapped read-only.
fn read_only() -> Map {
    read_only_of(Map::anon(4))
}

/// Returns memory in which every second page is absent.
fn with_holes() -> Map {
    let map = Map::untouched(4);
    map.set(0, 1);
    map.set(2 * page_bytes(), 1);
    map
}

/// Returns four pages that all map the zero page.
fn zeros() -> Map {
    let map = Map::untouched(4);
    for page in 0..4 {
        assert_eq!(map.get(page * page_bytes()), 0);
    }
    map
}

fn engines_agree() {
    let device = open();
    let memory: [fn() -> Map; 11] = [
        || Map::anon(4),
        || Map::untouched(4),
        read_only,
        || read_only_of(Map::untouched(4)),
        || read_only_of(zeros()),
        zeros,
        with_holes,
        || Map::of(Kind::Memfd, 4 * page_bytes()),
        || read_only_of(Map::of(Kind::Memfd, 4 * page_bytes())),
        || read_only_of(Map::of(Kind::FilePrivate, 4 * page_bytes())),
        || read_only_of(Map::of(Kind::Thp2m, pmd_bytes())),
    ];
    for flags in 0..1 << FLAGS.len() {
        let flags = (0..FLAGS.len())
            .filter(|i| flags & (1 << i) != 0)
            .fold(0, |all, i| all | FLAGS[i]);
        for (nr, memory) in memory.iter().enumerate() {
            for how in HOWS {
                if how == How::LongTerm && flags & raw::RUST_GUP_PCI_P2PDMA != 0 {
                    continue;
                }
                for access in [Access::Read, Access::Write] {
                    // Take a part before the whole range, so that the pages beside that part are still in their first
                    // state.
                    let map = memory();
                    let part = Request::new(map.addr + 2 * page_bytes() - 1, 2);
                    for request in [part, map.request()] {
                        let request = request.how(how).access(access).slow_only(flags);
                        let compared = device.compare(&request).expect("COMPARE");
                        assert!(
                            compared.is_equal(),
                            "memory {nr}, {request:x?}: {:?}",
                            compared.differences()
                        );
                    }
                }
            }
        }
    }
}

fn force_writes_to_what_is_read_only() {
    let device = open();
    let memory: [fn() -> Map; 4] = [
        read_only,
        || read_only_of(Map::untouched(4)),
        || read_only_of(Map::of(Kind::FilePrivate, 4 * page_bytes())),
        || read_only_of(Map::huge(1)),
    ];
    for how in HOWS {
        for engine in [Engine::Rust, Engine::Kernel] {
            for make in memory {
                let map = make();
                let part = Request::new(map.addr + 2 * page_bytes() - 1, 2);
                for (nr_pages, request) in [(2, part), (map.nr_pages(), map.request())] {
                    let request = request.how(how).access(Access::Write);
                    refused(device.pin(&request, engine), libc::EFAULT, "without FORCE");
                    let forced = request.slow_only(raw::RUST_GUP_FORCE);
                    let taken = device.pin(&forced, engine).expect("PIN with FORCE");
                    assert_eq!(taken.nr_pages() as usize, nr_pages, "{forced:x?}");
                    if how != How::Get {
                        store(&taken, 0, &[1, 2]);
                        assert_eq!(map.load(request.addr - map.addr, 2), [1, 2], "{forced:x?}");
                    }
                }
            }
            // FORCE does not apply to shared memory.
            let map = read_only_of(Map::of(Kind::Memfd, 4 * page_bytes()));
            let request = map.request().how(how).access(Access::Write);
            let forced = request.slow_only(raw::RUST_GUP_FORCE);
            refused(device.pin(&forced, engine), libc::EFAULT, "shared memory");
        }
    }
}

fn force_is_for_the_administrator() {
    let device = open();
    Child::run(|| {
        become_nobody();
        let map = read_only();
        let request = map.request().access(Access::Write);
        let forced = request.slow_only(raw::RUST_GUP_FORCE);
        refused(device.pin(&forced, Engine::Rust), libc::EPERM, "PIN");
        refused(device.compare(&forced), libc::EPERM, "COMPARE");
        let request = map.request().how(How::Get);
        for flag in &FLAGS[1..] {
            assert_eq!(pin(&device, &request.slow_only(*flag)).nr_pages(), 4);
        }
    })
    .join();
}

fn nofault_faults_nothing_in() {
    let device = open();
    for engine in [Engine::Rust, Engine::Kernel] {
        for how in HOWS {
            let map = Map::untouched(4);
            let request = map.request().how(how).slow_only(raw::RUST_GUP_NOFAULT);
            refused(device.pin(&request, engine), libc::EFAULT, "not there");
            map.set(0, 1);
            let taken = device.pin(&request, engine).expect("PIN");
            assert_eq!(taken.nr_pages(), 1, "up to what is not there");
            map.set(2 * page_bytes(), 1);
            let part = Request::new(map.addr + 3 * page_bytes() - 1, 2).how(how);
            let part = part.slow_only(raw::RUST_GUP_NOFAULT);
            let taken = device.pin(&part, engine).expect("PIN");
            assert_eq!(taken.nr_pages(), 1, "the other one there is");
            assert_eq!(frames(map.addr, 4).iter().filter(|f| **f != 0).count(), 2);

            // NOFAULT does not copy the zero page for write access either.
            let map = zeros();
            let before = frames(map.addr, 4);
            let request = map.request().how(how).access(Access::Write);
            let request = request.slow_only(raw::RUST_GUP_NOFAULT);
            refused(device.pin(&request, engine), libc::EFAULT, "the zero page");
            assert_eq!(frames(map.addr, 4), before, "{how:?}");
        }
    }
}

fn peer_to_peer_memory_is_not_for_long() {
    let device = open();
    let map = Map::anon(4);
    let request = map.request().slow_only(raw::RUST_GUP_PCI_P2PDMA);
    for how in [How::Get, How::Pin] {
        assert_eq!(pin(&device, &request.how(how)).nr_pages(), 4);
    }
    let longterm = request.how(How::LongTerm);
    refused(device.pin(&longterm, Engine::Rust), libc::EINVAL, "PIN");
    refused(device.compare(&longterm), libc::EINVAL, "COMPARE");
}
