// SPDX-License-Identifier: GPL-2.0

//! Swap space for the tests.

use std::{
    ffi::CStr,
    fs::{
        self,
        OpenOptions, //
    },
    os::unix::fs::FileExt, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::fixture::check;

/// Makes sure that there is swap space, as long as the result lives. Every test machine has zram for it.
pub(crate) fn swap() -> Swap {
    const DEVICE: &CStr = c"/dev/zram0";
    let in_use = fs::read_to_string("/proc/swaps")
        .unwrap_or_default()
        .lines()
        .count()
        > 1;
    if in_use {
        return Swap { added: None };
    }
    if fs::write("/sys/block/zram0/disksize", "64M").is_err() {
        panic!("no swap: scripts/vm run --modules zram");
    }
    let disk = OpenOptions::new()
        .write(true)
        .open("/dev/zram0")
        .expect("/dev/zram0");
    // The header of mkswap(8): version 1, number of the last page, no bad pages.
    let mut header = vec![0; page_bytes()];
    header[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    header[1028..1032].copy_from_slice(&((64_u32 << 20) / page_bytes() as u32 - 1).to_ne_bytes());
    header[page_bytes() - 10..].copy_from_slice(b"SWAPSPACE2");
    disk.write_all_at(&header, 0)
        .expect("the header of the swap area");
    drop(disk);
    // SAFETY: The path ends in a zero byte.
    check(unsafe { libc::swapon(DEVICE.as_ptr(), 0) }).expect("swapon");
    Swap {
        added: Some(DEVICE),
    }
}

/// Swap space that existed before, or was added.
pub(crate) struct Swap {
    added: Option<&'static CStr>,
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Some(device) = self.added {
            // SAFETY: The path ends in a zero byte.
            unsafe { libc::swapoff(device.as_ptr()) };
            let _ = fs::write("/sys/block/zram0/reset", "1");
        }
    }
}
