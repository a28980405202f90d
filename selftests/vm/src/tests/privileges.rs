// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - only root can open the device until its mode is changed;
//! - a caller without CAP_SYS_ADMIN sees no frame numbers and cannot tell which pages are neighbours, no matter which
//!   process opened the device and which one pinned; the capability in a user namespace does not count;
//! - such a caller can do everything else;
//! - a process without the open file cannot reach its handles; a process that received the file can use them, but still
//!   sees no frame numbers;
//! - the counters count the handles and pages of all processes.

use std::{
    fs,
    os::unix::fs::{
        chown,
        FileTypeExt,
        MetadataExt,
        PermissionsExt, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device,
    Engine, //
};
use rustix::thread::CapabilitySet;

use crate::harness::{
    fixture::{
        call_fd,
        check,
        handle_answers,
        holds,
        open,
        pin,
        refused,
        store,
        writable,
        LASTING, //
    },
    memory::Map,
    process::{
        become_nobody,
        become_root_of_a_namespace,
        drop_capabilities,
        receive,
        send,
        Child,
        Rendezvous, //
    },
    runner::tests, //
};

tests![
    device_node,
    nobody_may_not_open,
    frame_numbers_with_an_open_device,
    frame_numbers_after_chmod,
    group_access_is_up_to_the_owner,
    frame_numbers_in_a_user_namespace,
    frame_numbers_without_the_capability,
    neighbours_are_not_seen,
    handles_of_another_user,
    a_file_that_was_passed,
    counters_are_those_of_all,
];

fn device_node() {
    let meta = fs::metadata(Device::path()).expect("the device node");
    assert!(meta.file_type().is_char_device());
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600, "mode");
    assert_eq!((meta.uid(), meta.gid()), (0, 0), "owner");
}

fn nobody_may_not_open() {
    Child::run(|| {
        become_nobody();
        refused(Device::open(), libc::EACCES, "open");
    })
    .join();
}

/// Fails unless the caller can use the pages but sees neither their frame numbers nor which of them are neighbours.
fn sees_no_frames(device: &Device) {
    let map = Map::anon(5);
    let pinned = pin(device, &writable(map.addr, map.len_bytes));
    let runs = pinned.runs().expect("RUNS");
    assert_eq!(runs.len(), 5);
    assert!(
        runs.iter().all(|r| r.pfn.is_none() && r.nr_pages == 1),
        "frame numbers, or how they follow each other, in {runs:?}"
    );
    let features = device.info().expect("INFO").raw.features;
    assert_eq!(
        features & u64::from(raw::RUST_GUP_FEATURE_HAS_PFN),
        0,
        "features"
    );
    holds(&pinned, 0, &map.load(0, map.len_bytes));
    store(&pinned, page_bytes(), &[1, 2, 3]);
    assert_eq!(map.load(page_bytes(), 3), [1, 2, 3]);
    let compared = device.compare(&map.request()).expect("COMPARE").raw;
    assert_eq!((compared.differences, compared.nr_equal), (0, 5));
}

fn frame_numbers_with_an_open_device() {
    let device = open();
    Child::run(|| {
        become_nobody();
        sees_no_frames(&device);
    })
    .join();
}

/// Changes the access rights of the device node, and restores them on drop. Holds the rights from before.
struct Node(fs::Metadata);

impl Node {
    fn with(mode: u32, group: u32) -> Self {
        let before = fs::metadata(Device::path()).expect("the device node");
        fs::set_permissions(Device::path(), fs::Permissions::from_mode(mode)).expect("chmod");
        chown(Device::path(), None, Some(group)).expect("chgrp");
        Self(before)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = chown(Device::path(), Some(self.0.uid()), Some(self.0.gid()));
        let _ = fs::set_permissions(Device::path(), self.0.permissions());
    }
}

fn frame_numbers_after_chmod() {
    let _node = Node::with(0o666, 0);
    Child::run(|| {
        become_nobody();
        sees_no_frames(&open());
    })
    .join();
}

fn group_access_is_up_to_the_owner() {
    let _node = Node::with(0o660, crate::harness::process::NOBODY);
    Child::run(|| {
        become_nobody();
        sees_no_frames(&open());
    })
    .join();
}

fn frame_numbers_in_a_user_namespace() {
    let _node = Node::with(0o666, 0);
    let device = open();
    Child::run(|| {
        become_root_of_a_namespace();
        sees_no_frames(&device);
        sees_no_frames(&open());
    })
    .join();
}

