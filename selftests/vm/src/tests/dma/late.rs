// SPDX-License-Identifier: GPL-2.0

//! Interrupts that come late, or for nothing, and copies that do not end in time.

use std::{
    thread,
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::edu::{
    Buffer,
    Edu, //
};

use super::{
    at_work::{
        scene,
        while_at_work, //
    },
    edu,
    from_device,
    is,
    machine::{
        bind,
        unbind,
        Driver,
        Line,
        Registers, //
    },
    register,
    works, //
};
use crate::harness::{
    fixture::{
        errno,
        refused, //
    },
    memory::Map, //
};

/// What the driver logs of a device that does not end.
pub(super) const NO_END: &[&str] = &["no end of a copy"];
/// Longer than the device takes.
const OVER: Duration = Duration::from_millis(300);

/// The interrupt of a copy comes when the next one has begun: the driver has waited for it long enough, and then seen
/// that the device has ended.
pub(super) fn late_interrupt() {
    let line = Line::new();
    {
        let edu = edu();
        let (map, mut expected, data) = scene(&edu);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        line.hold();
        from_device(&buffer, 0, 100, 0).expect("a copy whose interrupt is held back");
        expected[..100].copy_from_slice(&data[..100]);
        is(&map, &expected);
        let (result, ()) = while_at_work(&buffer, 200, &data[..1000], || line.let_go());
        result.expect("the next copy");
        expected[200..1200].copy_from_slice(&data[..1000]);
        is(&map, &expected);
    }
    drop(line);
    works();
}

/// An interrupt that says that a copy has ended comes while it is at work.
pub(super) fn interrupt_for_nothing() {
    let edu = edu();
    let (map, mut expected, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let registers = Registers::open();
    let (result, ()) = while_at_work(&buffer, page_bytes(), &data[..2000], || {
        registers.interrupt()
    });
    result.expect("TRANSFER");
    expected[page_bytes()..page_bytes() + 2000].copy_from_slice(&data[..2000]);
    is(&map, &expected);
}

/// Has the device write to `buffer` with a driver that does not wait so long.
fn does_not_end(buffer: &Buffer<'_>, map: &Map) -> Vec<u8> {
    // The device may be quicker than the driver where the host is slow.
    for seed in 0..20 {
        let before = map.fill(seed);
        match errno(from_device(buffer, 300, 1000, 0)) {
            0 => (),
            error => {
                assert_eq!(error, libc::EIO, "TRANSFER");
                return before;
            }
        }
    }
    panic!("the device always ended in time");
}

pub(super) fn no_end() {
    {
        let _driver = Driver::with("timeout_ms=1");
        let edu = edu();
        let map = Map::anon(4);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let before = does_not_end(&buffer, &map);
        refused(buffer.copy_to_device(0, 1, 0), libc::EIO, "another one");
        buffer.unregister().expect("UNREGISTER");
        thread::sleep(OVER);
        is(&map, &before);
    }
    works();
}

/// The driver is bound anew to a device that is still at work.
pub(super) fn rebound_at_work() {
    {
        let _driver = Driver::with("timeout_ms=1");
        let old = edu();
        let map = Map::anon(4);
        let buffer = register(&old, &map, 0, map.len_bytes);
        let before = does_not_end(&buffer, &map);
        unbind();
        bind();
        thread::sleep(OVER);
        is(&map, &before);
        drop(buffer);
        let new: Edu = edu();
        drop(register(&new, &map, 0, map.len_bytes));
    }
    works();
}
