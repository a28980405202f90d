// SPDX-License-Identifier: GPL-2.0

//! Verify that the fast walk says why and where it stopped, and that the slow path is asked only then:
//!
//! - for what was never touched, is unmapped, guarded or swapped out: ABSENT;
//! - for memory without access rights: PROT_NONE;
//! - for writing to what is mapped read-only, write-protected or shared copy-on-write: READ_ONLY;
//! - for pinning to read what is shared copy-on-write: UNSHARE;
//! - for what the protection keys of the thread deny: PKEY;
//! - for secret memory: SECRET; for the zero page: SPECIAL; for memory of the kernel: SPECIAL or NO_MAPPING;
//! - for long-term pins of movable memory: LONGTERM.

use std::fs;
use std::io;

use rust_gup_uapi::memory::Kind;
use rust_gup_uapi::{raw, Access, Device, Engine, How, Pinned, Request};

use crate::fixture::{check, fast_only, open, pin, refused, stats, ACCESSES, HOWS, HUGE, PAGE};
use crate::memory::{has_movable_memory, Map, RW};
use crate::process::{Child, Rendezvous};
use crate::runner::{skip, tests};

tests![
    absent,
    absent_in_the_middle,
    guarded,
    swapped_out,
    prot_none,
    read_only,
    shared_with_a_child,
    write_protected_by_userfaultfd,
    protection_keys,
    secret,
    zero_page,
    special,
    movable,
];

/// Takes the range without the slow path; fails unless the walk stops after `nr_pages` for `reason`, and counts it.
#[track_caller]
fn stops(device: &Device, request: &Request, nr_pages: usize, reason: u32) {
    let request = fast_only(*request);
    let before = stats().expect("STATS");
    let pinned = pin(device, &request);
    let after = stats().expect("STATS");
    stopped(&pinned, &request, nr_pages, reason);
    assert_eq!(
        pinned.handle() == 0,
        nr_pages == 0,
        "a handle if and only if there are pages"
    );
    assert_eq!(after.nr_slow, before.nr_slow, "the slow path was asked");
    let counted = |s: &raw::rust_gup_stats| s.stops[reason as usize];
    assert_eq!(
        counted(&after),
        counted(&before) + 1,
        "counted stops, {request:x?}"
    );
}

#[track_caller]
fn stopped(pinned: &Pinned<'_>, request: &Request, nr_pages: usize, reason: u32) {
    let stop = pinned.stop();
    let name = |r| rust_gup_uapi::Stop::from_number(r).name();
    assert_eq!(
        (pinned.nr_fast() as usize, name(pinned.raw().stop)),
        (nr_pages, name(reason)),
        "{request:x?}"
    );
    let page = request.addr / PAGE * PAGE + nr_pages * PAGE;
    assert_eq!(
        stop.expect("a stop").addr,
        page as u64,
        "where the walk stopped"
    );
}

/// Each way of asking for `map`.
fn all_ways(map: &Map) -> impl Iterator<Item = Request> {
    let request = map.request();
    HOWS.into_iter()
        .flat_map(move |how| ACCESSES.map(|access| request.how(how).access(access)))
}

fn absent() {
    let device = open();
    let untouched = Map::untouched(4);
    for request in all_ways(&untouched) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
    }
    // Where no table is, either.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let far = Map::new(0, 4 << 30, RW, flags, -1).expect("addresses");
    for request in all_ways(&far) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
    }
    let given_back = Map::anon(4);
    given_back.advise(0, 4 * PAGE, libc::MADV_DONTNEED);
    for request in all_ways(&given_back) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
        refused_or_taken(&device, &Map::anon(1));
    }
}

/// A plain success in between, so that a reason does not stick.
fn refused_or_taken(device: &Device, map: &Map) {
    let pinned = pin(device, &map.request());
    assert_eq!((pinned.nr_fast(), pinned.stop()), (1, None));
}