fn frame_numbers_without_the_capability() {
    Child::run(|| {
        let device = open();
        drop_capabilities(CapabilitySet::SYS_ADMIN);
        sees_no_frames(&device);
        sees_no_frames(&open());
    })
    .join();
}

fn neighbours_are_not_seen() {
    let map = Map::huge(1);
    let nr_pages = map.nr_pages() as u64;
    let device = open();
    let engines = [Engine::Rust, Engine::RustPages];
    let seen = || {
        let pinned = pin(&device, &map.request());
        let runs = pinned.runs().expect("RUNS").len() as u64;
        let compared = device.compare(&map.request()).expect("COMPARE").raw;
        let measured = device.measure(&map.request(), engines, 1, nr_pages as u32);
        let measured = measured.expect("MEASURE").raw;
        let bytes = (measured.bookkeeping_a_bytes, measured.bookkeeping_b_bytes);
        let stats = device.stats().expect("STATS").raw;
        let counts = [
            stats.nr_runs,
            stats.nr_windows,
            stats.irqs_off_max_cycles,
            stats.irqs_off.iter().sum(),
        ];
        ([pinned.nr_runs(), runs, compared.nr_runs], bytes, counts)
    };
    let (runs, bytes, counts) = seen();
    assert_eq!(runs, [1; 3], "root sees one run of 2 MiB");
    assert!(bytes.0 != 0 && bytes.1 != 0 && counts.iter().all(|&count| count != 0));
    Child::run(|| {
        drop_capabilities(CapabilitySet::SYS_ADMIN);
        assert_eq!(
            seen(),
            ([nr_pages; 3], (0, 0), [0; 4]),
            "without the capability"
        );
    })
    .join();
}

fn handles_of_another_user() {
    const NR_HANDLES: u64 = 12;
    let _node = Node::with(0o666, 0);
    let (ours, theirs) = Rendezvous::pair();
    let owner = Child::run(|| {
        become_nobody();
        let device = open();
        let map = Map::anon(2);
        let mut held = Vec::new();
        for nr in 0..NR_HANDLES as usize {
            let request = writable(map.addr, map.len_bytes).how(LASTING[nr % 2]);
            held.push(pin(&device, &request));
        }
        theirs.signal();
        theirs.wait();
        for pinned in held {
            holds(&pinned, 0, &map.load(0, map.len_bytes));
            pinned.release().expect("UNPIN");
        }
    });
    ours.wait();
    Child::run(|| {
        const ANOTHER: u32 = 1000;
        // SAFETY: The system call takes no pointers.
        check(unsafe { libc::setresuid(ANOTHER, ANOTHER, ANOTHER) }).expect("setresuid");
        let device = open();
        for handle in 0..=2 * NR_HANDLES {
            assert_eq!(
                handle_answers(&device, handle),
                [libc::ENOENT; 4],
                "{handle}"
            );
        }
    })
    .join();
    ours.signal();
    owner.join();
}

fn a_file_that_was_passed() {
    let (ours, theirs) = Rendezvous::pair();
    let receiver = Child::run(move || {
        become_nobody();
        let (fd, handle) = receive(&theirs);
        let mut run = raw::rust_gup_run {
            pfn: u64::MAX,
            nr_pages: 0,
        };
        let mut runs = raw::rust_gup_runs {
            handle,
            buf: std::ptr::from_mut(&mut run).expose_provenance() as u64,
            capacity: 1,
            ..Default::default()
        };
        assert_eq!(call_fd(&fd, raw::RUST_GUP_IOC_RUNS, &mut runs), 0);
        assert_eq!((runs.nr_runs, run.pfn), (1, 0), "the frame number");
        assert_ne!(run.nr_pages, 0);
        assert_eq!(handle_answers(&fd, handle), [0; 4]);
    });
    let device = open();
    let map = Map::anon(1);
    let pinned = pin(&device, &writable(map.addr, map.len_bytes));
    let runs = pinned.runs().expect("RUNS");
    assert!(runs[0].pfn.is_some(), "root sees the frame number");
    send(&ours, &device, pinned.into_handle());
    receiver.join();
}

fn counters_are_those_of_all() {
    let device = open();
    let map = Map::anon(3);
    let _pinned = pin(&device, &map.request());
    Child::run(|| {
        become_nobody();
        let stats = device.stats().expect("STATS").raw;
        assert_eq!((stats.nr_handles, stats.nr_held_pages), (1, 3));
    })
    .join();
}
