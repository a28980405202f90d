// SPDX-License-Identifier: GPL-2.0

//! Verify that threads which share an open file
//!
//! - take, use and release pages without affecting each other's pages;
//! - release a handle only once, and either find a handle or do not, but nothing in between;
//! - may close and duplicate descriptors meanwhile;
//! - read counters that never decrease;
//! - may be killed in the middle of it.

use std::{
    os::fd::{
        AsFd,
        AsRawFd, //
    },
    sync::{
        atomic::{
            AtomicBool,
            AtomicUsize,
            Ordering, //
        },
        Barrier, //
    },
    thread, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device, //
};

use crate::harness::{
    fixture::{
        call,
        call_fd,
        check,
        holds,
        open,
        pattern,
        pin,
        store,
        writable,
        HOWS,
        PINS, //
    },
    memory::Map,
    process::Child,
    runner::tests, //
};

tests![
    threads_share_a_device,
    one_release_wins,
    use_against_release,
    descriptors_come_and_go,
    close_against_use,
    counters_never_run_backwards,
    killed_in_the_midst,
];

const NR_THREADS: usize = 4;

/// Runs `body` in `nr` threads at once, each with its number.
fn in_threads(nr: usize, body: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for thread in 0..nr {
            let body = &body;
            scope.spawn(move || body(thread));
        }
    });
}

fn threads_share_a_device() {
    let device = open();
    in_threads(NR_THREADS, |thread| {
        let map = Map::anon(6);
        for round in 0..100 {
            let start = round * 37 % page_bytes();
            let len = 4 * page_bytes() + thread;
            let request = writable(map.addr + start, len).how(PINS[round % 2]);
            let pinned = pin(&device, &request);
            let data = pattern(thread * 1000 + round, len);
            store(&pinned, 0, &data);
            assert!(
                map.load(start, len) == data,
                "thread {thread}, round {round}"
            );
            holds(&pinned, 0, &data);
            let runs = pinned.runs().expect("RUNS");
            assert_eq!(
                runs.iter().map(|r| r.nr_pages).sum::<u64>(),
                pinned.nr_pages()
            );
            pinned.release().expect("UNPIN");
        }
    });
    assert_eq!(device.stats().expect("STATS").raw.nr_handles, 0);
}

fn unpin(device: &Device, handle: u64) -> i32 {
    let mut unpin = raw::rust_gup_unpin { handle };
    call(device, raw::RUST_GUP_IOC_UNPIN, &mut unpin)
}

fn one_release_wins() {
    let device = open();
    let map = Map::anon(3);
    for round in 0..100 {
        let handle = pin(&device, &map.request()).into_handle();
        let nr_won = AtomicUsize::new(0);
        let start = Barrier::new(NR_THREADS);
        in_threads(NR_THREADS, |_| {
            start.wait();
            match unpin(&device, handle) {
                0 => drop(nr_won.fetch_add(1, Ordering::Relaxed)),
                e => assert_eq!(e, libc::ENOENT),
            }
        });
        assert_eq!(
            nr_won.into_inner(),
            1,
            "releases of one handle in round {round}"
        );
    }
}

fn use_against_release() {
    let device = open();
    let map = Map::anon(16);
    let data = map.load(0, map.len_bytes);
    let half = map.len_bytes / 2;
    for _ in 0..60 {
        let handle = pin(&device, &writable(map.addr, map.len_bytes)).into_handle();
        let start = Barrier::new(3);
        in_threads(3, |thread| {
            start.wait();
            if thread == 0 {
                assert_eq!(unpin(&device, handle), 0);
                return;
            }
            // Thread 1 reads the first half. Thread 2 writes to the second half the bytes that it already contains.
            let at = (thread - 1) * half;
            let data = &data[at..at + half];
            for _ in 0..20 {
                let mut found = vec![0_u8; half];
                let mut copy = raw::rust_gup_copy {
                    handle,
                    offset: at as u64,
                    len_bytes: found.len() as u64,
                    buf: found.as_mut_ptr().expose_provenance() as u64,
                };
                let number = [raw::RUST_GUP_IOC_READ, raw::RUST_GUP_IOC_WRITE][thread - 1];
                if thread == 2 {
                    found.copy_from_slice(data);
                }
                match call(&device, number, &mut copy) {
                    0 => assert!(found == data, "the pages of the handle"),
                    e => assert_eq!(e, libc::ENOENT),
                }
            }
        });
    }
    assert!(map.load(0, map.len_bytes) == data, "the owner's memory");
}

