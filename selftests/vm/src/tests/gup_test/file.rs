// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - only root can open the file;
//! - a command that does not exist is refused with EINVAL;
//! - the module cannot be unloaded while the file is open, and unloading it removes the file;
//! - the module makes the file if the parameter says so, and fails to load if the file cannot be made.

use std::{
    fs,
    os::unix::fs::{
        MetadataExt,
        PermissionsExt, //
    }, //
};

use super::*;
use crate::harness::{
    fixture::refused,
    module::{
        load_with,
        parameters,
        unload,
        unload_when_idle,
        NAME, //
    },
    process::{
        become_nobody,
        Child, //
    }, //
};

pub(super) fn tests() -> Vec<Test> {
    let plain: [(&str, fn()); 3] = [
        ("for_root_alone", for_root_alone),
        ("unknown_commands", unknown_commands),
        ("holds_the_module", holds_the_module),
    ];
    let parameter = Test::new("gup_test", "file::parameter", parameter)
        // The module may log that it was loaded, and the kernel that the file already exists.
        .allow_log(&["rust_gup"])
        .expect_log(&["gup_test=1: the kernel has a gup_test", "already exists"]);
    plain
        .map(|(name, run)| Test::new("gup_test", &format!("file::{name}"), run))
        .into_iter()
        .chain([parameter])
        .collect()
}

fn for_root_alone() {
    drop(GupFile::ours());
    let meta = fs::metadata(OURS).expect("the file");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600, "mode");
    assert_eq!((meta.uid(), meta.gid()), (0, 0), "owner");
    Child::run(|| {
        become_nobody();
        refused(GupFile::open(OURS), libc::EACCES, "open");
    })
    .join();
}

fn unknown_commands() {
    with_each(|file| {
        for command in [
            0,
            u32::MAX,
            0x5401,
            GUP_FAST_BENCHMARK - 1,
            PIN_LONGTERM_TEST_READ + 1,
            // Another size, as a 32-bit program would pass; another direction; another group.
            0xc04c_6701,
            0x8050_6701,
            GUP_FAST_BENCHMARK ^ 0x100,
            0x4014_6707,
            0xc018_6707,
            0x4004_6709,
        ] {
            for addr in [0, usize::MAX] {
                let got = file.call_at(command, addr);
                assert_eq!(got, libc::EINVAL, "{command:#x}");
            }
        }
    });
}

fn holds_the_module() {
    let file = GupFile::ours();
    refused(unload(NAME), libc::EWOULDBLOCK, "with the file open");
    let done = file.run(PIN_FAST_BENCHMARK, GupTest::of(&Map::anon(4), 4, 0));
    assert_eq!(done.size, bytes(4));
    refused(unload(NAME), libc::EWOULDBLOCK, "after a command");
}

fn parameter() {
    drop(GupFile::ours());
    let kernel_has_one = Path::new(KERNELS).exists();
    unload_when_idle();
    assert!(!Path::new(OURS).exists(), "the file went with the module");
    refused(load_with(c"gup_test=3"), libc::EINVAL, "gup_test=3");

    load_with(c"").expect("finit_module");
    assert!(!Path::new(OURS).exists(), "nobody asked for it");
    assert_eq!(Path::new(KERNELS).exists(), kernel_has_one);
    unload_when_idle();

    if kernel_has_one {
        refused(load_with(c"gup_test=1"), libc::EBUSY, "gup_test=1");
        assert!(Path::new(KERNELS).exists(), "the kernel's own stays");
    } else {
        load_with(c"gup_test=1").expect("finit_module");
        let file = GupFile::open(KERNELS).expect("gup_test");
        refused(unload(NAME), libc::EWOULDBLOCK, "with the file open");
        let map = Map::anon(4);
        let taken = taken_by(|| {
            file.run(PIN_FAST_BENCHMARK, GupTest::of(&map, 4, 0));
        });
        assert_eq!(taken, (4, 0), "fast and slow");
        drop(file);
        unload_when_idle();
        assert!(!Path::new(KERNELS).exists(), "it went with the module");
    }
    load_with(&parameters().expect("the parameters")).expect("finit_module");
}
