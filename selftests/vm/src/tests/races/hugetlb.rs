// SPDX-License-Identifier: GPL-2.0

//! Races against giving back huge pages of the pool, and against the end of sharing page tables.

use std::{
    fs::{
        self,
        File, //
    },
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    }, //
};

use rand::Rng;
use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::{
        page_bytes,
        pmd_bytes,
        pmd_table_bytes, //
    },
    Setting, //
};
use rustix::fs::MemfdFlags;

use super::{
    arena::{
        map_over,
        Arena,
        PRIVATE, //
    },
    files::file,
    frame::Race,
    races,
    squatter::Squatter, //
};
use crate::{
    arch::SHARES_TABLES,
    harness::{
        fixture::{
            field,
            punch, //
        },
        memory::{
            frames,
            hugetlb_pool,
            pagemap,
            RW, //
        },
        process::{
            Child,
            Rendezvous, //
        },
        runner::skip, //
    }, //
};

races![against_huge_faults, against_unsharing];

const NR_HUGE: usize = 4;
/// So many huge pages that none is missing while all takers keep theirs.
const NR_POOL: usize = 72;
/// Returns the number of huge pages of 2 MiB that are free and not reserved.
fn nr_free() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let of = |name| field(&text, name).unwrap_or(0);
    of("HugePages_Free:") - of("HugePages_Rsvd:")
}

fn pool() -> Option<Setting> {
    let pool = hugetlb_pool(NR_POOL);
    if nr_free() < NR_POOL as u64 {
        skip("not enough huge pages: CONFIG_HUGETLBFS, and more memory");
    }
    pool
}

fn against_huge_faults() {
    let _pool = pool();
    let before = nr_free();
    let flags = PRIVATE | libc::MAP_HUGETLB;
    let arena = Arena::of(NR_HUGE * pmd_bytes(), pmd_bytes(), flags, -1);
    arena.stamp(0, arena.map.len_bytes);
    // This memory gets the pages that the arena gives back.
    let others = Arena::of(NR_HUGE * pmd_bytes(), pmd_bytes(), flags, -1);
    Race::new(&arena, 37).taking_away().run(|turn| {
        let piece = (
            pmd_bytes() * turn.random.random_range(0..NR_HUGE),
            pmd_bytes(),
        );
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
            for page in (0..pmd_bytes()).step_by(page_bytes()) {
                others.write(piece.0 + page, Squatter::mark_of(page));
            }
        });
        arena.stamp(piece.0, piece.1);
        for page in (0..pmd_bytes()).step_by(page_bytes()) {
            let found = others.map.load(piece.0 + page, 8);
            assert_eq!(
                found,
                Squatter::mark_of(page).to_ne_bytes(),
                "somebody wrote to a page that is not theirs"
            );
        }
        others.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
    });
    drop(arena);
    drop(others);
    assert_eq!(nr_free(), before, "free huge pages, after and before");
}

/// Whether another process shares the table that maps a huge page of a file. Then only one entry maps the page, but not
/// exclusively for this process.
fn is_table_shared(addr: usize) -> bool {
    const EXCLUSIVE: u64 = 1 << 56;
    let entry = pagemap(addr, 1)[0];
    if entry & PAGEMAP_PRESENT == 0 || entry & EXCLUSIVE != 0 {
        return false;
    }
    let counts = File::open("/proc/kpagecount").expect("/proc/kpagecount");
    let mut count = [0; 8];
    let at = frames(addr, 1)[0] * 8;
    counts.read_exact_at(&mut count, at).expect("a frame");
    u64::from_ne_bytes(count) == 1
}

/// Two processes that map the same part of a file share the table with its entries, until one of them needs its own. The
/// part is all that one table maps: 1 GiB, and 64 GiB with pages of 16 KiB.
fn against_unsharing() {
    if !SHARES_TABLES {
        skip(
            "processes have no common tables of huge pages: CONFIG_HUGETLB_PMD_PAGE_TABLE_SHARING",
        );
    }
    let _pool = pool();
    let before = nr_free();
    let table_bytes = pmd_table_bytes();
    let file = file(table_bytes, MemfdFlags::HUGETLB);
    let flags = libc::MAP_SHARED | libc::MAP_HUGETLB | libc::MAP_NORESERVE;
    let arena = Arena::of(table_bytes, table_bytes, flags, file.as_raw_fd())
        .first(NR_HUGE * pmd_bytes() / page_bytes())
        .may_be_absent();
    let len = NR_HUGE * pmd_bytes();
    arena.stamp(0, len);
    let (ours, theirs) = Rendezvous::pair();
    let other = Child::run(|| {
        // The child has the table alone after the other process has given it up, and fills it each time.
        while theirs.wait_for_more() {
            for huge in 0..NR_HUGE {
                arena.map.get(huge * pmd_bytes());
            }
            theirs.signal();
        }
    });
    let race = Race::new(&arena, 40).noting("tables were shared");
    race.taking_away().run(|turn| {
        ours.signal();
        ours.wait();
        let is_shared =
            (0..NR_HUGE).any(|huge| is_table_shared(arena.map.addr + huge * pmd_bytes()));
        turn.note(usize::from(is_shared));
        let huge = pmd_bytes() * turn.random.random_range(0..NR_HUGE);
        match turn.round % 4 {
            // Each of these needs a table of its own.
            0 => {
                arena.map.protect(huge, pmd_bytes(), libc::PROT_READ);
                arena.map.protect(huge, pmd_bytes(), RW);
            }
            1 => arena.map.advise(huge, pmd_bytes(), libc::MADV_DONTNEED),
            2 => arena.replace((huge, pmd_bytes()), || punch(&file, (huge, pmd_bytes()))),
            // The file keeps the contents of the pages.
            _ => arena.displace((0, len), || {
                map_over(arena.map.addr, table_bytes, RW, flags, file.as_raw_fd()).expect("mmap");
            }),
        }
        arena.stamp(huge, pmd_bytes());
    });
    ours.end();
    other.join();
    drop(arena);
    drop(file);
    assert_eq!(nr_free(), before, "free huge pages, after and before");
}
