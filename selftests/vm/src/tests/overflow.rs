// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - the device does not hold a folio so often that its reference count could overflow, whatever the limits: neither
//!   with the walk, nor with the slow path, nor with the kernel's fast function; meanwhile the kernel itself can still
//!   take such a folio, and afterwards the count is correct;
//! - processes without privileges do not come near that limit, no matter how many they are.

use std::{
    fs::File,
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    time::Duration, //
};

use rust_gup_memory::{
    file::memfd,
    size::{
        page_bytes,
        pmd_bytes,
        pud_bytes, //
    },
    Kind, //
};
use rust_gup_uapi::{
    raw,
    Device,
    Engine,
    How,
    Pinned,
    Request, //
};
use rustix::fs::MemfdFlags;

use crate::harness::{
    fixture::{
        fast_only,
        holds,
        open,
        pattern,
        pin,
        refused,
        LASTING, //
    },
    memory::Map,
    process::{
        become_user,
        limit_locked_memory,
        Child,
        NOBODY, //
    },
    runner::{
        skip,
        Test, //
    }, //
};

pub(crate) fn tests() -> Vec<Test> {
    let test =
        |name, body: fn()| Test::new(module_path!(), name, body).within(Duration::from_secs(120));
    vec![
        // The kernel clears 1 GiB, and cannot be interrupted meanwhile.
        test("huge_page", huge_page),
        test("small_page", small_page),
        test("by_many_processes", by_many_processes),
    ]
}

/// A function that makes memory.
type Make = fn() -> Map;

/// The device takes no more references on a folio with this many (`MAX_REFS` in walk/grab.rs).
const MAX_REFS: usize = 1 << 29;

/// Takes a folio by `request` until none of its pages can be taken any more. That must happen after `nr_handles`
/// handles. Then checks which requests still succeed.
fn fill(device: &Device, request: &Request, nr_handles: usize) {
    let nr_pages = (request.len_bytes / page_bytes()) as u64;
    let mut held: Vec<Pinned<'_>> = Vec::new();
    loop {
        let taken = pin(device, &fast_only(*request));
        let stop = taken.raw().stop;
        if stop == raw::RUST_GUP_STOP_NONE {
            assert_eq!(taken.nr_pages(), nr_pages, "handle {}", held.len());
        } else {
            assert_eq!(stop, raw::RUST_GUP_STOP_TOO_MANY_REFS);
        }
        if taken.nr_pages() == 0 {
            break;
        }
        held.push(taken);
        assert!(held.len() <= nr_handles + 1, "{} handles", held.len());
    }
    assert!(held.len() >= nr_handles, "only {} handles", held.len());

    for engine in [Engine::Rust, Engine::Kernel] {
        for how in [How::Get, How::Pin] {
            let result = device.pin(&request.how(how), engine);
            refused(
                result,
                libc::ETOOMANYREFS,
                &format!("{how:?} by {engine:?}"),
            );
        }
    }
    // The kernel can still take the page.
    let page = Request::new(request.addr, page_bytes()).how(How::Pin);
    let measured = device.measure(&page, [Engine::Kernel; 2], 1, 1);
    measured.expect("the kernel takes it and gives it back");

    // The mappings hold references too, so release two handles more than the count suggests.
    held.truncate(nr_handles - 2);
    let taken = pin(device, request);
    assert_eq!(taken.nr_pages(), nr_pages, "there is room again");
}

/// A page of 1 GiB is one folio, and its count gets one reference for each base page.
fn huge_page() {
    // `Kind::Hugetlb1g` would fill the memory, which takes much longer than the rest of the test.
    let Ok(map) = Map::of_pool(pud_bytes(), 1, libc::MAP_PRIVATE) else {
        skip("this machine has no huge pages of 1 GiB: boot with hugepagesz=1G hugepages=1");
    };
    let data = pattern(5, page_bytes());
    map.store(0, &data);
    let device = open();
    for how in [How::Get, How::Pin] {
        fill(&device, &map.request().how(how), MAX_REFS / map.nr_pages());
        holds(&pin(&device, &map.request()), 0, &data);
    }
}

/// Maps the first page of a file `nr` times in a row.
fn mapped_often(fd: i32, nr: usize) -> Map {
    let map = Map::untouched(nr);
    for page in 0..nr {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE;
        let at = std::ptr::with_exposed_provenance_mut(map.addr + page * page_bytes());
        // SAFETY: The replaced pages belong to `map`, and no reference to them exists.
        let got = unsafe { libc::mmap(at, page_bytes(), libc::PROT_READ, flags, fd, 0) };
        assert_eq!(got, at, "mmap of page {page}");
    }
    map
}

/// A pin adds 1024 to the count of a small folio.
fn small_page() {
    const NR_PAGES: usize = 1024;
    let file = memfd(MemfdFlags::empty(), 0).expect("a memfd");
    file.write_all_at(&pattern(3, page_bytes()), 0)
        .expect("write");
    let map = mapped_often(file.as_raw_fd(), NR_PAGES);
    let device = open();
    let request = map.request().how(How::Pin);
    fill(&device, &request, MAX_REFS / 1024 / NR_PAGES);
    holds(&pin(&device, &map.request()), 0, &map.load(0, page_bytes()));
}

/// Maps one page of a file that everybody may read, almost as often as the limit allows.
fn page_of_a_file_of_others() -> Map {
    let program = File::open("/proc/self/exe").expect("this program");
    mapped_often(program.as_raw_fd(), 2040)
}

/// Returns memory that maps the huge zero page, which all processes share that have only read their huge pages. Without
/// huge pages it maps the zero page.
fn zeros() -> Map {
    let map = Map::untouched(LIMIT_PAGES);
    let _ = map.try_advise(0, map.len_bytes, libc::MADV_HUGEPAGE);
    for at in (0..map.len_bytes).step_by(page_bytes()) {
        assert_eq!(map.get(at), 0);
    }
    map
}

/// Returns memory in huge pages, or in small ones where there are no others.
fn huge() -> Map {
    if Kind::Thp2m.map(pmd_bytes()).is_ok() {
        Map::huge(LIMIT_PAGES * page_bytes() / pmd_bytes())
    } else {
        Map::anon(LIMIT_PAGES)
    }
}

const LIMIT_PAGES: usize = 2048;

/// Processes without privileges take pages through the same open file and exit, one after the other. Without a limit
/// for all of them together, a thousand processes would bring the count of the file's page below zero.
fn by_many_processes() {
    const NR_PROCESSES: usize = 12;
    let memory: [(&str, Make); 4] = [
        ("file", page_of_a_file_of_others),
        ("zeros", zeros),
        ("huge", huge),
        ("small", || Map::anon(LIMIT_PAGES - 1)),
    ];
    for (what, make) in memory {
        for how in LASTING {
            let device = open();
            let nr_held = || device.stats().expect("STATS").raw.nr_held_pages as usize;
            Child::run(|| {
                limit_locked_memory(LIMIT_PAGES);
                become_user(NOBODY);
                let map = make();
                for nr in 0..NR_PROCESSES {
                    Child::run(|| match device.pin(&map.request().how(how), Engine::Rust) {
                        Ok(taken) => {
                            taken.into_handle();
                        }
                        error => refused(error, libc::ENOMEM, "beyond the limit"),
                    })
                    .join();
                    assert_eq!(nr_held(), map.nr_pages(), "{what}, {how:?}: process {nr}");
                }
            })
            .join();
            // A process with more privileges can take more, even of the same memory.
            drop(pin(&device, &make().request()));
        }
    }
}
