// SPDX-License-Identifier: GPL-2.0

//! Verify that, for each kind of memory, each way of taking it, and several alignments,
//!
//! - both engines take the same pages with the same effect on them, or fail with the same error;
//! - the fast walk takes everything that is resident and allowed, under the leaf that maps the kind;
//! - memory that must not be taken is not taken by the slow path either;
//! - a hole makes the count short;
//! - the pages taken are the owner's: the same frames, the same bytes.

use std::{
    cmp::Ordering,
    fs, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Kind,
    Mapping, //
};
use rust_gup_uapi::{
    Access,
    Compared,
    Device,
    Engine,
    How,
    Request, //
};

use crate::harness::{
    fixture::{
        fast_only,
        frames_of,
        open,
        pattern,
        pin,
        refused,
        ACCESSES,
        HOWS, //
    },
    memory::{
        frames,
        hugetlb_pool,
        prot_none_is_fast,
        Map, //
    },
    process::Child,
    runner::{
        skip,
        Test, //
    }, //
};

/// What the engines should do with a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The fast walk takes all pages, under leaves of this level (0: base pages).
    Fast(usize),
    /// Neither engine may take the pages.
    Refused,
    /// The kernel's fast path takes the pages, as documented. Its slow path and the engine in Rust may not.
    OnlyKernel,
    /// The engines take the pages up to the hole in the middle, under base pages.
    Half,
    /// The engines take all pages, by the fast walk or the slow path.
    Taken,
}