fn descriptors_come_and_go() {
    let device = open();
    in_threads(NR_THREADS, |thread| {
        let map = Map::anon(2);
        for round in 0..100 {
            let copy = device.as_fd().try_clone_to_owned().expect("dup");
            let mut taken = raw::rust_gup_pin {
                addr: map.addr as u64,
                len_bytes: map.len_bytes as u64,
                flags: raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
                ..Default::default()
            };
            assert_eq!(call_fd(&copy, raw::RUST_GUP_IOC_PIN, &mut taken), 0);
            drop(copy);
            if (thread + round) % 2 == 0 {
                let own = open();
                pin(&own, &map.request()).into_handle();
            }
            assert_eq!(
                unpin(&device, taken.handle),
                0,
                "through the other descriptor"
            );
        }
    });
}

fn close_against_use() {
    let map = Map::anon(8);
    for _ in 0..60 {
        let device = open();
        let number = device.as_fd().as_raw_fd();
        let start = Barrier::new(3);
        let closed = AtomicBool::new(false);
        in_threads(3, |thread| {
            start.wait();
            if thread == 0 {
                // SAFETY: The call takes no pointers. The descriptor is put back below, so that `device` closes its
                // own.
                check(unsafe { libc::close(number) }).expect("close");
                closed.store(true, Ordering::Release);
                return;
            }
            for _ in 0..20 {
                let request = writable(map.addr, map.len_bytes);
                if let Err(e) = device
                    .pin(&request, rust_gup_uapi::Engine::Rust)
                    .map(|p| p.into_handle())
                {
                    assert_eq!(rust_gup_uapi::errno_of(&e), Some(libc::EBADF));
                    assert!(closed.load(Ordering::Acquire) || thread > 0);
                }
            }
        });
        let again = open();
        // SAFETY: The call takes no pointers.
        check(unsafe { libc::dup2(again.as_fd().as_raw_fd(), number) }).expect("dup2");
        if again.as_fd().as_raw_fd() == number {
            std::mem::forget(again);
        }
        drop(device);
    }
}

fn counters_never_run_backwards() {
    let device = open();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let map = Map::anon(4);
                while !stop.load(Ordering::Relaxed) {
                    drop(pin(&device, &map.request()));
                }
            });
        }
        let mut last = device.stats().expect("STATS").raw;
        for _ in 0..500 {
            let now = device.stats().expect("STATS").raw;
            assert!(now.nr_fast >= last.nr_fast && now.nr_windows >= last.nr_windows);
            assert!(now.nr_runs >= last.nr_runs && now.nr_slow >= last.nr_slow);
            assert!(now.irqs_off_max_cycles >= last.irqs_off_max_cycles);
            assert!(
                now.nr_handles <= 2 && now.nr_held_pages <= 8,
                "more held than there is"
            );
            last = now;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let last = device.stats().expect("STATS").raw;
    assert_eq!(
        last.irqs_off.iter().sum::<u64>(),
        last.nr_windows,
        "sections counted"
    );
}

fn killed_in_the_midst() {
    for pause_ms in [1, 5, 10, 20] {
        let child = Child::run(|| {
            let device = open();
            in_threads(3, |thread| loop {
                let map = Map::untouched(64);
                (0..64)
                    .step_by(3)
                    .for_each(|page| map.set(page * page_bytes(), 1));
                let request = writable(map.addr, map.len_bytes).how(HOWS[thread]);
                std::mem::forget(pin(&device, &request));
                drop(pin(&device, &request));
                if device.stats().expect("STATS").raw.nr_held_pages > 20_000 {
                    thread::park();
                }
            });
        });
        thread::sleep(std::time::Duration::from_millis(pause_ms));
        child.kill();
        child.wait();
        let stats = crate::harness::fixture::stats().expect("STATS");
        assert_eq!(
            (stats.nr_handles, stats.nr_held_pages),
            (0, 0),
            "after {pause_ms} ms"
        );
    }
}
