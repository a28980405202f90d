// SPDX-License-Identifier: GPL-2.0

//! Races against KSM, which merges pages with the same contents, and against userfaultfd(2).

use std::{
    fs::File,
    os::fd::AsRawFd,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::raw;

use super::{
    arena::{
        Arena,
        Grip,
        PRIVATE, //
    },
    counts::no_reference_left,
    frame::Race,
    race, //
};
use crate::harness::{
    fixture::check,
    memory::userfaultfd,
    runner::{
        skip,
        Test, //
    }, //
};

pub(super) fn races() -> Vec<Test> {
    vec![
        race("against_ksm", against_ksm),
        // With CONFIG_DEBUG_VM, arm64 warns when the kernel writes an entry of a page that was not accessed lately
        // (`__check_safe_pte_update()`). The kernel does that when it removes the protection (`do_wp_page()`).
        race("against_write_protection", against_write_protection)
            .expect_warning(&["at __set_ptes_anysz+", "at __check_safe_pte_update+"]),
        race("against_userfaultfd_move", against_userfaultfd_move),
        race("against_userfaultfd_copy", against_userfaultfd_copy),
    ]
}

fn against_ksm() {
    const FILES: [(&str, &str); 4] = [
        ("/sys/kernel/mm/ksm/sleep_millisecs", "0"),
        ("/sys/kernel/mm/ksm/pages_to_scan", "2000"),
        // Scan pages that have not changed for long, too.
        ("/sys/kernel/mm/ksm/smart_scan", "0"),
        ("/sys/kernel/mm/ksm/run", "1"),
    ];
    let arena = Arena::small(pmd_bytes() / page_bytes())
        .first(pmd_bytes() / page_bytes() / 4)
        .alike();
    let len = arena.nr_pages() * page_bytes();
    let settings: Vec<_> = FILES
        .iter()
        .filter_map(|(path, value)| Setting::set(path, value).ok())
        .collect();
    if settings.len() < FILES.len() {
        skip("no /sys/kernel/mm/ksm: CONFIG_KSM");
    }
    arena.map.advise(0, len, libc::MADV_MERGEABLE);
    Race::new(&arena, 750).evidence("cow_ksm").run(|turn| {
        // The write brings pages of their own back, and does not change their contents.
        let (at, len) = turn.piece();
        arena.stamp(at, len);
    });
    arena.map.advise(0, len, libc::MADV_UNMERGEABLE);
    drop(settings);
    // ksmd sleeps once it has unmerged all pages.
    let unmerged = Setting::set("/sys/kernel/mm/ksm/run", "2");
    drop(unmerged);
    no_reference_left(&arena);
}

/// The parts of userfaultfd(2) that these races use: `include/uapi/linux/userfaultfd.h`.
mod uffd {
    pub(super) const REGISTER: libc::c_ulong = 0xc020_aa00;
    pub(super) const COPY: libc::c_ulong = 0xc028_aa03;
    pub(super) const MOVE: libc::c_ulong = 0xc028_aa05;
    pub(super) const WRITEPROTECT: libc::c_ulong = 0xc018_aa06;
    pub(super) const FEATURE_SIGBUS: u64 = 1 << 7;
    pub(super) const FEATURE_WP_ASYNC: u64 = 1 << 15;
    pub(super) const FEATURE_MOVE: u64 = 1 << 16;
    pub(super) const MISSING: u64 = 1 << 0;
    pub(super) const WP: u64 = 1 << 1;
    pub(super) const ALLOW_SRC_HOLES: u64 = 1 << 1;
}

/// A file of userfaultfd(2).
struct Uffd(File);

impl Uffd {
    fn new(features: u64) -> Self {
        match userfaultfd(features) {
            Ok((fd, _)) => Self(fd.into()),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => skip(&format!(
                "userfaultfd without features {features:#x}: Linux 6.8 has them"
            )),
            Err(_) => skip("no userfaultfd: CONFIG_USERFAULTFD"),
        }
    }

    fn register(&self, arena: &Arena, mode: u64) {
        let (addr, len) = (arena.map.addr as u64, arena.map.len_bytes as u64);
        let errno = self.call(uffd::REGISTER, &mut [addr, len, mode, 0]);
        assert_eq!(errno, 0, "UFFDIO_REGISTER");
    }

    /// Moves pages. Returns how many bytes were moved before a page that could not be moved.
    fn move_pages(&self, from: usize, to: usize, len: usize) -> usize {
        let mut args = [to as u64, from as u64, len as u64, uffd::ALLOW_SRC_HOLES, 0];
        match self.call(uffd::MOVE, &mut args) {
            // The last word is the number of bytes moved, or the error if there are none.
            0 | libc::EBUSY | libc::EAGAIN => usize::try_from(args[4] as i64).unwrap_or(0),
            e => panic!("UFFDIO_MOVE: error {e}"),
        }
    }

    /// Calls an ioctl with a structure that consists of words. Returns its error number, or 0.
    fn call<const N: usize>(&self, number: libc::c_ulong, words: &mut [u64; N]) -> i32 {
        // SAFETY: The callers pass the words of the structure that the call expects.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), number, words.as_mut_ptr()) };
        crate::harness::fixture::errno(check(result))
    }
}

fn against_write_protection() {
    let arena = Arena::small(pmd_bytes() / page_bytes());
    let uffd = Uffd::new(uffd::FEATURE_WP_ASYNC);
    uffd.register(&arena, uffd::WP);
    let race = Race::new(&arena, 375).stopping(raw::RUST_GUP_STOP_READ_ONLY);
    race.run(|turn| {
        let (at, len) = turn.piece();
        let (addr, len) = ((arena.map.addr + at) as u64, len as u64);
        // The kernel removes the protection on a write.
        let errno = uffd.call(uffd::WRITEPROTECT, &mut [addr, len, 1]);
        assert_eq!(errno, 0, "UFFDIO_WRITEPROTECT");
    });
    drop(uffd);
    no_reference_left(&arena);
}

/// Moves pages to another address, unless they are pinned. The kernel clears the entry and reads the count without a
/// TLB flush in between. So it can do both between the walk's two reads.
fn against_userfaultfd_move() {
    let arena = Arena::small(pmd_bytes() / page_bytes())
        .may_be_absent()
        .with_grip(Grip::Greedy);
    let len = arena.map.len_bytes;
    let elsewhere = Arena::of(len, pmd_bytes(), PRIVATE, -1);
    let [here, there] = [arena.map.addr, elsewhere.map.addr];
    let uffd = Uffd::new(uffd::FEATURE_MOVE | uffd::FEATURE_SIGBUS);
    uffd.register(&arena, uffd::MISSING);
    uffd.register(&elsewhere, uffd::MISSING);
    let mut nr_refused = 0;
    let race = Race::new(&arena, 100).noting("pages were moved");
    race.run(|turn| {
        let mut at = turn.piece().0;
        // The whole rest in one call, so that takers and the kernel meet in the middle of it.
        while at < len {
            let moved = arena.sweep(|| {
                let moved = uffd.move_pages(here + at, there + at, len - at);
                for page in at / page_bytes()..(at + moved) / page_bytes() {
                    let pinned = arena.pinned(page);
                    let round = turn.round;
                    assert_eq!(pinned, None, "round {round}: page {page} was moved");
                }
                moved
            });
            if moved == 0 {
                nr_refused += 1;
                at += page_bytes();
                continue;
            }
            turn.note(moved / page_bytes());
            move_back(&uffd, there + at, here + at, moved);
            at += moved;
        }
    });
    println!("{nr_refused} times a page was not");
    drop(uffd);
    no_reference_left(&arena);
}

/// UFFDIO_COPY puts complete pages in the place of those that were given back. So a present page always has its stamp.
fn against_userfaultfd_copy() {
    let arena = Arena::small(pmd_bytes() / page_bytes()).may_be_absent();
    let model = Arena::small(pmd_bytes() / page_bytes());
    let uffd = Uffd::new(uffd::FEATURE_SIGBUS);
    uffd.register(&arena, uffd::MISSING);
    let race = Race::new(&arena, 150).noting("pages were copied to their place");
    race.taking_away().run(|turn| {
        let (at, len) = turn.piece();
        arena.displace((at, len), || {
            arena.map.advise(at, len, libc::MADV_DONTNEED);
            let [to, from] = [&arena, &model].map(|a| (a.map.addr + at) as u64);
            let mut args = [to, from, len as u64, 0, 0];
            let errno = uffd.call(uffd::COPY, &mut args);
            assert_eq!((errno, args[4]), (0, len as u64), "UFFDIO_COPY");
        });
        turn.note(len / page_bytes());
    });
    drop(uffd);
    no_reference_left(&arena);
}

/// Moves pages back. No taker takes pages at the present address, and a taker that grabbed one at the old address gives
/// it back. So this succeeds in the end.
fn move_back(uffd: &Uffd, from: usize, to: usize, len: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut done = 0;
    while done < len {
        done += uffd.move_pages(from + done, to + done, len - done);
        assert!(
            Instant::now() < deadline,
            "a page that was moved away cannot be moved back"
        );
    }
}
