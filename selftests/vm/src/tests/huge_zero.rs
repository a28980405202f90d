// SPDX-License-Identifier: GPL-2.0

//! Verify that the huge zero page can be freed once its last user is gone, whatever the module did with it. It is
//! counted like any other folio, and `release_pages()` skips it (`folios_put_refs()`, mm/folio.c).
//!
//! Each round runs in a process of its own, because an address space keeps the page until it ends. Then the shrinker
//! drops the page, and its memory must be free.

use std::fs;

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    Device,
    Engine,
    How,
    Request, //
};

use crate::{
    harness::{
        fixture::{
            fast_only,
            field,
            open,
            pin, //
        },
        memory::{
            frames,
            Map, //
        },
        process::{
            Child,
            Rendezvous, //
        },
        proof::{
            kpageflags,
            kpf,
            settle_lists, //
        },
        runner::tests, //
    },
    tests::matrix::{
        huge::untouched,
        situation::touch, //
    }, //
};

tests![pinned, compared, measured];

/// Number of rounds. So many that free pages in per-CPU lists do not matter.
const NR_ROUNDS: u64 = 24;

/// Lets `call` use the huge zero page in one process per round, and fails unless each of these pages is freed.
pub(crate) fn come_and_go(what: &str, call: impl Fn(&Map)) {
    // Without huge pages this skips the test. A child cannot do that.
    drop(untouched(1));
    shrink();
    let (nr_made_before, free_before_kib) = (nr_made(), free_kib());
    let nr_kept: usize = (0..NR_ROUNDS).map(|_| usize::from(is_kept(&call))).sum();
    // The kernel made a new page each round, because the shrinker drops the page even if references are left.
    assert_eq!(nr_made() - nr_made_before, NR_ROUNDS, "{what}: made");
    let lost_kib = free_before_kib.saturating_sub(free_kib());
    let huge_kib = (pmd_bytes() >> 10) as u64;
    assert!(
        nr_kept == 0 && lost_kib < NR_ROUNDS * huge_kib / 2,
        "{what}: of {NR_ROUNDS} huge zero pages {nr_kept} stayed; {lost_kib} KiB less are free"
    );
}

/// Runs one round. Returns whether the folio still exists afterwards.
fn is_kept(call: &impl Fn(&Map)) -> bool {
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(|| {
        let map = untouched(1);
        touch(&map);
        let is_huge_zero = kpf::ZERO_PAGE | kpf::THP;
        map.prove_kind(is_huge_zero, is_huge_zero);
        theirs.send(frames(map.addr, 1)[0]);
        call(&map);
        map.prove_kind(is_huge_zero, is_huge_zero);
    });
    let frame = ours.receive();
    child.join();
    shrink();
    kpageflags(frame, 1)[0] & (kpf::COMPOUND_HEAD | kpf::ZERO_PAGE) != 0
}

/// Makes all shrinkers free what they can, including the huge zero page.
fn shrink() {
    // This also silences the log message of drop_caches.
    settle_lists();
    fs::write("/proc/sys/vm/drop_caches", "2").expect("/proc/sys/vm/drop_caches");
}

/// Returns how many huge zero pages the kernel has made.
fn nr_made() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
    field(&text, "thp_zero_page_alloc").expect("thp_zero_page_alloc in /proc/vmstat")
}

fn free_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    field(&text, "MemFree:").expect("MemFree in /proc/meminfo")
}

/// Returns requests for all of the memory, for single pages, and for bytes across page borders, each as a reference and
/// as a pin.
fn requests(map: &Map) -> Vec<Request> {
    [
        (0, pmd_bytes()),
        (100 * page_bytes(), page_bytes()),
        (7 * page_bytes() - 3, 3 * page_bytes()),
        (pmd_bytes() - page_bytes(), page_bytes()),
    ]
    .into_iter()
    .flat_map(|(at, len)| [How::Get, How::Pin].map(|how| Request::new(map.addr + at, len).how(how)))
    .collect()
}

fn each(map: &Map, call: impl Fn(&Device, &Request)) {
    let device = open();
    for request in requests(map) {
        call(&device, &request);
    }
}

fn pinned() {
    for engine in [Engine::Rust, Engine::Kernel] {
        come_and_go(&format!("PIN, {engine:?}"), |map| {
            each(map, |device, request| {
                let pinned = device.pin(request, engine).expect("PIN");
                let mut byte = [1];
                pinned.read(0, &mut byte).expect("READ");
                assert_eq!(byte, [0]);
            });
        });
        come_and_go(&format!("PIN and an exit, {engine:?}"), |map| {
            let device = open();
            for request in requests(map) {
                device.pin(&request, engine).expect("PIN").into_handle();
            }
            std::mem::forget(device);
        });
    }
    come_and_go("PIN, fast only", |map| {
        each(map, |device, request| {
            drop(pin(device, &fast_only(*request)));
        });
    });
}

fn compared() {
    come_and_go("COMPARE", |map| {
        each(map, |device, request| {
            let compared = device.compare(request).expect("COMPARE");
            assert!(compared.is_equal(), "{:x?}", compared.raw);
        });
    });
}

fn measured() {
    for engine in Engine::ALL {
        come_and_go(&format!("MEASURE, {engine:?}"), |map| {
            each(map, |device, request| {
                for pages_per_call in [100, map.nr_pages() as u32] {
                    let engines = [engine, Engine::Rust];
                    let measured = device.measure(request, engines, 2, pages_per_call);
                    measured.expect("MEASURE");
                }
            });
        });
    }
}
