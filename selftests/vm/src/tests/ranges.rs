// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - a range of no bytes is refused with EINVAL, and a range that wraps around with EOVERFLOW;
//! - a range that is not entirely in user space is refused with EFAULT, also if only its last page is outside, and the
//!   last page of user space is served;
//! - each engine serves a range with exactly the pages that contain one of its bytes;
//! - an absurdly long range costs neither time nor memory, and its length is not truncated to 32 bits;
//! - a range too long for COMPARE is refused.

use std::time::Duration;

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device,
    Engine,
    How,
    Request, //
};

use crate::{
    arch::{
        self,
        GROWN_ABOVE, //
    },
    harness::{
        fixture::{
            call,
            fast_only,
            open,
            pin,
            refused,
            user_limit,
            within,
            writable, //
        },
        memory::{
            available_kib,
            Map,
            RW, //
        },
        process::pinned_kib,
        runner::{
            skip,
            tests, //
        }, //
    }, //
};

tests![
    no_bytes,
    wrap_around,
    beyond_user_space,
    last_page_of_user_space,
    pages_of_a_range,
    absurdly_long,
    absurdly_long_by_the_kernel,
    no_cut_to_32_bits,
    no_cut_addresses,
    too_long_to_compare,
];

const ENGINES: [Engine; 2] = [Engine::Rust, Engine::Kernel];
/// Between the 128th and the 256th part of the addresses that mmap() chooses from: 1 TiB, or 16 MiB on a machine of 32
/// bits. Where tables grow, it chooses from those that they reach at first.
const PART: usize = match GROWN_ABOVE.first() {
    Some(&limit) => limit >> 7,
    None if usize::BITS == 64 => 1 << 40,
    None => 1 << 24,
};

