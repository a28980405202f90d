// SPDX-License-Identifier: GPL-2.0

//! Tests of what processes and the kernel do to the memory while the device is at work.

use std::{
    fs,
    io,
    sync::mpsc,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::edu::{
    raw,
    Buffer,
    Edu,
    Method, //
};
use rustix::{
    process::Pid,
    thread::gettid, //
};

use super::{
    edu,
    from_device,
    is,
    nothing_is_held,
    preset,
    register,
    round_trips,
    IN_FLIGHT, //
};
use crate::harness::{
    fixture::{
        holds,
        open,
        pattern,
        pin,
        refused,
        scaled,
        stats, //
    },
    memory::{
        frames,
        Map,
        RW, //
    },
    process::{
        Child,
        Rendezvous, //
    }, //
};

/// Makes the device write `data`, which it already holds, to `buffer` at `offset`, and runs `body` meanwhile.
pub(super) fn while_at_work<T>(
    buffer: &Buffer<'_>,
    offset: usize,
    data: &[u8],
    body: impl FnOnce() -> T,
) -> (io::Result<u64>, T) {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let transfer = scope.spawn(move || {
            tell.send(gettid()).expect("to the test");
            from_device(buffer, offset, data.len(), 0)
        });
        wait_until_it_waits(told.recv().expect("from the thread"));
        assert!(!transfer.is_finished(), "the transfer is already over");
        let result = body();
        (transfer.join().expect("the thread lives"), result)
    })
}

/// Waits until `thread` sleeps uninterruptibly: the device is at work then, and the thread waits for it.
fn wait_until_it_waits(thread: Pid) {
    let thread = thread.as_raw_nonzero();
    let deadline = Instant::now() + scaled(Duration::from_secs(5));
    let stat = format!("/proc/self/task/{thread}/stat");
    loop {
        let text = fs::read_to_string(&stat).expect("the thread lives");
        if text
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('D'))
        {
            return;
        }
        assert!(Instant::now() < deadline, "the transfer does not begin");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns a buffer of some pages, its contents, and the bytes for the device to write at `at_border()`.
pub(super) fn scene(edu: &Edu) -> (Map, Vec<u8>, Vec<u8>) {
    scene_in(edu, Map::anon(4))
}

/// Does the same with memory of the caller's choice.
fn scene_in(edu: &Edu, map: Map) -> (Map, Vec<u8>, Vec<u8>) {
    let data = pattern(77, 3000);
    preset(edu, &data);
    let before = map.fill(8);
    (map, before, data)
}

/// Returns small pages and a huge page. The kernel copies and moves these in different ways.
fn both_sizes() -> [Map; 2] {
    [Map::anon(4), Map::huge(1)]
}

/// Returns an offset from which a transfer crosses a page border.
pub(super) fn at_border() -> usize {
    page_bytes() - 1000
}

pub(super) fn unregister_while_at_work() {
    let edu = edu();
    let (map, mut expected, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let handle = buffer.raw().handle;
    let (result, ()) = while_at_work(&buffer, at_border(), &data, || {
        let mut unregister = raw::edu_dma_unregister {
            handle,
            ..Default::default()
        };
        // SAFETY: The call takes this structure.
        unsafe { edu.ioctl(raw::EDU_DMA_IOC_UNREGISTER, &mut unregister) }.expect("UNREGISTER");
    });
    result.expect("the transfer goes on");
    expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
    is(&map, &expected);
    refused(buffer.unregister(), libc::ENOENT, "the buffer is gone");
}

pub(super) fn fork_and_write() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let frames_before = frames(map.addr, map.nr_pages());
        let (ours, theirs) = Rendezvous::pair();
        let (result, child) = while_at_work(&buffer, at_border(), &data, || {
            let child = Child::run(|| {
                let seen = map.load(0, map.len_bytes);
                theirs.wait();
                // The child must see neither the device's writes after the fork nor the parent's.
                assert!(
                    map.load(0, map.len_bytes) == seen,
                    "the child's copy changed"
                );
            });
            // If the pages were shared, the owner would get a copy now, and the device would write to the other one.
            map.set(0, 0xaa);
            map.set(page_bytes() + 3000, 0xbb);
            child
        });
        result.expect("TRANSFER");
        expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
        expected[0] = 0xaa;
        expected[page_bytes() + 3000] = 0xbb;
        is(&map, &expected);
        assert_eq!(frames(map.addr, map.nr_pages()), frames_before);
        ours.signal();
        child.join();
    }
}

pub(super) fn fork_and_child_writes() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let (result, ()) = while_at_work(&buffer, at_border(), &data, || {
            Child::run(|| {
                map.store(0, &vec![0xcc; map.len_bytes]);
            })
            .join();
        });
        result.expect("TRANSFER");
        expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
        is(&map, &expected);
    }
}

pub(super) fn mprotect() {
    let edu = edu();
    for prot in [libc::PROT_READ, libc::PROT_NONE] {
        let (map, mut expected, data) = scene(&edu);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let (result, ()) = while_at_work(&buffer, at_border(), &data, || {
            map.protect(0, map.len_bytes, prot);
        });
        result.expect("TRANSFER");
        map.protect(0, map.len_bytes, RW);
        expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
        is(&map, &expected);
    }
}

pub(super) fn munmap() {
    let edu = edu();
    let (map, mut expected, data) = scene(&edu);
    // A second pin shows the contents of the pages after they are unmapped.
    let device = open();
    let pinned = pin(&device, &map.request());
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let (result, other) = while_at_work(&buffer, at_border(), &data, || {
        map.unmap(0, map.len_bytes);
        // New memory at that place must not get any of the device's bytes.
        let other = Map::anon(64);
        other.fill(9);
        other
    });
    result.expect("TRANSFER");
    expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
    holds(&pinned, 0, &expected);
    is(&other, &pattern(9, other.len_bytes));
}

pub(super) fn migration_and_swap() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let before = frames(map.addr, map.nr_pages());
        let (result, ()) = while_at_work(&buffer, at_border(), &data, || {
            // Each of these calls would move the pages or swap them out.
            let _ = map.try_advise(0, map.len_bytes, libc::MADV_PAGEOUT);
            fs::write("/proc/sys/vm/compact_memory", "1").expect("compact_memory");
            let _ = map.try_advise(0, map.len_bytes, libc::MADV_COLD);
        });
        result.expect("TRANSFER");
        expected[at_border()..at_border() + data.len()].copy_from_slice(&data);
        is(&map, &expected);
        assert_eq!(frames(map.addr, map.nr_pages()), before, "they stayed");
    }
}

pub(super) fn killed() {
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(|| {
        let edu = edu();
        let map = Map::anon(4);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        theirs.signal();
        loop {
            from_device(&buffer, at_border(), 4096, 0).expect("TRANSFER");
        }
    });
    ours.wait();
    thread::sleep(IN_FLIGHT);
    child.kill();
    let status = child.wait();
    assert!(status.signaled(), "{status:?}");
    // The child has ended, so the device is done with its pages, and they are released.
    nothing_is_held();
    // Use pages of another process now, perhaps the same ones.
    let edu = edu();
    let map = Map::anon(8);
    round_trips(&edu, &map, Method::Runs);
}

pub(super) fn closed_without_unregister() {
    let edu = edu();
    let map = Map::anon(16);
    std::mem::forget(register(&edu, &map, 0, map.len_bytes));
    std::mem::forget(register(&edu, &map, page_bytes(), 2 * page_bytes()));
    assert_eq!(stats().expect("STATS").nr_held_pages, 18);
    drop(edu);
    nothing_is_held();
}
