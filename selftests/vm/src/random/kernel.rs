// SPDX-License-Identifier: GPL-2.0

//! What the kernel reports about pages and mappings.

use std::{
    fs::{
        self,
        File, //
    },
    os::fd::AsRawFd, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::{
    fixture::{
        check,
        kernel_is_at_least, //
    },
    memory::{
        execute_only,
        prot_none_is_fast, //
    },
    proof::kpageflags, //
};

/// Returns whether a frame has one of these flags in /proc/kpageflags.
pub(super) fn has_flag(frame: u64, wanted: u64) -> bool {
    kpageflags(frame, 1)[0] & wanted != 0
}

/// Returns whether a huge leaf maps a page. Asks PAGEMAP_SCAN of /proc/self/pagemap (`include/uapi/linux/fs.h`).
pub(super) fn is_under_huge_leaf(addr: usize) -> bool {
    const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
    const PAGE_IS_HUGE: u64 = 1 << 6;
    let file = File::open("/proc/self/pagemap").expect("/proc/self/pagemap");
    let mut region = [0_u64; 3];
    let vec = region.as_mut_ptr().expose_provenance() as u64;
    let (start, end) = (addr as u64, (addr + page_bytes()) as u64);
    // The fields: size and flags; the range and how far the scan went; the list, its length, and no limit for pages;
    // the categories that are inverted, that are all required, of which any is required, and that are returned.
    let mut scan = [
        96,
        0,
        start,
        end,
        0,
        vec,
        1,
        0,
        0,
        PAGE_IS_HUGE,
        0,
        PAGE_IS_HUGE,
    ];
    // SAFETY: The structure and the list of one element live as long as the call.
    let nr = check(unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, scan.as_mut_ptr()) });
    nr.expect("PAGEMAP_SCAN") != 0
}

/// Returns whether the slow path refuses to read the memory at an address, and the kernel's fast path takes a page that
/// is mapped there: memory that may be written and not read, or only executed where the CPU could read it; on some kernels
/// memory without access rights; before 7.3 also the kernel's data beside the vDSO, which counts as memory of a device
/// and has pages all the same (`lib/vdso/datastore.c`).
pub(super) fn is_only_fast(addr: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let range = words.next().and_then(|r| r.split_once('-'));
        let [start, end] = range
            .map_or(["", ""], |(start, end)| [start, end])
            .map(|number| usize::from_str_radix(number, 16).unwrap_or(0));
        let rights = words.next().unwrap_or_default();
        let is_write_only = rights.starts_with("-w");
        let is_readable_anyway = rights.starts_with("---") && prot_none_is_fast()
            || rights.starts_with("--x") && execute_only().is_none();
        let is_of_kernel = line.ends_with("[vvar]") && !kernel_is_at_least(7, 3);
        (start..end).contains(&addr) && (is_write_only || is_readable_anyway || is_of_kernel)
    })
}
