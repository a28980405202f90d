// SPDX-License-Identifier: GPL-2.0

//! Verify that device memory stays as long as it is held, by references and by pins, with each engine:
//!
//! - a device-dax device waits until the last of its held pages is released, and then goes;
//! - with fsdax, a truncation, a hole punch, and the unmount with the removal of the device below wait for the last
//!   held page too;
//! - meanwhile the pages keep their contents, and afterwards no more pages of the mapping can be taken;
//! - no run of device memory crosses a border at which another page map may begin.

use std::{
    fs::File,
    os::fd::AsRawFd,
    thread::{
        self,
        JoinHandle, //
    },
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes,
    pud_bytes, //
};
use rust_gup_uapi::{
    Engine,
    How,
    Request, //
};

use crate::harness::{
    fixture::{
        errno,
        holds,
        open,
        punch,
        scaled,
        HOWS, //
    },
    memory::{
        Map,
        RW, //
    },
    pmem::{
        self,
        by_pmd,
        file,
        mapped,
        new_device,
        open_device,
        Driver,
        Fs, //
    },
    runner::Test, //
};

/// How long a test watches that something still waits.
const A_WHILE: Duration = Duration::from_millis(300);
/// How long something may take once it does not have to wait any more.
const PATIENCE: Duration = Duration::from_secs(10);
const ENGINES: [Engine; 2] = [Engine::Rust, Engine::Kernel];

/// Returns no tests on a machine without such memory.
pub(crate) fn tests() -> Vec<Test> {
    if !pmem::is_there() {
        return Vec::new();
    }
    let test = |name, run: fn()| Test::new(module_path!(), name, run).within(scaled(PATIENCE * 6));
    let mut tests = vec![
        test("ext4_waits_for_base_pages", || files(Fs::Ext4, false)),
        test("ext4_waits_for_huge_pages", || files(Fs::Ext4, true)),
        test("xfs_waits_for_base_pages", || files(Fs::Xfs, false)),
        test("xfs_waits_for_huge_pages", || files(Fs::Xfs, true)),
    ];
    let logging = [
        test("device_of_4k_waits", || devices(page_bytes())),
        test("device_of_2m_waits", || devices(pmd_bytes())),
        test("device_of_1g_waits", || devices(pud_bytes())),
        test("runs_of_a_device", runs),
        test("file_system_waits", file_system),
    ];
    tests.extend(logging.map(|test| test.expect_log(pmem::LOG)));
    tests
}

/// An operation in a thread of its own that has to wait for held pages.
struct Waiting(JoinHandle<()>);

impl Waiting {
    fn begin(run: impl FnOnce() + Send + 'static) -> Self {
        Self(thread::spawn(run))
    }

    #[track_caller]
    fn still(&self, what: &str) {
        thread::sleep(A_WHILE);
        assert!(!self.0.is_finished(), "{what}: did not wait");
    }

    #[track_caller]
    fn ends(self, what: &str) {
        let deadline = Instant::now() + scaled(PATIENCE);
        while !self.0.is_finished() {
            assert!(Instant::now() < deadline, "{what}: still waits");
            thread::sleep(Duration::from_millis(5));
        }
        self.0.join().expect("it did not fail");
    }
}

/// Returns all ways of taking pages of device memory, with each engine.
fn ways(longterm: bool) -> impl Iterator<Item = (How, Engine)> {
    HOWS.into_iter()
        .filter(move |how| longterm || *how != How::LongTerm)
        .flat_map(|how| ENGINES.map(|engine| (how, engine)))
}

/// Holds all of `map` and its last page once more, starts `run`, which has to wait, and releases one after the other.
/// Held pages must keep their contents meanwhile.
fn waits(map: &Map, (how, engine): (How, Engine), run: impl FnOnce() + Send + 'static) {
    let what = format!("{how:?}, {}", engine.name());
    let device = open();
    let hold = |request: Request| device.pin(&request.how(how), engine).expect("PIN");
    let all = hold(map.request());
    let last = hold(Request::new(map.end() - page_bytes(), page_bytes()));
    assert_eq!(all.nr_pages(), map.nr_pages() as u64, "{what}");
    let data = map.load(0, map.len_bytes);

    let waiting = Waiting::begin(run);
    waiting.still(&what);
    holds(&all, 0, &data);
    drop(all);
    waiting.still(&format!("{what}, one of two released"));
    holds(&last, 0, &data[map.len_bytes - page_bytes()..]);
    drop(last);
    waiting.ends(&what);
}

