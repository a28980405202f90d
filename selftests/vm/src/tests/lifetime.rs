// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - closing the last descriptor of an open file releases all its handles, and closing any other descriptor does not;
//! - the exit of a process and its death by SIGKILL release them too;
//! - a process that is killed while it takes many pages, or copies many bytes, does not go on to the end;
//! - the pages outlive the process that owned them, for every process that has the open file: by inheritance, by
//!   dup(2), or because the descriptor was sent to it.

use std::{
    os::fd::{
        AsFd,
        OwnedFd, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device, //
};

use crate::harness::{
    fixture::{
        call_fd,
        holds,
        open,
        pattern,
        pin,
        scaled,
        stats,
        store,
        writable,
        HOWS, //
    },
    memory::{
        Map,
        RW, //
    },
    process::{
        become_subreaper,
        exit_at_once,
        receive,
        send,
        succeeded,
        wait_for,
        Child,
        Rendezvous, //
    },
    runner::tests, //
};

tests![
    close_releases,
    exit_releases,
    kill_releases,
    kill_of_a_busy_process_releases,
    kill_stops_taking,
    kill_stops_copying,
    duplicates_keep,
    child_reads_after_the_owner_is_gone,
    receiver_of_the_descriptor_reads,
];

const NR_PAGES: usize = 8;

/// Returns the numbers of handles and of held pages.
fn held() -> (u64, u64) {
    let stats = stats().expect("STATS");
    (stats.nr_handles, stats.nr_held_pages)
}

/// Takes memory in each way, and keeps the handles open.
fn take_all(device: &Device, map: &Map) {
    for how in HOWS {
        pin(device, &map.request().how(how)).into_handle();
        pin(device, &writable(map.addr, map.len_bytes).how(how)).into_handle();
    }
}

fn close_releases() {
    let map = Map::anon(NR_PAGES);
    let device = open();
    take_all(&device, &map);
    assert_eq!(held(), (6, 6 * NR_PAGES as u64));
    drop(device);
    assert_eq!(held(), (0, 0));
}

fn exit_releases() {
    Child::run(|| {
        let map = Map::anon(NR_PAGES);
        let device = open();
        take_all(&device, &map);
        assert_eq!(held(), (6, 6 * NR_PAGES as u64));
        std::mem::forget((device, map));
    })
    .join();
    assert_eq!(held(), (0, 0));
}

fn kill_releases() {
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(move || {
        let map = Map::anon(NR_PAGES);
        let device = open();
        take_all(&device, &map);
        theirs.signal();
        theirs.wait();
    });
    ours.wait();
    assert_eq!(held(), (6, 6 * NR_PAGES as u64));
    child.kill();
    child.wait();
    assert_eq!(held(), (0, 0));
}

fn kill_of_a_busy_process_releases() {
    for pause_us in [0, 300, 1000, 3000, 5000] {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(move || {
            let device = open();
            theirs.signal();
            loop {
                // Half of the pages are absent, so the fast walk and the slow path both run. Some pins are released,
                // and the others stay as handles.
                let map = Map::untouched(64);
                map.store(0, &pattern(0, 32 * page_bytes()));
                let pinned = pin(&device, &writable(map.addr, map.len_bytes));
                holds(&pinned, 0, &pattern(0, 32 * page_bytes()));
                if std::hint::black_box(map.addr) & page_bytes() != 0 {
                    pinned.into_handle();
                }
                if device.stats().expect("STATS").raw.nr_handles > 50 {
                    theirs.wait();
                }
            }
        });
        ours.wait();
        thread::sleep(Duration::from_micros(pause_us));
        child.kill();
        child.wait();
        assert_eq!(held(), (0, 0), "killed after {pause_us} us");
    }
}

/// Starts a child that is `busy` and kills it once `has_begun` returns. Repeats that until `was_cut` reports that the
/// kill ended the child's work in the middle.
fn kill_until(busy: impl Fn(&Rendezvous), has_begun: impl Fn(), was_cut: impl Fn() -> bool) {
    let deadline = Instant::now() + scaled(Duration::from_secs(10));
    while Instant::now() < deadline {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| {
            busy(&theirs);
            theirs.wait();
        });
        ours.wait();
        has_begun();
        child.kill();
        child.wait();
        assert_eq!(held(), (0, 0), "after the kill");
        if was_cut() {
            return;
        }
    }
    panic!("it always went on to the end");
}

