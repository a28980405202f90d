// SPDX-License-Identifier: GPL-2.0

//! Checks of what the kernel reports about pages.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    mem::size_of,
    ops::Range,
    os::unix::fs::FileExt, //
};

use rust_gup_memory::proc::{
    smaps,
    PAGEMAP_PRESENT, //
};

use crate::harness::memory::{
    frames,
    pagemap,
    Map, //
};

/// Bits of /proc/kpageflags, `include/uapi/linux/kernel-page-flags.h`.
pub(crate) mod kpf {
    pub(crate) const REFERENCED: u64 = 1 << 2;
    pub(crate) const DIRTY: u64 = 1 << 4;
    pub(crate) const LRU: u64 = 1 << 5;
    pub(crate) const ACTIVE: u64 = 1 << 6;
    pub(crate) const MMAP: u64 = 1 << 11;
    pub(crate) const ANON: u64 = 1 << 12;
    pub(crate) const SWAPCACHE: u64 = 1 << 13;
    pub(crate) const SWAPBACKED: u64 = 1 << 14;
    pub(crate) const COMPOUND_HEAD: u64 = 1 << 15;
    pub(crate) const COMPOUND_TAIL: u64 = 1 << 16;
    pub(crate) const HUGE: u64 = 1 << 17;
    pub(crate) const UNEVICTABLE: u64 = 1 << 18;
    pub(crate) const HWPOISON: u64 = 1 << 19;
    pub(crate) const NOPAGE: u64 = 1 << 20;
    pub(crate) const KSM: u64 = 1 << 21;
    pub(crate) const THP: u64 = 1 << 22;
    pub(crate) const ZERO_PAGE: u64 = 1 << 24;
    /// The flags that say what a page is. The other ones change by themselves.
    pub(crate) const KIND: u64 = MMAP
        | ANON
        | SWAPBACKED
        | COMPOUND_HEAD
        | COMPOUND_TAIL
        | HUGE
        | HWPOISON
        | NOPAGE
        | KSM
        | THP
        | ZERO_PAGE;
}

/// Bits of /proc/self/pagemap, `Documentation/admin-guide/mm/pagemap.rst`.
pub(crate) mod pm {
    pub(crate) const SOFT_DIRTY: u64 = 1 << 55;
    pub(crate) const EXCLUSIVE: u64 = 1 << 56;
    pub(crate) const UFFD_WP: u64 = 1 << 57;
    pub(crate) const GUARD: u64 = 1 << 58;
    pub(crate) const FILE: u64 = 1 << 61;
    pub(crate) const SWAPPED: u64 = 1 << 62;
    /// All bits but the frame number or the place in swap.
    pub(crate) const STATE: u64 =
        SOFT_DIRTY | EXCLUSIVE | UFFD_WP | GUARD | FILE | SWAPPED | super::PAGEMAP_PRESENT;
}

/// Reads /proc/kpageflags of `nr` frames from `first` on. The file ends with the last frame of ordinary memory. It has
/// no flags for device memory, neither before nor behind that frame.
pub(crate) fn kpageflags(first: u64, nr: u64) -> Vec<u64> {
    let file = File::open("/proc/kpageflags").expect("/proc/kpageflags");
    let mut flags = vec![0; nr as usize * size_of::<u64>()];
    match file.read_exact_at(&mut flags, first * size_of::<u64>() as u64) {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => panic!("flags of a frame: {e}"),
        _ => (),
    }
    flags
        .chunks_exact(size_of::<u64>())
        .map(|e| u64::from_ne_bytes(e.try_into().expect("eight bytes")))
        .collect()
}

/// Moves all folios to the lists where they belong. Some folios wait in per-CPU lists. Their flags lag behind, and each
/// of them has one more reference.
pub(crate) fn settle_lists() {
    // 4 keeps the kernel from logging. 1 drops the page cache, but drains the per-CPU lists first.
    for what in ["4", "1"] {
        fs::write("/proc/sys/vm/drop_caches", what).expect("/proc/sys/vm/drop_caches");
    }
}

impl Map {
    /// Returns the flags of each page. Fails unless all pages are present.
    #[track_caller]
    fn flags(&self) -> Vec<u64> {
        let frames = frames(self.addr, self.nr_pages());
        assert!(!frames.contains(&0), "a page is not present");
        frames
            .chunk_by(|a, b| a + 1 == *b)
            .flat_map(|run| kpageflags(run[0], run.len() as u64))
            .collect()
    }