fn absent_in_the_middle() {
    let device = open();
    let map = Map::untouched(1100);
    for last in [1, 5, 511, 512, 513, 1024] {
        map.advise(0, map.len_bytes, libc::MADV_DONTNEED);
        (0..last).for_each(|page| map.set(page * PAGE, 1));
        map.settle(0, last * PAGE);
        for request in all_ways(&map) {
            stops(&device, &request, last, raw::RUST_GUP_STOP_ABSENT);
        }
        // The first reason is said also where the slow path does the rest.
        let request = map.request();
        let pinned = pin(&device, &request);
        stopped(&pinned, &request, last, raw::RUST_GUP_STOP_ABSENT);
        assert_eq!(pinned.nr_pages(), 1100);
    }
}

fn guarded() {
    const MADV_GUARD_INSTALL: i32 = 102;
    let device = open();
    let map = Map::anon(4);
    if map.try_advise(2 * PAGE, PAGE, MADV_GUARD_INSTALL).is_err() {
        skip("no guard pages: Linux 6.13 or newer");
    }
    for request in all_ways(&map) {
        stops(&device, &request, 2, raw::RUST_GUP_STOP_ABSENT);
        assert_eq!(pin(&device, &request).nr_pages(), 2);
        let guard = Request {
            addr: map.addr + 2 * PAGE,
            len_bytes: 1,
            ..request
        };
        refused(
            device.pin(&guard, Engine::Rust),
            libc::EFAULT,
            "a guard page",
        );
    }
}

fn swapped_out() {
    let _swap = crate::races::swap();
    let device = open();
    for request in HOWS.map(|how| Request::new(0, 4 * PAGE).how(how)) {
        let map = Map::anon(4);
        map.advise(0, map.len_bytes, libc::MADV_PAGEOUT);
        if crate::memory::frames(map.addr, 4) != [0; 4] {
            skip("the kernel swapped nothing out: more memory for swap");
        }
        let request = Request {
            addr: map.addr,
            ..request
        };
        stops(&device, &request, 0, raw::RUST_GUP_STOP_ABSENT);
        let pinned = pin(&device, &request);
        crate::fixture::holds(&pinned, 0, &crate::fixture::pattern(0, 4 * PAGE));
    }
}

fn prot_none() {
    let device = open();
    for map in [Map::anon(4), Map::huge(1)] {
        map.protect(0, map.len_bytes, libc::PROT_NONE);
        for request in all_ways(&map) {
            stops(&device, &request, 0, raw::RUST_GUP_STOP_PROT_NONE);
        }
    }
}

fn read_only() {
    let device = open();
    for map in [Map::anon(4), Map::huge(1)] {
        map.protect(0, map.len_bytes, libc::PROT_READ);
        for how in HOWS {
            let request = map.request().how(how).access(Access::Write);
            stops(&device, &request, 0, raw::RUST_GUP_STOP_READ_ONLY);
        }
    }
    let map = Map::anon(4);
    map.protect(2 * PAGE, PAGE, libc::PROT_READ);
    let request = map.request().access(Access::Write);
    stops(&device, &request, 2, raw::RUST_GUP_STOP_READ_ONLY);
}

fn shared_with_a_child() {
    let device = open();
    for make in [|| Map::anon(4), || Map::huge(1)] {
        let map = make();
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(|| theirs.wait());
        for how in HOWS {
            let writing = map.request().how(how).access(Access::Write);
            stops(&device, &writing, 0, raw::RUST_GUP_STOP_READ_ONLY);
        }
        for how in [How::Pin, How::LongTerm] {
            stops(
                &device,
                &map.request().how(how),
                0,
                raw::RUST_GUP_STOP_UNSHARE,
            );
        }
        let all = map.nr_pages() as u64;
        assert_eq!(
            pin(&device, &fast_only(map.request().how(How::Get))).nr_fast(),
            all
        );
        // The slow path unshares, and after that the fast walk may.
        assert_eq!(pin(&device, &map.request()).nr_pages(), all);
        assert_eq!(pin(&device, &fast_only(map.request())).nr_fast(), all);
        ours.signal();
        child.join();
    }
}

