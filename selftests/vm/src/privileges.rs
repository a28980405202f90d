// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - the device is for root alone until someone changes that;
//! - a caller without CAP_SYS_ADMIN sees no frame number, whoever opened the device;
//! - such a caller can do everything else.

use std::fs;
use std::os::unix::fs::{chown, FileTypeExt, MetadataExt, PermissionsExt};

use rust_gup_uapi::{raw, Device};

use crate::fixture::{holds, open, pin, refused, store, writable, PAGE};
use crate::memory::Map;
use crate::process::{become_nobody, Child};
use crate::runner::tests;

tests![
    device_node,
    nobody_may_not_open,
    frame_numbers_with_an_open_device,
    frame_numbers_after_chmod,
    group_access_is_up_to_the_owner,
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

/// Fails unless the caller sees runs but not where they are, and can use the pages.
fn sees_no_frames(device: &Device) {
    let map = Map::anon(5);
    let pinned = pin(device, &writable(map.addr, map.len_bytes));
    let runs = pinned.runs().expect("RUNS");
    assert_eq!(runs.iter().map(|r| r.nr_pages).sum::<u64>(), 5);
    assert!(
        runs.iter().all(|r| r.pfn.is_none()),
        "frame numbers in {runs:?}"
    );
    let features = device.info().expect("INFO").raw.features;
    assert_eq!(
        features & u64::from(raw::RUST_GUP_FEATURE_HAS_PFN),
        0,
        "features"
    );
    holds(&pinned, 0, &map.load(0, map.len_bytes));
    store(&pinned, PAGE, &[1, 2, 3]);
    assert_eq!(map.load(PAGE, 3), [1, 2, 3]);
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

/// The access rights of the device node, put back in the end.
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
    let _node = Node::with(0o660, crate::process::NOBODY);
    Child::run(|| {
        become_nobody();
        sees_no_frames(&open());
    })
    .join();
}
