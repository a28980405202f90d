// SPDX-License-Identifier: GPL-2.0

//! Tests in which the driver goes away, or the memory is not mapped for the device.

use std::{
    fs,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::edu::{
    Buffer,
    Edu,
    Method,
    Use, //
};

use super::{
    at_work::{
        at_border,
        scene, //
    },
    edu,
    from_device,
    is,
    machine::{
        bind,
        dma_faults,
        has_iommu,
        pci_device,
        unbind,
        Registers, //
    },
    nothing_is_held,
    preset,
    register,
    works,
    IN_FLIGHT, //
};
use crate::harness::{
    fixture::{
        pattern,
        refused,
        scaled,
        stats, //
    },
    memory::{
        frames,
        Map, //
    },
    module::unload, //
};

/// Makes the device write to `buffer` again and again until `go` has taken the device away.
fn until_it_is_gone(buffer: &Buffer<'_>, data: &[u8], go: impl FnOnce()) {
    let error = thread::scope(|scope| {
        let transfers = scope.spawn(|| loop {
            if let Err(error) = from_device(buffer, at_border(), data.len(), 0) {
                break error;
            }
        });
        thread::sleep(IN_FLIGHT);
        go();
        transfers.join().expect("the thread lives")
    });
    refused::<u64>(Err(error), libc::ENODEV, "the rest of the transfer");
}

/// Fails unless all calls of an open file fail after the driver is gone.
fn useless(edu: &Edu, buffer: &Buffer<'_>, map: &Map) {
    refused(buffer.copy_to_device(0, 1, 0), libc::ENODEV, "TRANSFER");
    refused(
        edu.register(map.addr, page_bytes(), Use::Read, Method::Runs),
        libc::ENODEV,
        "REGISTER",
    );
    refused(Edu::open(), libc::ENODEV, "open");
}

pub(super) fn unbind_while_at_work() {
    let edu = edu();
    let (map, expected, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    until_it_is_gone(&buffer, &data, unbind);
    // The device has written nothing outside the range of the transfers.
    let now = map.load(0, map.len_bytes);
    assert!(now[..at_border()] == expected[..at_border()]);
    assert!(now[at_border() + data.len()..] == expected[at_border() + data.len()..]);
    assert_eq!(
        stats().expect("STATS").nr_held_pages,
        4,
        "pinned until the file is closed"
    );
    useless(&edu, &buffer, &map);
    bind();
    // This file still belongs to the device as it was before.
    refused(buffer.copy_to_device(0, 1, 0), libc::ENODEV, "TRANSFER");
    drop(buffer);
    drop(edu);
    nothing_is_held();
    works();
}

pub(super) fn remove_while_at_work() {
    let edu = edu();
    let (map, _, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let device = pci_device().expect("the device");
    until_it_is_gone(&buffer, &data, || {
        fs::write(device.join("remove"), "1").expect("remove");
    });
    useless(&edu, &buffer, &map);
    fs::write("/sys/bus/pci/rescan", "1").expect("rescan");
    drop(buffer);
    drop(edu);
    nothing_is_held();
    works();
}

pub(super) fn modules_stay() {
    let edu = edu();
    let map = Map::anon(4);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    refused(unload(c"edu_dma"), libc::EWOULDBLOCK, "edu_dma is open");
    refused(unload(c"rust_gup"), libc::EWOULDBLOCK, "edu_dma needs it");
    buffer.copy_to_device(0, 100, 0).expect("TRANSFER");
    drop(buffer);
    drop(edu);
    refused(unload(c"rust_gup"), libc::EWOULDBLOCK, "edu_dma needs it");
    works();
}

pub(super) fn what_is_not_mapped() {
    let data = pattern(5, 64);
    let map = Map::anon(1);
    let before = map.fill(6);
    let (stale, physical) = {
        let edu = edu();
        preset(&edu, &data);
        let buffer = register(&edu, &map, 0, page_bytes());
        let addr = buffer.raw().dma_addr;
        assert_ne!(addr, 0, "root may see it");
        (addr, frames(map.addr, 1)[0] * page_bytes() as u64)
    };
    unbind();
    let registers = Registers::open();
    if has_iommu() {
        assert_ne!(stale, physical, "the device has addresses of its own");
        // The other address was valid as long as the buffer was registered.
        for addr in [physical, stale] {
            let nr_before = dma_faults();
            // A few bytes, since the kernel does not log all of many faults.
            registers.write_memory(addr, 4);
            is(&map, &before);
            let deadline = Instant::now() + scaled(Duration::from_secs(5));
            while dma_faults() == nr_before {
                assert!(
                    Instant::now() < deadline,
                    "the IOMMU has not seen {addr:#x}, or the kernel's log does not say so"
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    } else {
        // Without an IOMMU, the device can access all memory.
        assert_eq!(stale, physical, "the device's addresses are the machine's");
        registers.write_memory(physical, 64);
        let mut expected = before;
        expected[..64].copy_from_slice(&data);
        is(&map, &expected);
        assert_eq!(dma_faults(), 0);
    }
    drop(registers);
    bind();
    works();
}