fn write_protected_by_userfaultfd() {
    const UFFDIO_API: u32 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u32 = 0xc020_aa00;
    const UFFDIO_WRITEPROTECT: u32 = 0xc018_aa06;
    // SAFETY: Takes no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) });
    let Ok(fd) = fd else {
        skip("no userfaultfd: CONFIG_USERFAULTFD");
    };
    let map = Map::anon(4);
    let (addr, len) = (map.addr as u64, map.len_bytes as u64);
    let uffd = |number: u32, mut argument: [u64; 4]| -> io::Result<i32> {
        // SAFETY: None of the structures is larger than `argument`.
        check(unsafe {
            libc::ioctl(
                fd as i32,
                libc::c_ulong::from(number),
                argument.as_mut_ptr(),
            )
        })
    };
    uffd(UFFDIO_API, [0xaa, 0, 0, 0]).expect("UFFDIO_API");
    // Mode 2 reports writes; mode 1 protects.
    uffd(UFFDIO_REGISTER, [addr, len, 2, 0]).expect("UFFDIO_REGISTER");
    uffd(
        UFFDIO_WRITEPROTECT,
        [addr + 2 * PAGE as u64, PAGE as u64, 1, 0],
    )
    .expect("UFFDIO_WRITEPROTECT");
    let device = open();
    let writing = map.request().access(Access::Write);
    stops(&device, &writing, 2, raw::RUST_GUP_STOP_READ_ONLY);
    assert_eq!(pin(&device, &fast_only(map.request())).nr_fast(), 4);
    // SAFETY: The descriptor was opened above and nobody uses it any more.
    unsafe { libc::close(fd as i32) };
}

/// Access rights of a protection key of this thread.
struct Key(i32);

impl Key {
    fn allocate() -> Option<Self> {
        // SAFETY: Takes no pointers.
        let key = check(unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) }).ok()?;
        Some(Self(key as i32))
    }

    /// Bit 0 denies any access, bit 1 denies writing.
    fn deny(&self, rights: u32) {
        let shift = 2 * self.0;
        // SAFETY: pkey_alloc() succeeded, so the CPU has these instructions; only the rights of this key change, and
        // the caller touches no memory under it meanwhile.
        unsafe {
            let mut rights_of_all: u32;
            std::arch::asm!("rdpkru", in("ecx") 0, out("eax") rights_of_all, out("edx") _);
            rights_of_all = rights_of_all & !(3 << shift) | (rights << shift);
            std::arch::asm!("wrpkru", in("ecx") 0, in("eax") rights_of_all, in("edx") 0);
        }
    }

    fn protect(&self, map: &Map, at: usize, len: usize) {
        // SAFETY: The range lies in the mapping, which is ours.
        check(unsafe { libc::syscall(libc::SYS_pkey_mprotect, map.addr + at, len, RW, self.0) })
            .expect("pkey_mprotect");
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.deny(0);
        // SAFETY: Takes no pointers.
        unsafe { libc::syscall(libc::SYS_pkey_free, self.0) };
    }
}

fn protection_keys() {
    let Some(key) = Key::allocate() else {
        skip("no protection keys: a CPU with them, qemu -cpu max");
    };
    let device = open();
    for map in [Map::anon(4), Map::huge(2)] {
        let half = map.len_bytes / 2;
        key.protect(&map, half, half);
        let nr_half = map.nr_pages() / 2;
        for (rights, denied) in [(0, &[][..]), (2, &[Access::Write][..]), (1, &ACCESSES[..])] {
            for request in all_ways(&map) {
                let what = format!("rights {rights}, {:?}, {:?}", request.how, request.access);
                key.deny(rights);
                let compared = device.compare(&request);
                let pinned = device.pin(&fast_only(request), Engine::Rust);
                key.deny(0);
                let (compared, pinned) = (compared.expect("COMPARE"), pinned.expect("PIN"));
                assert_eq!(compared.differences(), Vec::<&str>::new(), "{what}");
                if denied.contains(&request.access) {
                    stopped(&pinned, &request, nr_half, raw::RUST_GUP_STOP_PKEY);
                } else {
                    assert_eq!(pinned.nr_fast() as usize, 2 * nr_half, "{what}");
                }
            }
        }
    }
}

