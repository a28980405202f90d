// SPDX-License-Identifier: GPL-2.0

//! What a race must not leave behind: references that are nobody's.
//!
//! A page that is mapped and has too many cannot be moved; one that is not mapped any more is never freed. The counters
//! of pins and of handles are looked at after each test by [`guard`](crate::guard).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use super::arena::Arena;
use super::huge;
use crate::fixture::{self, field, HUGE, PAGE};
use crate::memory::{frames, Map, RW};

/// How long the kernel may take to let go of what it holds itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fails if a page of private memory has a reference that is nobody's: huge pages are made only of pages without.
pub(super) fn no_reference_left(arena: &Arena) {
    huge::need_huge_pages();
    let map = &arena.map;
    assert_eq!(map.len_bytes % HUGE, 0, "what no huge page can be made of");
    map.protect(0, map.len_bytes, RW);
    arena.stamp(0, map.len_bytes);
    for at in (0..map.len_bytes).step_by(HUGE) {
        let before = frames(map.addr + at, HUGE / PAGE);
        // It would stay as it is, if it was a huge page already, whoever has it.
        huge::split_mapping(arena, at);
        let made = make_huge(map, at, |_| true);
        if let Err(e) = made {
            let why = if is_held(&e) {
                "pages keep references"
            } else {
                "no huge page can be made"
            };
            panic!("{why}: collapsing those from {at:#x} on: {e}");
        }
        let after = frames(map.addr + at, HUGE / PAGE);
        let is_huge = after[0] % after.len() as u64 == 0
            && (after[0]..).zip(&after).all(|(frame, now)| frame == *now);
        let all_moved = before.iter().zip(&after).all(|(before, now)| before != now);
        // A part that consists of several mappings is passed over, and no error.
        assert!(
            is_huge && all_moved,
            "nothing was collapsed from {at:#x} on: whether a page has references is not known"
        );
    }
}

/// Makes a huge page, from an offset on. Goes on trying, with room for it, as long as the error is to be `overcome`.
pub(super) fn make_huge(
    map: &Map,
    at: usize,
    overcome: impl Fn(&io::Error) -> bool,
) -> io::Result<()> {
    let deadline = Instant::now() + fixture::scaled(PATIENCE);
    loop {
        match huge::try_collapse(map, at) {
            Err(e) if overcome(&e) && Instant::now() < deadline => {
                let _ = fs::write("/proc/sys/vm/compact_memory", "1");
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Whether somebody holds a page: the error of an attempt to make a huge page of it.
pub(super) fn is_held(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// Pages that nothing maps and nobody can find, but that were not freed. A machine at rest has none, or as many as it
/// had before.
pub(super) struct Orphans {
    anon: u64,
    shmem: i64,
}

impl Orphans {
    pub(super) fn count() -> Self {
        // What each CPU has gathered for the lists of pages is put there.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        // What each CPU has counted is added up.
        let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
        let (anon, frames) = scan().expect("/proc/kpageflags and /proc/kpagecount");
        let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
        let shmem = field(&meminfo, "Shmem:").expect("Shmem in /proc/meminfo") / 4;
        Self {
            anon,
            shmem: frames as i64 - shmem as i64,
        }
    }

    /// Fails if there are more by now.
    pub(super) fn check(&self) {
        let deadline = Instant::now() + fixture::scaled(PATIENCE);
        loop {
            let now = Self::count();
            if now.anon <= self.anon && now.shmem <= self.shmem.max(0) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "pages that were unmapped are not freed: {} private ones, {} before; of tmpfs {} more than it counts, {} \
                 before",
                now.anon,
                self.anon,
                now.shmem,
                self.shmem
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Bits of /proc/kpageflags.
mod kpf {
    pub(super) const LRU: u64 = 1 << 5;
    pub(super) const ANON: u64 = 1 << 12;
    pub(super) const SWAPCACHE: u64 = 1 << 13;
    pub(super) const SWAPBACKED: u64 = 1 << 14;
    pub(super) const TAIL: u64 = 1 << 16;
    pub(super) const HUGETLB: u64 = 1 << 17;
    pub(super) const HWPOISON: u64 = 1 << 19;
    pub(super) const NOPAGE: u64 = 1 << 20;
    pub(super) const KSM: u64 = 1 << 21;
    pub(super) const NONE_SET: u64 = 0;
}

/// Flags of a frame that is free, and of one that is not there.
const FREE: &[u8] = &kpf::NONE_SET.to_ne_bytes();
const NONE: &[u8] = &kpf::NOPAGE.to_ne_bytes();

/// Private pages that nothing maps, and pages of tmpfs.
fn scan() -> io::Result<(u64, u64)> {
    const NR_AT_ONCE: usize = 1 << 12;
    let (flags, counts) = (
        File::open("/proc/kpageflags")?,
        File::open("/proc/kpagecount")?,
    );
    let (mut anon, mut shmem) = (0, 0);
    // Pages of the folio that the last page belonged to, if none of them is mapped.
    let mut folio = 0;
    let mut buffers = [vec![0; NR_AT_ONCE * 8], vec![0; NR_AT_ONCE * 8]];
    for at in (0..).step_by(NR_AT_ONCE * 8) {
        let mut len = flags.read_at(&mut buffers[0], at)?;
        if len == 0 {
            break;
        }
        // Most frames are free, and looking at them takes its time.
        let used = |frame: &[u8]| frame != FREE && frame != NONE;
        if folio == 0 && !buffers[0][..len].chunks_exact(8).any(used) {
            continue;
        }
        len = len.min(counts.read_at(&mut buffers[1], at)?);
        let word = |nr: usize, i: usize| {
            u64::from_ne_bytes(buffers[nr][i..i + 8].try_into().expect("eight bytes"))
        };
        for i in (0..len).step_by(8) {
            let flags = word(0, i);
            let is_anon =
                flags & kpf::ANON != 0 && flags & (kpf::SWAPCACHE | kpf::KSM | kpf::HWPOISON) == 0;
            if flags & kpf::TAIL == 0 {
                anon += folio;
                folio = 0;
                if is_anon && word(1, i) == 0 {
                    folio = 1;
                }
            } else if word(1, i) != 0 {
                folio = 0;
            } else if folio != 0 {
                folio += 1;
            }
            let is_shmem = flags & (kpf::SWAPBACKED | kpf::LRU) == kpf::SWAPBACKED | kpf::LRU
                && flags & (kpf::ANON | kpf::HUGETLB) == 0;
            shmem += u64::from(is_shmem);
        }
    }
    Ok((anon + folio, shmem))
}
