// SPDX-License-Identifier: GPL-2.0

//! Tests of interrupts that come late or without a reason, and of copies that do not end in time.

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

/// The driver's log message about a copy that does not end.
pub(super) const NO_END: &[&str] = &["no end of a copy"];
/// Longer than the device needs for a copy.
const OVER: Duration = Duration::from_millis(300);

/// Holds back the interrupt of a copy until the next one has begun. By then the driver has waited long enough, and has
/// seen in the registers that the first copy ended.
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

/// Triggers the interrupt for the end of a copy while the device is still at work.
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

/// Makes the device write to `buffer`, with a driver that gives up before the copy ends. Returns the contents of `map`
/// from before that copy.
fn does_not_end(buffer: &Buffer<'_>, map: &Map) -> Vec<u8> {
    // On a slow host the device may be done before the driver gives up.
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

/// Binds the driver again while the device is still at work.
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