fn secret() {
    let device = open();
    let map = Map::of(Kind::Secret, 4 * PAGE);
    for request in all_ways(&map) {
        stops(&device, &request, 0, raw::RUST_GUP_STOP_SECRET);
        refused(
            device.pin(&request, Engine::Rust),
            libc::EFAULT,
            "secret memory",
        );
    }
}

fn zero_page() {
    let device = open();
    let map = Map::of(Kind::ZeroPage, 4 * PAGE);
    for how in HOWS {
        // The entries of the zero page are marked as special, and the walk looks no further.
        stops(
            &device,
            &map.request().how(how),
            0,
            raw::RUST_GUP_STOP_SPECIAL,
        );
    }
    let writing = map.request().access(Access::Write);
    stops(&device, &writing, 0, raw::RUST_GUP_STOP_READ_ONLY);
}

fn special() {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    let line = maps.lines().find(|l| l.ends_with("[vvar]"));
    let Some(start) = line.and_then(|l| l.split('-').next()) else {
        skip("no mapping [vvar] in /proc/self/maps: an x86-64 kernel with a vDSO");
    };
    let start = usize::from_str_radix(start, 16).expect("an address");
    let device = open();
    let expected = [
        raw::RUST_GUP_STOP_SPECIAL,
        raw::RUST_GUP_STOP_NO_MAPPING,
        raw::RUST_GUP_STOP_ABSENT,
    ];
    // Which of its pages are in use depends on the clock.
    let mut nr_special = 0;
    for page in 0..4 {
        let request = Request::new(start + page * PAGE, PAGE);
        for request in [request, request.how(How::Get)] {
            let pinned = pin(&device, &fast_only(request));
            assert_eq!(pinned.nr_pages(), 0);
            let reason = pinned.raw().stop;
            assert!(
                expected.contains(&reason),
                "page {page} of [vvar]: stop {reason}"
            );
            nr_special += usize::from(reason != raw::RUST_GUP_STOP_ABSENT);
            let compared = device.compare(&request).expect("COMPARE");
            assert_eq!(
                compared.differences(),
                Vec::<&str>::new(),
                "page {page} of [vvar]"
            );
        }
    }
    assert!(nr_special > 0, "no page of [vvar] was mapped at all");
}

fn movable() {
    if !has_movable_memory() {
        skip("no movable memory: boot with movablecore=512M");
    }
    let device = open();
    let huge = Map::huge(1);
    huge.advise(0, HUGE, libc::MADV_DONTNEED);
    for map in [Map::untouched(64), huge] {
        map.fill(0);
        let writing = map.request().access(Access::Write);
        assert_eq!(
            pin(&device, &fast_only(writing)).nr_fast(),
            map.nr_pages() as u64
        );
        let longterm = writing.how(How::LongTerm);
        let pinned = pin(&device, &fast_only(longterm));
        assert_eq!(
            pinned.raw().stop,
            raw::RUST_GUP_STOP_LONGTERM,
            "of {} pages",
            map.nr_pages()
        );
        drop(pinned);
        // The slow path moves it, and after that the fast walk may.
        let data = map.load(0, map.len_bytes);
        let pinned = pin(&device, &longterm);
        assert_eq!(pinned.nr_pages(), map.nr_pages() as u64);
        crate::fixture::holds(&pinned, 0, &data);
        drop(pinned);
        assert_eq!(
            pin(&device, &fast_only(longterm)).nr_fast(),
            map.nr_pages() as u64
        );
    }
}