/// Returns the error number of each call that takes a range, for this range.
fn answers(device: &Device, addr: u64, len_bytes: u64) -> Vec<(&'static str, i32)> {
    let mut answers = Vec::new();
    for (what, engine, flags) in [
        ("PIN, rust, get", raw::RUST_GUP_ENGINE_RUST, 0),
        (
            "PIN, rust, pin",
            raw::RUST_GUP_ENGINE_RUST,
            raw::RUST_GUP_PIN | raw::RUST_GUP_SHORT_TERM,
        ),
        (
            "PIN, rust, longterm",
            raw::RUST_GUP_ENGINE_RUST,
            raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM | raw::RUST_GUP_WRITE,
        ),
        ("PIN, kernel, get", raw::RUST_GUP_ENGINE_KERNEL, 0),
        (
            "PIN, kernel, pin",
            raw::RUST_GUP_ENGINE_KERNEL,
            raw::RUST_GUP_PIN | raw::RUST_GUP_SHORT_TERM,
        ),
    ] {
        let mut pin = raw::rust_gup_pin {
            addr,
            len_bytes,
            flags,
            engine,
            ..Default::default()
        };
        answers.push((what, call(device, raw::RUST_GUP_IOC_PIN, &mut pin)));
    }
    let mut samples = [raw::rust_gup_sample::default()];
    let mut measure = raw::rust_gup_measure {
        addr,
        len_bytes,
        rounds: 1,
        engine_b: raw::RUST_GUP_ENGINE_KERNEL,
        pages_per_call: 1,
        samples: samples.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    answers.push((
        "MEASURE",
        call(device, raw::RUST_GUP_IOC_MEASURE, &mut measure),
    ));
    answers
}

/// Returns the error numbers of COMPARE itself, of our engine and of the kernel's.
fn compare(device: &Device, addr: u64, len_bytes: u64) -> (i32, i32, i32) {
    let mut compare = raw::rust_gup_compare {
        addr,
        len_bytes,
        ..Default::default()
    };
    let got = call(device, raw::RUST_GUP_IOC_COMPARE, &mut compare);
    (got, compare.errno_rust, compare.errno_kernel)
}

fn all_answer(addr: u64, len_bytes: u64, expected: &[i32]) {
    let device = open();
    for (what, got) in answers(&device, addr, len_bytes) {
        assert!(
            expected.contains(&got),
            "{what} of {len_bytes:#x} bytes at {addr:#x}: errno {got}, expected {expected:?}"
        );
    }
}

fn no_bytes() {
    let map = Map::anon(1);
    for addr in [map.addr as u64, map.addr as u64 + 5, 0, u64::MAX] {
        all_answer(addr, 0, &[libc::EINVAL]);
        assert_eq!(compare(&open(), addr, 0).0, libc::EINVAL);
    }
}

fn wrap_around() {
    let page = page_bytes() as u64;
    // Without its top byte this is the first address of user space.
    let in_the_middle = (!arch::IGNORES_TOP_BYTE).then_some((1 << 63, (1 << 63) + 1));
    let ranges = [
        (page, u64::MAX),
        (u64::MAX, 2),
        (u64::MAX, u64::MAX),
        (u64::MAX - page + 1, 2 * page),
        // With bit 55 it is an address of the kernel, whatever the top byte is.
        (0x8080_0000_0000_0000, 1 << 63),
        (0xffff_8880_0000_0000, 1 << 63),
    ];
    for (addr, len_bytes) in ranges.into_iter().chain(in_the_middle) {
        all_answer(addr, len_bytes, &[libc::EOVERFLOW]);
        let too_long = len_bytes > raw::RUST_GUP_COMPARE_MAX_BYTES;
        let expected = if too_long {
            libc::EINVAL
        } else {
            libc::EOVERFLOW
        };
        assert_eq!(
            compare(&open(), addr, len_bytes).0,
            expected,
            "COMPARE at {addr:#x}"
        );
    }
    // The end of these ranges is one past the last address, so it wraps around to 0.
    all_answer(u64::MAX, 1, &[libc::EOVERFLOW, libc::EFAULT]);
    all_answer(u64::MAX - page + 1, page, &[libc::EOVERFLOW, libc::EFAULT]);
}

fn beyond_user_space() {
    let page = page_bytes() as u64;
    for addr in [
        // A hole in the middle of user space, then addresses behind its last page.
        user_limit() as u64 / 2 & !(page - 1),
        user_limit() as u64,
        (user_limit() as u64).wrapping_add(page),
        1 << 62,
        1 << 63,
        0xffff_7fff_ffff_f000,
        0xffff_8000_0000_0000,
        0xffff_8880_0000_0000,
        0xffff_ea00_0000_0000,
        0xffff_ffff_8100_0000,
        0xffff_ffff_ff60_0000,
        0xffff_ffff_ffff_0000,
    ] {
        for len_bytes in [1, page, page + 1] {
            // User space may end with the last page but one.
            if addr.checked_add(len_bytes).is_none() {
                continue;
            }
            all_answer(addr, len_bytes, &[libc::EFAULT]);
            let (got, rust, kernel) = compare(&open(), addr, len_bytes);
            if got == 0 {
                assert_eq!(
                    (rust, kernel),
                    (libc::EFAULT, libc::EFAULT),
                    "COMPARE at {addr:#x}"
                );
            } else {
                assert_eq!(got, libc::EFAULT, "COMPARE at {addr:#x}");
            }
        }
    }
    // These ranges begin in user space, on a page that is mapped.
    let map = Map::guarded(
        page_bytes(),
        page_bytes(),
        RW,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        (-1, 0),
    );
    let map = map.expect("memory with nothing behind it");
    map.set(0, 1);
    let limit = user_limit() as u64;
    for end in [limit, limit + 1, 1 << 63, u64::MAX] {
        let device = open();
        let mut request = Request::new(map.addr, end as usize - map.addr);
        for engine in ENGINES {
            request.how = How::Get;
            refused_beyond(&device, &fast_only(request), engine, end);
        }
    }
}

/// Fails unless a range in user space comes out short, and a range that ends beyond user space is refused.
fn refused_beyond(device: &Device, request: &Request, engine: Engine, end: u64) {
    let result = device.pin(request, engine);
    if end > user_limit() as u64 {
        refused(
            result,
            libc::EFAULT,
            &format!("{engine:?}, a range up to {end:#x}"),
        );
    } else {
        assert_eq!(result.expect("a range of user space").nr_pages(), 1);
    }
}

fn last_page_of_user_space() {
    let device = open();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let Ok(map) = Map::new(user_limit() - page_bytes(), page_bytes(), RW, flags, -1) else {
        skip("the last page of user space is in use: boot with norandmaps left out");
    };
    map.fill(3);
    for engine in ENGINES {
        let taken = device.pin(&map.request(), engine).expect("the last page");
        assert_eq!(taken.nr_pages(), 1);
        for (addr, len_bytes) in [
            (map.addr, page_bytes() + 1),
            (map.end() - 1, 2),
            (map.end(), 1),
        ] {
            refused(
                device.pin(&Request::new(addr, len_bytes), engine),
                libc::EFAULT,
                &format!("{engine:?}, {len_bytes:#x} bytes at {addr:#x}"),
            );
        }
    }
    let compared = device.compare(&map.request()).expect("COMPARE");
    assert_eq!((compared.raw.differences, compared.raw.nr_equal), (0, 1));
}

fn pages_of_a_range() {
    let device = open();
    let map = Map::anon(8);
    for offset in [
        0,
        1,
        page_bytes() - 1,
        page_bytes(),
        page_bytes() + 1,
        3 * page_bytes() - 1,
    ] {
        for len_bytes in [
            1,
            2,
            3,
            page_bytes() - 1,
            page_bytes(),
            page_bytes() + 1,
            2 * page_bytes(),
            4 * page_bytes() + 2,
        ] {
            let first = offset / page_bytes();
            let last = (offset + len_bytes - 1) / page_bytes();
            let expected = (last - first + 1) as u64;
            let request = Request::new(map.addr + offset, len_bytes);
            for engine in ENGINES {
                let taken = device.pin(&request, engine).expect("PIN");
                assert_eq!(
                    taken.nr_pages(),
                    expected,
                    "{engine:?}, {len_bytes} bytes from {offset}"
                );
            }
            let compared = device.compare(&request).expect("COMPARE").raw;
            assert_eq!((compared.differences, compared.nr_equal), (0, expected));
        }
    }
}

/// Fails if `body` takes more than 2 seconds or 16 MiB.
fn cheap(body: impl FnOnce()) {
    let before_kib = available_kib();
    within(Duration::from_secs(2), body);
    let used_kib = before_kib.saturating_sub(available_kib());
    assert!(used_kib < 16 << 10, "{used_kib} KiB of memory were used up");
    assert_eq!(pinned_kib(), 0);
}

fn absurdly_long() {
    let device = open();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let reserved = Map::new(0, PART, RW, flags, -1).expect("addresses");
    reserved.advise(0, PART, libc::MADV_NOHUGEPAGE);
    let start = reserved.addr;
    cheap(|| {
        for how in [How::Get, How::Pin, How::LongTerm] {
            let request = fast_only(Request::new(start, PART).how(how));
            let taken = pin(&device, &request);
            assert_eq!((taken.handle(), taken.nr_pages()), (0, 0));
            let stop = taken.stop().expect("nothing is there");
            assert_eq!(stop.reason.number(), raw::RUST_GUP_STOP_ABSENT);
            assert_eq!(stop.addr, start as u64);
        }
    });
    reserved.set(0, 1);
    reserved.set(page_bytes(), 2);
    cheap(|| {
        assert_eq!(
            pin(&device, &fast_only(Request::new(start, PART).how(How::Pin))).nr_pages(),
            2
        )
    });

    // A large part of user space in which almost nothing is mapped.
    let after = reserved.end();
    drop(reserved);
    let holes = after - 32 * PART;
    cheap(|| {
        assert_eq!(
            pin(&device, &fast_only(Request::new(holes, 31 * PART))).nr_pages(),
            0
        );
        refused(
            device.pin(&Request::new(holes, 31 * PART), Engine::Rust),
            libc::EFAULT,
            "a long hole",
        );
    });
    cheap(|| {
        // This range lies below everything that the kernel maps on its own.
        refused(
            device.pin(&Request::new(8 * PART, half()), Engine::Rust),
            libc::EFAULT,
            "half of user space",
        );
    });
    let first = Map::anon(3);
    first.unmap(2 * page_bytes(), page_bytes());
    let len_bytes = user_limit() - page_bytes() - first.addr;
    cheap(|| {
        assert_eq!(
            pin(&device, &fast_only(Request::new(first.addr, len_bytes))).nr_pages(),
            2
        )
    });
}

/// Returns the length of half of user space, or less.
fn half() -> usize {
    (64 * PART).min(user_limit() / 2)
}

fn absurdly_long_by_the_kernel() {
    let device = open();
    let request = Request::new(8 * PART, half()).how(How::Get);
    cheap(|| {
        for request in [request, request.how(How::Pin)] {
            refused(
                device.pin(&request, Engine::Kernel),
                libc::EFAULT,
                "half of user space",
            );
        }
        let nothing = device
            .pin(&fast_only(request), Engine::Kernel)
            .expect("PIN");
        assert_eq!((nothing.handle(), nothing.nr_pages()), (0, 0));
    });
}

fn no_cut_to_32_bits() {
    let device = open();
    let map = Map::anon(4);
    map.unmap(3 * page_bytes(), page_bytes());
    for nr_pages in [(1_u64 << 32) + 1, (1 << 31) + 2, (1 << 32) - 1, 1 << 32] {
        let Ok(len_bytes) = usize::try_from(nr_pages * page_bytes() as u64) else {
            skip("addresses have 32 bits");
        };
        let request = Request::new(map.addr, len_bytes).how(How::Pin);
        if map.addr + len_bytes >= user_limit() {
            // The range would end beyond user space, so use memory at a lower address.
            let low = 16 * PART;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let map = Map::new(low, 3 * page_bytes(), RW, flags, -1).expect("low memory");
            map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
            map.fill(0);
            let request = Request::new(low, len_bytes).how(How::Pin);
            assert_eq!(
                pin(&device, &fast_only(request)).nr_pages(),
                3,
                "{nr_pages:#x}"
            );
        } else {
            assert_eq!(
                pin(&device, &fast_only(request)).nr_pages(),
                3,
                "{nr_pages:#x}"
            );
        }
    }
}

/// An address with bits that no address of memory has is not the address that is left without them.
fn no_cut_addresses() {
    let beyond: &[u64] = if usize::BITS == 32 {
        &[1 << 32, 1 << 63, 0xffff_ffff << 32]
    } else {
        // A CPU that ignores the top byte does not ignore this bit.
        &[1 << 55]
    };
    let page = page_bytes() as u64;
    let map = Map::anon(4);
    for high in beyond {
        let addr = high | map.addr as u64;
        for len_bytes in [1, page, 2 * page] {
            all_answer(addr, len_bytes, &[libc::EFAULT]);
            let (got, rust, kernel) = compare(&open(), addr, len_bytes);
            assert!(got == libc::EFAULT || (got, rust, kernel) == (0, libc::EFAULT, libc::EFAULT));
        }
        let device = open();
        let handle = pin(&device, &writable(map.addr, map.len_bytes)).into_handle();
        let mut copy = raw::rust_gup_copy {
            handle,
            len_bytes: 8,
            buf: addr,
            ..Default::default()
        };
        for number in [raw::RUST_GUP_IOC_READ, raw::RUST_GUP_IOC_WRITE] {
            assert_eq!(call(&device, number, &mut copy), libc::EFAULT);
        }
        let mut runs = raw::rust_gup_runs {
            handle,
            capacity: 1,
            buf: addr,
            ..Default::default()
        };
        assert_eq!(
            call(&device, raw::RUST_GUP_IOC_RUNS, &mut runs),
            libc::EFAULT
        );
    }
    if usize::BITS == 32 {
        // C computes with as many bits as an address has.
        all_answer(u64::from(u32::MAX) - page + 1, 2 * page, &[libc::EOVERFLOW]);
    }
}

fn too_long_to_compare() {
    let map = Map::anon(1);
    let device = open();
    let max = raw::RUST_GUP_COMPARE_MAX_BYTES;
    let (got, _, _) = compare(&device, map.addr as u64, max + 1);
    assert_eq!(got, libc::EINVAL);
    let (got, _, _) = compare(&device, map.addr as u64, 64 << 40);
    assert_eq!(got, libc::EINVAL);
}