/// Returns the expectation for a range that the kernel has already taken once. COMPARE lets the kernel take it first,
/// so the pages are resident, writable if write access was asked for, unshared if they were pinned, and no longer in
/// movable memory if they were pinned for long.
fn expected(kind: Kind, how: How, access: Access) -> Expected {
    match (kind, how, access) {
        (Kind::ProtNone, _, Access::Read) if prot_none_is_fast() => Expected::OnlyKernel,
        (Kind::Secret | Kind::ProtNone, _, _) => Expected::Refused,
        (Kind::Hole, _, _) => Expected::Half,
        (Kind::Thp2m | Kind::TmpfsHuge | Kind::Hugetlb2m, _, _) => Expected::Fast(1),
        (Kind::Hugetlb1g, _, _) => Expected::Fast(2),
        // The fast walk leaves the zero page to the slow path. A long-term pin replaces it by a page of its own.
        (Kind::ZeroPage, How::Get | How::Pin, Access::Read) => Expected::Taken,
        _ => Expected::Fast(0),
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for kind in Kind::ALL {
        let ways = HOWS
            .map(|how| ACCESSES.map(|access| (how, access)))
            .concat();
        if kind == Kind::Hugetlb1g {
            // Making the memory takes seconds, so one test uses it for all ways.
            let name = format!("{kind}::all");
            tests.push(Test::new(module_path!(), &name, move || {
                one_kind(kind, &ways)
            }));
            continue;
        }
        for (how, access) in ways {
            let name = format!("{kind}::{}_{}", how.name(), access.name());
            let run = move || one_kind(kind, &[(how, access)]);
            tests.push(Test::new(module_path!(), &name, run));
        }
    }
    let more: [(&str, fn()); 5] = [
        ("runs_of_large_folios", runs_of_large_folios),
        ("scattered_frames", scattered_frames),
        (
            "references_in_many_runs_come_back",
            references_in_many_runs_come_back,
        ),
        (
            "references_in_long_runs_come_back",
            references_in_long_runs_come_back,
        ),
        ("every_small_range", every_small_range),
    ];
    tests.extend(more.map(|(name, run)| Test::new(module_path!(), name, run)));
    tests
}

/// Makes memory, or skips the test if the machine cannot.
fn make(kind: Kind, len_bytes: usize) -> Mapping {
    match kind.map(len_bytes) {
        Ok(mapping) => mapping,
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => skip(&format!("{kind}: {e}")),
        Err(e) => panic!("{kind}: {e}"),
    }
}

/// Returns interesting ranges of a mapping as offset and length: all of it, its ends, single bytes, and ranges across
/// borders of pages and leaves. To save time, the ranges cover at most two PMD leaves.
fn ranges(len_bytes: usize) -> Vec<(usize, usize)> {
    let whole = len_bytes.min(2 * pmd_bytes());
    let middle = len_bytes / 2;
    let mut ranges = vec![
        (0, whole),
        (len_bytes - whole, whole),
        (0, 1),
        (len_bytes - 1, 1),
        (1, whole - 2),
        (page_bytes() - 1, 2),
        (middle - 1, 2),
        (middle - page_bytes() - 7, 2 * page_bytes()),
        (page_bytes() + 5, 3 * page_bytes()),
    ];
    if len_bytes > pmd_bytes() {
        ranges.extend([
            (pmd_bytes() - 1, 2),
            (pmd_bytes() - 3 * page_bytes(), 7 * page_bytes() + 1),
        ]);
    }
    ranges.retain(|(at, len)| at + len <= len_bytes);
    ranges
}

fn nr_pages_of(addr: usize, len: usize) -> u64 {
    ((addr + len - 1) / page_bytes() - addr / page_bytes() + 1) as u64
}

fn one_kind(kind: Kind, ways: &[(How, Access)]) {
    let _pool = (kind == Kind::Hugetlb2m).then(|| hugetlb_pool(6));
    let len_bytes = (3 * kind.granule_bytes()).clamp(16 * page_bytes(), 4 * pmd_bytes());
    let mut mapping = make(kind, len_bytes);
    let device = open();
    for (how, access) in ways {
        for (at, len) in ranges(mapping.len_bytes()) {
            let request = Request::new(mapping.addr() + at, len)
                .how(*how)
                .access(*access);
            let what = format!("{how:?}, {access:?}, {len:#x} bytes at {at:#x}");
            compared(&device, &mapping, &request, &what);
            taken(&device, &mut mapping, at, &request, &what);
        }
    }
}

/// Returns what to expect of `request`, and how many of its pages the engines should take.
fn outlook(mapping: &Mapping, request: &Request) -> (Expected, u64) {
    let all = nr_pages_of(request.addr, request.len_bytes);
    let hole = mapping.addr() + mapping.nr_pages() / 2 * page_bytes();
    match expected(mapping.kind(), request.how, request.access) {
        refused @ (Expected::Refused | Expected::OnlyKernel) => (refused, 0),
        Expected::Half => {
            let first = request.addr / page_bytes() * page_bytes();
            match first.cmp(&hole) {
                Ordering::Less => (
                    Expected::Fast(0),
                    all.min(((hole - first) / page_bytes()) as u64),
                ),
                Ordering::Equal => (Expected::Refused, 0),
                Ordering::Greater => (Expected::Fast(0), all),
            }
        }
        other => (other, all),
    }
}

/// Compares the engines on the range, and checks the result against the expectation.
fn compared(device: &Device, mapping: &Mapping, request: &Request, what: &str) {
    let (expected, nr_pages) = outlook(mapping, request);
    let compared = device
        .compare(request)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let c = compared.raw;
    let errnos = match expected {
        Expected::Refused => (libc::EFAULT, libc::EFAULT),
        Expected::OnlyKernel => (libc::EFAULT, 0),
        _ => (0, 0),
    };
    assert_eq!((c.errno_rust, c.errno_kernel), errnos, "{what}");
    if expected != Expected::OnlyKernel {
        agree(&compared, what);
    }
    assert_eq!(
        (c.nr_pages_rust, c.nr_equal),
        (nr_pages, nr_pages),
        "{what}"
    );
    if let Expected::Fast(level) = expected {
        assert_eq!(
            c.nr_fast,
            nr_pages,
            "{what}: by the fast walk; {:?}",
            compared.stop()
        );
        let mut by_level = [0; 5];
        by_level[level] = nr_pages;
        assert_eq!(c.nr_by_level, by_level, "{what}: by level");
    }
}

fn agree(compared: &Compared, what: &str) {
    assert!(
        compared.is_equal(),
        "{what}: the engines differ in {:?}: {:x?}",
        compared.differences(),
        compared.raw
    );
}

/// Takes the range with each engine, and checks the frames and the contents of the pages.
fn taken(device: &Device, mapping: &mut Mapping, at: usize, request: &Request, what: &str) {
    let (expected, nr_pages) = outlook(mapping, request);
    if matches!(expected, Expected::Refused | Expected::OnlyKernel) {
        refused(device.pin(request, Engine::Rust), libc::EFAULT, what);
        let by_kernel = device.pin(request, Engine::Kernel);
        if expected == Expected::Refused {
            refused(by_kernel, libc::EFAULT, what);
        } else {
            assert_ne!(by_kernel.expect("PIN").nr_pages(), 0, "{what}");
        }
        assert_eq!(
            pin(device, &fast_only(*request)).nr_pages(),
            0,
            "{what}: fast"
        );
        return;
    }
    let taken = pin(device, request);
    assert_eq!(taken.nr_pages(), nr_pages, "{what}");
    if let Expected::Fast(_) = expected {
        assert_eq!(
            taken.nr_fast(),
            nr_pages,
            "{what}: by the fast walk; {:?}",
            taken.stop()
        );
        assert_eq!(
            pin(device, &fast_only(*request)).nr_pages(),
            nr_pages,
            "{what}: fast"
        );
    }
    let first = request.addr / page_bytes() * page_bytes();
    assert_eq!(
        frames_of(&taken),
        frames(first, nr_pages as usize),
        "{what}: frames"
    );

    // Compare only a few bytes at either end.
    let end = (nr_pages as usize * page_bytes() - (request.addr - first)).min(request.len_bytes);
    let nr = end.min(100);
    for offset in [0, end - nr] {
        let mut by_owner = vec![0; nr];
        mapping
            .read(at + offset, &mut by_owner)
            .expect("the owner's memory");
        crate::harness::fixture::holds(&taken, offset, &by_owner);
        if request.access == Access::Write && request.how != How::Get {
            let new = pattern(offset + at, nr);
            crate::harness::fixture::store(&taken, offset, &new);
            mapping
                .read(at + offset, &mut by_owner)
                .expect("the owner's memory");
            assert!(by_owner == new, "{what}: the owner sees what was written");
        }
    }
}

fn scattered_frames() {
    let mapping = make(Kind::Anon4kScattered, 4 * pmd_bytes());
    let device = open();
    let pinned = device
        .pin(&Request::from(&mapping).how(How::Pin), Engine::Rust)
        .expect("PIN");
    // With random frames, one pair in a hundred thousand would be neighbours. Pages that were already free come in
    // longer runs, so allow one in ten.
    let (nr_pages, nr_runs) = (pinned.nr_pages(), pinned.nr_runs());
    assert_eq!(nr_pages, mapping.nr_pages() as u64);
    assert!(
        nr_runs > nr_pages / 10 * 9,
        "{nr_pages} pages lie in {nr_runs} runs"
    );
}

fn references_in_many_runs_come_back() {
    // The list has one piece, and several.
    for nr_pages in [2, 8, 1200] {
        all_come_back(&Map::of(Kind::Anon4kScattered, nr_pages * page_bytes()));
    }
}

fn references_in_long_runs_come_back() {
    let map = Map::of(Kind::Thp2mSplit, pmd_bytes());
    // Single pages between the long runs, and at the end.
    for page in [8, 20, 21, map.nr_pages() - 1] {
        map.advise(page * page_bytes(), page_bytes(), libc::MADV_DONTNEED);
        map.set(page * page_bytes(), 1);
    }
    map.settle(0, map.len_bytes);
    all_come_back(&map);
}

/// Fails if a page of the mapping is still held after it was taken and released.
fn all_come_back(map: &Map) {
    let device = open();
    for how in HOWS {
        let request = map.request().how(how).access(Access::Write);
        let take = || assert_eq!(pin(&device, &request).nr_pages(), map.nr_pages() as u64);
        assert!(comes_back(map, take), "{how:?}: {} pages", map.nr_pages());
    }
}

/// Returns whether nobody holds a page of the mapping after `take`. The kernel itself may hold one for a moment, so there
/// are several attempts.
fn comes_back(map: &Map, take: impl Fn()) -> bool {
    (0..3).any(|_| {
        take();
        // Per-CPU batches hold references on new pages. Compaction moves the pages to their lists.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        let before = frames(map.addr, map.nr_pages());
        Child::run(|| ()).join();
        // After a fork, the owner writes to a copy of each page that somebody holds.
        (0..map.nr_pages()).for_each(|page| map.set(page * page_bytes(), 1));
        frames(map.addr, map.nr_pages()) == before
    })
}

fn runs_of_large_folios() {
    let device = open();
    for (kind, leaf) in [
        (Kind::Thp2m, pmd_bytes()),
        (Kind::Thp2mSplit, pmd_bytes()),
        (Kind::Hugetlb2m, pmd_bytes()),
        (Kind::TmpfsHuge, pmd_bytes()),
        (Kind::Mthp64k, 64 << 10),
    ] {
        let _pool = (kind == Kind::Hugetlb2m).then(|| hugetlb_pool(6));
        let Ok(mapping) = kind.map(2 * leaf) else {
            // The test of this kind reports what is missing.
            continue;
        };
        // The kernel takes the pages first, because it moves them to memory where they may be pinned for long.
        device
            .compare(&Request::from(&mapping).how(How::LongTerm))
            .expect("COMPARE");
        for how in HOWS {
            let request = Request::from(&mapping).how(how);
            let pinned = pin(&device, &request);
            assert_eq!(
                pinned.nr_fast(),
                mapping.nr_pages() as u64,
                "{kind}: {:?}",
                pinned.stop()
            );
            assert!(
                pinned.nr_runs() <= 2,
                "{kind}: {} runs for 2 folios",
                pinned.nr_runs()
            );
            let across =
                Request::new(mapping.addr() + leaf - page_bytes(), 2 * page_bytes()).how(how);
            assert_eq!(pin(&device, &across).nr_pages(), 2);
        }
    }
}

fn every_small_range() {
    let device = open();
    let map = Map::untouched(8);
    // Pages of all four states: present, absent, read-only and unmapped. The loop tries every range of them.
    for page in [0, 1, 3, 4, 5, 7] {
        map.set(page * page_bytes(), 1);
    }
    map.settle(0, 2 * page_bytes());
    map.settle(3 * page_bytes(), 3 * page_bytes());
    map.settle(7 * page_bytes(), page_bytes());
    map.protect(4 * page_bytes(), page_bytes(), libc::PROT_READ);
    map.unmap(6 * page_bytes(), page_bytes());
    for first in 0..8 {
        for nr_pages in 1..=8 - first {
            for how in HOWS {
                for access in ACCESSES {
                    // Make page 2 absent again: an earlier range may have faulted it in.
                    map.advise(2 * page_bytes(), page_bytes(), libc::MADV_DONTNEED);
                    let request =
                        Request::new(map.addr + first * page_bytes(), nr_pages * page_bytes())
                            .how(how)
                            .access(access);
                    let fast = pin(&device, &fast_only(request)).nr_pages() as usize;
                    let usable = |page: usize| match page {
                        2 | 6 => false,
                        4 => access == Access::Read,
                        _ => true,
                    };
                    let expected = (first..first + nr_pages).take_while(|p| usable(*p)).count();
                    assert_eq!(
                        fast, expected,
                        "fast: {nr_pages} pages from {first}, {access:?}"
                    );
                    let compared = device.compare(&request).expect("COMPARE");
                    agree(
                        &compared,
                        &format!("{nr_pages} pages from {first}, {how:?}, {access:?}"),
                    );
                }
            }
        }
    }
}
