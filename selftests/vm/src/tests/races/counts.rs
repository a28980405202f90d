// SPDX-License-Identifier: GPL-2.0

//! Checks that a race leaves no references behind.
//!
//! A mapped page with too many references cannot be moved, and an unmapped one is never freed.
//! [`guard`](crate::harness::guard) checks the counters of pins and handles after each test.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    os::unix::fs::FileExt,
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        OnceLock, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};

use super::{
    arena::Arena,
    huge,
    shared, //
};
use crate::harness::{
    fixture::{
        self,
        field, //
    },
    memory::{
        frames,
        Map,
        RW, //
    },
    proof::kpf, //
};

/// How long the kernel may take to drop its own references.
const PATIENCE: Duration = Duration::from_secs(15);

/// Fails if a page of private memory has an extra reference: the kernel makes huge pages only of pages without any.
pub(super) fn no_reference_left(arena: &Arena) {
    huge::need_huge_pages();
    let map = &arena.map;
    assert_eq!(
        map.len_bytes % pmd_bytes(),
        0,
        "what no huge page can be made of"
    );
    map.protect(0, map.len_bytes, RW);
    arena.stamp(0, map.len_bytes);
    for at in (0..map.len_bytes).step_by(pmd_bytes()) {
        let before = frames(map.addr + at, pmd_bytes() / page_bytes());
        // A range that is a huge page already would stay as it is, whatever references it has. So split its mapping
        // first.
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
        let after = frames(map.addr + at, pmd_bytes() / page_bytes());
        let is_huge = after[0] % after.len() as u64 == 0
            && (after[0]..).zip(&after).all(|(frame, now)| frame == *now);
        let all_moved = before.iter().zip(&after).all(|(before, now)| before != now);
        // A range with several VMAs is skipped without an error.
        assert!(
            is_huge && all_moved,
            "nothing was collapsed from {at:#x} on: whether a page has references is not known"
        );
    }
}

/// Makes a huge page at an offset. After an error that satisfies `overcome` it makes room and tries again, up to a
/// limit.
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

/// Whether the error of an attempt to make a huge page means that a page is held.
pub(super) fn is_held(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// Pages that nothing maps and nobody can find, but that were not freed. A machine at rest has none, or as many as
/// before.
#[derive(Clone, Copy)]
pub(super) struct Orphans {
    anon: u64,
    shmem: i64,
}

impl Orphans {
    /// Returns the orphans that exist now. If the previous race ended with a successful check, its counts are used.
    pub(super) fn before() -> Self {
        Known::take().unwrap_or_else(Self::count)
    }

    fn count() -> Self {
        // Moves the pages of per-CPU batches to their lists.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        // Adds up the per-CPU counters.
        let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
        let (anon, frames) = scan().expect("/proc/kpageflags");
        let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
        let shmem_kib = field(&meminfo, "Shmem:").expect("Shmem in /proc/meminfo");
        let shmem = shmem_kib * 1024 / page_bytes() as u64;
        Self {
            anon,
            shmem: frames as i64 - shmem as i64,
        }
    }

    /// Fails if there are more orphans than before.
    pub(super) fn check(&self) {
        let deadline = Instant::now() + fixture::scaled(PATIENCE);
        loop {
            let now = Self::count();
            if now.anon <= self.anon && now.shmem <= self.shmem.max(0) {
                Known::put(now);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "pages that were unmapped are not freed: {} private ones, {} before; of tmpfs {} more than it counts, \
                 {} before",
                now.anon,
                self.anon,
                now.shmem,
                self.shmem
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The orphans after the last race, for the next race, which runs in another process.
struct Known;

static KNOWN: OnceLock<&'static [AtomicU64; 3]> = OnceLock::new();

/// Makes the shared memory for these numbers. Must be called before there are other processes.
pub(super) fn begin() {
    KNOWN.get_or_init(shared::numbers);
}

impl Known {
    /// Returns the numbers once. A race that fails leaves none for the next one.
    fn take() -> Option<Orphans> {
        let [is_known, anon, shmem] = KNOWN.get()?;
        (is_known.swap(0, Ordering::SeqCst) != 0).then(|| Orphans {
            anon: anon.load(Ordering::SeqCst),
            shmem: shmem.load(Ordering::SeqCst) as i64,
        })
    }

    fn put(orphans: Orphans) {
        if let Some([is_known, anon, shmem]) = KNOWN.get() {
            anon.store(orphans.anon, Ordering::SeqCst);
            shmem.store(orphans.shmem as u64, Ordering::SeqCst);
            is_known.store(1, Ordering::SeqCst);
        }
    }
}

/// Counts the private pages of folios that nothing maps, and the pages of tmpfs.
fn scan() -> io::Result<(u64, u64)> {
    let file = File::open("/proc/kpageflags")?;
    let (mut nr_anon, mut nr_shmem) = (0, 0);
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    loop {
        let len = file.read_at(&mut buffer, at)?;
        if len == 0 {
            return Ok((nr_anon, nr_shmem));
        }
        at += len as u64;
        for flags in buffer[..len].chunks_exact(8) {
            let flags = u64::from_ne_bytes(flags.try_into().expect("eight bytes"));
            let has = |bits: u64, none: u64| flags & bits == bits && flags & none == 0;
            nr_anon += u64::from(has(
                kpf::ANON,
                kpf::MMAP | kpf::SWAPCACHE | kpf::KSM | kpf::HWPOISON,
            ));
            nr_shmem += u64::from(has(kpf::SWAPBACKED | kpf::LRU, kpf::ANON | kpf::HUGE));
        }
    }
}
