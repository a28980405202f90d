// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - the module refuses to be unloaded while the device is open, and goes on working;
//! - an idle module is unloaded together with its device, and its counters are zero when it is loaded again;
//! - this also holds if a process tries to open the device at that moment;
//! - parameters that make no sense are refused with EINVAL.

use std::{
    ffi::CString,
    io,
    sync::atomic::{
        AtomicBool,
        AtomicUsize,
        Ordering, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_uapi::{
    raw,
    Device, //
};

use crate::harness::{
    fixture::{
        holds,
        open,
        pin,
        refused,
        stats,
        writable, //
    },
    memory::Map,
    module::{
        load_with,
        parameters,
        unload,
        unload_when_idle,
        NAME, //
    },
    process::{
        Child,
        Rendezvous, //
    },
    runner::Test, //
};

pub(crate) fn tests() -> Vec<Test> {
    let tests: [(&str, fn()); 5] = [
        ("refused_while_open", refused_while_open),
        ("refused_while_another_holds", refused_while_another_holds),
        ("unload_and_load", unload_and_load),
        ("senseless_parameters", senseless_parameters),
        ("unload_against_open", unload_against_open),
    ];
    tests
        .map(|(name, run)| Test::new(module_path!(), name, run))
        .into_iter()
        // The module may log that it was loaded.
        .map(|test| test.allow_log(&["rust_gup"]))
        .collect()
}

fn load() -> io::Result<()> {
    load_with(&parameters()?)
}

fn works() {
    let device = open();
    let map = Map::anon(4);
    let pinned = pin(&device, &writable(map.addr, map.len_bytes));
    assert_eq!(pinned.nr_fast(), 4);
    holds(&pinned, 0, &map.load(0, map.len_bytes));
}

fn refused_while_open() {
    let device = open();
    refused(unload(NAME), libc::EWOULDBLOCK, "with the device open");
    let map = Map::anon(2);
    let pinned = pin(&device, &map.request());
    refused(unload(NAME), libc::EWOULDBLOCK, "with pages held");
    holds(&pinned, 0, &map.load(0, map.len_bytes));
    drop(pinned);
    refused(unload(NAME), libc::EWOULDBLOCK, "after releasing");
    works();
}

fn refused_while_another_holds() {
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(move || {
        let device = open();
        let map = Map::anon(2);
        let pinned = pin(&device, &map.request());
        theirs.signal();
        theirs.wait();
        holds(&pinned, 0, &map.load(0, map.len_bytes));
    });
    ours.wait();
    refused(
        unload(NAME),
        libc::EWOULDBLOCK,
        "with the device open in another process",
    );
    ours.signal();
    child.join();
    works();
}

fn unload_and_load() {
    refused(load(), libc::EEXIST, "loading it twice");
    for _ in 0..3 {
        works();
        unload_when_idle();
        assert!(!Device::path().exists(), "the device went");
        refused(Device::open(), libc::ENOENT, "open");
        refused(unload(NAME), libc::ENOENT, "unloading it twice");
        load().expect("finit_module");
        let stats = stats().expect("STATS");
        assert_eq!((stats.nr_fast, stats.nr_slow, stats.nr_windows), (0, 0, 0));
        assert_eq!(
            (stats.nr_handles, stats.nr_held_pages, stats.nr_runs),
            (0, 0, 0)
        );
        assert!(stats.stops.iter().all(|n| *n == 0), "stops");
        let info = open().info().expect("INFO").raw;
        assert_eq!(info.abi_version, raw::RUST_GUP_ABI_VERSION);
    }
    works();
}

fn window_entries(nr_entries: u32) -> CString {
    CString::new(format!("window_entries={nr_entries}")).expect("no zero byte")
}

fn senseless_parameters() {
    unload_when_idle();
    for nr_entries in [0, 65537, u32::MAX] {
        let loaded = load_with(&window_entries(nr_entries));
        if loaded.is_ok() {
            unload_when_idle();
        }
        refused(
            loaded,
            libc::EINVAL,
            &format!("window_entries={nr_entries}"),
        );
    }
    for nr_entries in [1, 65536] {
        load_with(&window_entries(nr_entries)).expect("finit_module");
        let info = open().info().expect("INFO").raw;
        assert_eq!(info.window_entries, nr_entries);
        works();
        unload_when_idle();
    }
    load().expect("finit_module");
}

fn unload_against_open() {
    let stop = AtomicBool::new(false);
    let nr_opened = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let map = Map::anon(2);
            while !stop.load(Ordering::Relaxed) {
                // The device does not exist at the moment, or the module is being unloaded.
                let Ok(device) = Device::open() else {
                    continue;
                };
                pin(&device, &map.request()).into_handle();
                nr_opened.fetch_add(1, Ordering::Relaxed);
                drop(device);
                thread::sleep(Duration::from_micros(100));
            }
        });
        for _ in 0..3 {
            let before = nr_opened.load(Ordering::Relaxed);
            unload_when_idle();
            load().expect("finit_module");
            let deadline = Instant::now() + Duration::from_secs(2);
            while nr_opened.load(Ordering::Relaxed) == before && Instant::now() < deadline {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(nr_opened.into_inner() > 0, "the device was never opened");
    works();
}