fn kill_stops_taking() {
    let nr_cut = || stats().expect("STATS").stops[raw::RUST_GUP_STOP_SIGNAL as usize];
    let before = nr_cut();
    kill_until(
        |ready| {
            let device = open();
            // Enough pages for many windows of the fast walk.
            let map = Map::anon(8192);
            ready.signal();
            loop {
                drop(pin(&device, &map.request()));
            }
        },
        || thread::sleep(Duration::from_millis(3)),
        || nr_cut() > before,
    );
}

fn kill_stops_copying() {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let map = Map::new(0, 32 << 20, RW, flags, -1).expect("shared memory");
    let last = map.len_bytes - 1;
    let data = vec![1; map.len_bytes];
    kill_until(
        |ready| {
            let device = open();
            let pinned = pin(&device, &writable(map.addr, map.len_bytes));
            ready.signal();
            store(&pinned, 0, &data);
        },
        || {
            let deadline = Instant::now() + Duration::from_secs(5);
            while map.get(0) == 0 && Instant::now() < deadline {}
        },
        || {
            let was_cut = map.get(0) == 1 && map.get(last) == 0;
            map.set(0, 0);
            map.set(last, 0);
            was_cut
        },
    );
}

fn duplicates_keep() {
    let map = Map::anon(NR_PAGES);
    let device = open();
    let handle = pin(&device, &map.request()).into_handle();
    let copies: Vec<OwnedFd> = (0..3)
        .map(|_| device.as_fd().try_clone_to_owned().expect("dup"))
        .collect();
    drop(device);
    for copy in copies {
        assert_eq!(held(), (1, NR_PAGES as u64));
        reads(&copy, handle, &map.load(0, map.len_bytes));
    }
    assert_eq!(held(), (0, 0));
}

/// Fails unless a copy from `handle` through `fd` returns `expected`.
fn reads(fd: &OwnedFd, handle: u64, expected: &[u8]) {
    let mut found = vec![0_u8; expected.len()];
    let mut copy = raw::rust_gup_copy {
        handle,
        offset: 0,
        len_bytes: found.len() as u64,
        buf: found.as_mut_ptr().expose_provenance() as u64,
    };
    assert_eq!(call_fd(fd, raw::RUST_GUP_IOC_READ, &mut copy), 0, "READ");
    assert!(found == expected, "the pages hold something else");
}

fn child_reads_after_the_owner_is_gone() {
    // This process has to wait for the owner's children once the owner has ended.
    become_subreaper().expect("PR_SET_CHILD_SUBREAPER");
    for how in HOWS {
        let (ours, theirs) = Rendezvous::pair();
        let owner = Child::run(|| {
            let device = open();
            let map = Map::anon(NR_PAGES);
            let data = map.fill(3);
            let pinned = pin(&device, &writable(map.addr, map.len_bytes).how(how));
            // Two children: the end of the first one must not release the pages of the second one.
            for last in [false, true] {
                let pinned = &pinned;
                Child::run(|| {
                    theirs.wait();
                    holds(pinned, 0, &data);
                    if last {
                        theirs.wait();
                        holds(pinned, page_bytes(), &data[page_bytes()..]);
                    }
                    // Without a release, as if the process were killed.
                    exit_at_once(0);
                });
            }
            exit_at_once(0);
        });
        owner.join();
        assert_eq!(
            held(),
            (1, NR_PAGES as u64),
            "{how:?}: after the owner's end"
        );
        (0..2).for_each(|_| ours.signal());
        succeeded(wait_for(None), "a child of the owner");
        assert_eq!(
            held(),
            (1, NR_PAGES as u64),
            "{how:?}: after the first child's end"
        );
        ours.signal();
        succeeded(wait_for(None), "a child of the owner");
        assert_eq!(held(), (0, 0), "{how:?}: after the last child's end");
    }
}

fn receiver_of_the_descriptor_reads() {
    let (ours, theirs) = Rendezvous::pair();
    let data = pattern(4, NR_PAGES * page_bytes());
    let expected = data.clone();
    let receiver = Child::run(move || {
        let (fd, handle) = receive(&theirs);
        theirs.signal();
        theirs.wait();
        // By now the owner has closed the file and unmapped the memory.
        reads(&fd, handle, &expected);
        assert_eq!(held(), (1, NR_PAGES as u64));
    });
    let device = open();
    let map = Map::anon(NR_PAGES);
    map.fill(4);
    let handle = pin(&device, &map.request()).into_handle();
    send(&ours, &device, handle);
    ours.wait();
    drop(device);
    drop(map);
    ours.signal();
    receiver.join();
    assert_eq!(held(), (0, 0));
}