/// Fails unless the pages of `map` can no longer be taken.
fn nothing_left(map: &Map, (how, _): (How, Engine)) {
    let device = open();
    for engine in ENGINES {
        let refused = errno(device.pin(&map.request().how(how), engine));
        assert_eq!(refused, libc::EFAULT, "{how:?}, {}", engine.name());
    }
}

/// Holds pages of a device while it is unbound.
fn devices(align: usize) {
    drop(new_device(align));
    for way in ways(true) {
        let device = open_device();
        let len_bytes = align.max(pmd_bytes());
        let place = (device.as_raw_fd(), 0);
        let map = Map::guarded(len_bytes, len_bytes, RW, libc::MAP_SHARED, place);
        let map = map.expect("the device is mapped");
        // To save time, test only a part of the largest leaf.
        let part = map.part(map.len_bytes - pmd_bytes(), pmd_bytes());
        part.fill(1);
        waits(&part, way, || Driver::DeviceDax.unbind());
        nothing_left(&part, way);
        // Close the device before it is bound again. Binding makes a new `struct cdev`, even while the old one is open.
        drop((map, device));
        Driver::DeviceDax.bind();
    }
}

/// Returns a file and a mapping of it by huge leaves or base pages, with all pages of the mapping touched.
fn filled(fs: Fs, huge: bool) -> (File, Map) {
    let flags = libc::MAP_SHARED;
    let (file, map) = if huge {
        by_pmd(fs, flags)
    } else {
        let file = file(fs, 2 * pmd_bytes());
        let map = mapped(&file, pmd_bytes(), flags, page_bytes());
        (file, map)
    };
    map.fill(1);
    (file, map)
}

/// Holds pages of a file while it is truncated or gets a hole.
fn files(fs: Fs, huge: bool) {
    for way in ways(false) {
        let (file, map) = filled(fs, huge);
        waits(&map, way, move || file.set_len(0).expect("ftruncate"));
        nothing_left(&map, way);

        let (file, map) = filled(fs, huge);
        waits(&map, way, move || punch(&file, (0, 2 * pmd_bytes())));
        assert!(map.load(0, map.len_bytes).iter().all(|byte| *byte == 0));
    }
}

/// Holds pages of a file while the file is given up, its file system unmounted, and the device below it unbound.
fn file_system() {
    for way in ways(false) {
        let (file, map) = filled(Fs::Xfs, true);
        let part = map.part(0, map.len_bytes);
        waits(&part, way, || {
            // The file has no name, so this drops the last reference to it.
            drop((file, map));
            pmem::unmount();
            Driver::NdPmem.unbind();
        });
        Driver::NdPmem.bind();
    }
}

/// Takes one piece of contiguous device memory, and checks that its runs end at leaf borders.
fn runs() {
    let pages_a_leaf = (pmd_bytes() / page_bytes()) as u64;
    for align in [page_bytes(), pmd_bytes()] {
        let file = new_device(align);
        let place = (file.as_raw_fd(), 0);
        let map =
            Map::guarded(4 * pmd_bytes(), pmd_bytes(), RW, libc::MAP_SHARED, place).expect("mmap");
        map.fill(1);
        let device = open();
        for (how, engine) in ways(true) {
            let pinned = device.pin(&map.request().how(how), engine).expect("PIN");
            let runs = pinned.runs().expect("RUNS");
            let runs: Vec<_> = runs
                .iter()
                .map(|run| (run.pfn.expect("root may see it"), run.nr_pages))
                .collect();
            let what = format!("{align:#x}, {how:?}, {}: {runs:x?}", engine.name());
            assert_eq!(runs.len(), 4, "{what}");
            assert!(
                runs.iter()
                    .all(|&(pfn, nr)| pfn % pages_a_leaf == 0 && nr == pages_a_leaf),
                "{what}"
            );
            let ends = runs.windows(2);
            assert!(
                ends.into_iter()
                    .all(|pair| pair[0].0 + pages_a_leaf == pair[1].0),
                "{what}: one piece"
            );
        }
    }
}