    /// Fails unless all pages are present, and the flags of each page under `mask` equal `flags`.
    #[track_caller]
    pub(crate) fn prove_kind(&self, mask: u64, flags: u64) {
        for (page, found) in self.flags().into_iter().enumerate() {
            assert_eq!(
                found & mask,
                flags,
                "page {page}: /proc/kpageflags is {found:#x}"
            );
        }
    }

    /// Fails unless the mapping consists of whole folios of `nr` pages.
    #[track_caller]
    pub(crate) fn prove_folios(&self, nr: usize) {
        let frames = frames(self.addr, self.nr_pages());
        for (page, found) in self.flags().into_iter().enumerate() {
            let expected = match page % nr {
                _ if nr == 1 => 0,
                0 => kpf::COMPOUND_HEAD,
                _ => kpf::COMPOUND_TAIL,
            };
            assert!(
                found & (kpf::COMPOUND_HEAD | kpf::COMPOUND_TAIL) == expected
                    && frames[page] == frames[page / nr * nr] + (page % nr) as u64,
                "page {page} of folios of {nr}: /proc/kpageflags is {found:#x}"
            );
        }
    }

    /// Fails unless the bits of each page in /proc/self/pagemap under `mask` equal `bits`.
    #[track_caller]
    pub(crate) fn prove_state(&self, mask: u64, bits: u64) {
        for (page, found) in pagemap(self.addr, self.nr_pages()).into_iter().enumerate() {
            assert_eq!(
                found & mask,
                bits,
                "page {page}: /proc/self/pagemap is {found:#x}"
            );
        }
    }

    /// Fails unless `field` of /proc/self/smaps is this number of bytes for the whole mapping.
    #[track_caller]
    pub(crate) fn prove_smaps(&self, field: &str, bytes: usize) {
        let found = smaps(self.addr..self.end(), field).expect("/proc/self/smaps");
        assert_eq!(found, bytes, "{field} of /proc/self/smaps");
    }

    /// Returns the line of the mapping in /proc/self/maps. The kernel's mapping must begin at the same address.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
        let start = format!("{:x}-", self.addr);
        let line = maps.lines().find(|line| line.starts_with(&start));
        line.expect("a line in /proc/self/maps").to_owned()
    }

    /// Fails unless the access rights of the mapping are these, such as `r-x`.
    #[track_caller]
    pub(crate) fn prove_rights(&self, rights: &str) {
        let line = self.line();
        let found = line.split(' ').nth(1).expect("rights");
        assert_eq!(&found[..3], rights, "rights in /proc/self/maps");
    }

    /// Fails unless /proc/self/smaps has `flag` among its `VmFlags`. `pf` is a mapping of frame numbers only.
    #[track_caller]
    pub(crate) fn prove_vm_flag(&self, flag: &str) {
        let flags = self.vm_flags();
        assert!(
            flags.split(' ').any(|f| f == flag),
            "VmFlags:{flags}: no {flag}"
        );
    }

    /// Returns the `VmFlags` of the mapping, from /proc/self/smaps.
    pub(crate) fn vm_flags(&self) -> String {
        let smaps = fs::read_to_string("/proc/self/smaps").expect("/proc/self/smaps");
        let start = format!("{:x}-", self.addr);
        let mut ours = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = ours.find_map(|line| line.strip_prefix("VmFlags:"));
        flags.expect("VmFlags in /proc/self/smaps").to_owned()
    }

    /// Fails unless all frames lie in `places`.
    #[track_caller]
    pub(crate) fn prove_frames(&self, places: &[Range<u64>]) {
        for (page, frame) in frames(self.addr, self.nr_pages()).into_iter().enumerate() {
            assert!(
                places.iter().any(|range| range.contains(&frame)),
                "page {page}: frame {frame:#x} is not one of {places:x?}"
            );
        }
    }
}

/// Writes one byte in each `step` bytes, and returns how many faults that took.
pub(crate) fn faults(map: &Map, step: usize) -> u64 {
    let before = nr_faults();
    for offset in (0..map.len_bytes).step_by(step) {
        map.set(offset, 1);
    }
    nr_faults() - before
}

/// Returns the number of faults of this process.
fn nr_faults() -> u64 {
    // SAFETY: The structure consists of numbers, so it may be all zero. The call writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}
