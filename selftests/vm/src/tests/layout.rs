// SPDX-License-Identifier: GPL-2.0

//! Verify that, for the structure of each call,
//!
//! - a larger one is served if the part that the module does not know is zero, and that part is zero on return;
//! - a larger one with other contents there is refused with E2BIG, before the call does anything;
//! - one smaller than the first published size is refused with EINVAL, and one of exactly that size is served, however
//!   much the structure has grown since;
//! - the module reads and writes exactly as many bytes as the call number says;
//! - one that cannot be read or written gives EFAULT, and no pages stay taken;
//! - one that names an inaccessible buffer gives EFAULT.

use std::mem::size_of;

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device, //
};

use crate::{
    arch::KERNEL_ADDRESSES,
    harness::{
        fixture::{
            bytes_of,
            call,
            call_at,
            open,
            pin,
            stats,
            writable, //
        },
        memory::{
            Map,
            RW, //
        },
        number::{
            self,
            MAX_SIZE, //
        },
        runner::tests, //
    }, //
};

tests![
    larger_with_zeros,
    larger_with_unknown_bytes,
    smaller_than_the_first,
    as_small_as_the_first,
    at_the_end_of_a_page,
    beyond_the_end_of_a_page,
    bad_addresses,
    read_only_memory,
    bad_buffers,
];

const NR_PAGES: usize = 4;

/// Memory of this process, and a handle to it.
struct Scene {
    device: Device,
    handle: u64,
    map: Map,
    /// A buffer for the data and runs that the calls write.
    buffer: Map,
}

impl Scene {
    fn new() -> Self {
        let device = open();
        let map = Map::anon(NR_PAGES);
        let handle = pin(&device, &writable(map.addr, map.len_bytes)).into_handle();
        Self {
            device,
            handle,
            map,
            buffer: Map::anon(1),
        }
    }

    fn call(&self, number: u32, addr: usize) -> i32 {
        call_at(&self.device, number, addr)
    }
}

/// A call, and a function that makes a valid structure for it.
struct Call {
    name: &'static str,
    number: u32,
    argument: fn(&Scene) -> Vec<u8>,
    /// By how many bytes the structure has grown since it was first published.
    grown: usize,
}

impl Call {
    fn size(&self) -> usize {
        number::size(self.number)
    }

    /// Returns the size that was first published, in bytes.
    fn first_size(&self) -> usize {
        self.size() - self.grown
    }

    /// Returns the number of the same call with a structure of another size.
    fn resized(&self, size: usize) -> u32 {
        number::resized(self.number, size)
    }

    /// Whether the module reads the structure.
    fn reads(&self) -> bool {
        number::reads(self.number)
    }

    /// Whether the module writes the structure.
    fn writes(&self) -> bool {
        number::writes(self.number)
    }
}

fn copy(scene: &Scene) -> Vec<u8> {
    bytes_of(raw::rust_gup_copy {
        handle: scene.handle,
        offset: 1,
        len_bytes: 100,
        buf: scene.buffer.addr as u64,
    })
}

const CALLS: [Call; 9] = [
    Call {
        name: "INFO",
        number: raw::RUST_GUP_IOC_INFO,
        argument: |_| vec![0; size_of::<raw::rust_gup_info>()],
        grown: 32,
    },
    Call {
        name: "STATS",
        number: raw::RUST_GUP_IOC_STATS,
        argument: |_| vec![0; size_of::<raw::rust_gup_stats>()],
        grown: 8,
    },
    Call {
        name: "READ",
        number: raw::RUST_GUP_IOC_READ,
        argument: copy,
        grown: 0,
    },
    Call {
        name: "WRITE",
        number: raw::RUST_GUP_IOC_WRITE,
        argument: copy,
        grown: 0,
    },
    Call {
        name: "UNPIN",
        number: raw::RUST_GUP_IOC_UNPIN,
        argument: |scene| {
            bytes_of(raw::rust_gup_unpin {
                handle: scene.handle,
            })
        },
        grown: 0,
    },
    Call {
        name: "PIN",
        number: raw::RUST_GUP_IOC_PIN,
        argument: |scene| {
            bytes_of(raw::rust_gup_pin {
                addr: scene.map.addr as u64,
                len_bytes: scene.map.len_bytes as u64,
                flags: raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
                ..Default::default()
            })
        },
        grown: 0,
    },
    Call {
        name: "RUNS",
        number: raw::RUST_GUP_IOC_RUNS,
        argument: |scene| {
            bytes_of(raw::rust_gup_runs {
                handle: scene.handle,
                buf: scene.buffer.addr as u64,
                capacity: NR_PAGES as u64,
                ..Default::default()
            })
        },
        grown: 0,
    },
    Call {
        name: "COMPARE",
        number: raw::RUST_GUP_IOC_COMPARE,
        argument: |scene| {
            bytes_of(raw::rust_gup_compare {
                addr: scene.map.addr as u64,
                len_bytes: scene.map.len_bytes as u64,
                flags: raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
                ..Default::default()
            })
        },
        grown: 40,
    },
    Call {
        name: "MEASURE",
        number: raw::RUST_GUP_IOC_MEASURE,
        argument: |scene| {
            bytes_of(raw::rust_gup_measure {
                addr: scene.map.addr as u64,
                len_bytes: scene.map.len_bytes as u64,
                flags: raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
                rounds: 1,
                engine_b: raw::RUST_GUP_ENGINE_KERNEL,
                pages_per_call: 1,
                samples: scene.buffer.addr as u64,
                ..Default::default()
            })
        },
        grown: 0,
    },
];

fn nr_handles() -> u64 {
    stats().expect("STATS").nr_handles
}

fn larger_with_zeros() {
    for c in &CALLS {
        // The number of a call has room for less than a page, if pages are large.
        let most = MAX_SIZE - c.size();
        for extra in [1, 8, page_bytes().min(most), most] {
            let scene = Scene::new();
            let mut structure = (c.argument)(&scene);
            let asked = structure.clone();
            structure.resize(c.size() + extra, 0);
            let addr = structure.as_mut_ptr().expose_provenance();
            let got = scene.call(c.resized(structure.len()), addr);
            assert_eq!(got, 0, "{} and {extra} bytes", c.name);
            let (known, unknown) = structure.split_at(c.size());
            assert!(
                unknown.iter().all(|b| *b == 0),
                "{}: unknown bytes stay zero",
                c.name
            );
            assert_eq!(known != asked, c.writes(), "{}: output is written", c.name);
        }
    }
}

fn larger_with_unknown_bytes() {
    for c in &CALLS {
        let many = page_bytes().min(MAX_SIZE - c.size());
        for (extra, at) in [(1, 0), (8, 7), (many, many - 1), (many, 1)] {
            let scene = Scene::new();
            let before = nr_handles();
            let mut structure = (c.argument)(&scene);
            structure.resize(c.size() + extra, 0);
            structure[c.size() + at] = 1;
            let addr = structure.as_mut_ptr().expose_provenance();
            let got = scene.call(c.resized(structure.len()), addr);
            if c.reads() || got != 0 {
                assert_eq!(got, libc::E2BIG, "{}, byte {at} of {extra}", c.name);
                assert_eq!(nr_handles(), before, "{} did something", c.name);
            } else {
                // The module does not read such a structure, so any contents are accepted. On return the unknown part
                // must be zero.
                assert!(structure[c.size()..].iter().all(|b| *b == 0), "{}", c.name);
            }
        }
    }
}

fn smaller_than_the_first() {
    for c in &CALLS {
        let first = c.first_size();
        for size in [0, 1, first / 2, first - 8, first - 1] {
            let scene = Scene::new();
            let before = nr_handles();
            let mut structure = (c.argument)(&scene);
            let asked = structure.clone();
            let addr = structure.as_mut_ptr().expose_provenance();
            let got = scene.call(c.resized(size), addr);
            assert_eq!(got, libc::EINVAL, "{} of {size} bytes", c.name);
            assert_eq!(
                structure, asked,
                "{} of {size} bytes wrote something",
                c.name
            );
            assert_eq!(nr_handles(), before, "{} did something", c.name);
        }
    }
}

fn as_small_as_the_first() {
    for c in &CALLS {
        for size in c.first_size()..c.size() {
            let scene = Scene::new();
            let mut structure = (c.argument)(&scene);
            structure[size..].fill(0x5a);
            let addr = structure.as_mut_ptr().expose_provenance();
            let got = scene.call(c.resized(size), addr);
            assert_eq!(got, 0, "{} of {size} bytes", c.name);
            assert!(
                structure[size..].iter().all(|b| *b == 0x5a),
                "{}: only {size} bytes were to be written",
                c.name
            );
        }
    }
}

/// Puts the structure of `c` at `room` bytes before an unmapped page. Returns the memory and the structure's address.
fn before_a_hole(c: &Call, scene: &Scene, room: usize) -> (Map, usize) {
    let map = Map::anon(3);
    map.unmap(2 * page_bytes(), page_bytes());
    let at = 2 * page_bytes() - room;
    let structure = (c.argument)(scene);
    map.store(at, &structure[..room.min(structure.len())]);
    let addr = map.addr + at;
    (map, addr)
}

fn at_the_end_of_a_page() {
    for c in &CALLS {
        let scene = Scene::new();
        let (map, addr) = before_a_hole(c, &scene, c.size());
        let guard_byte = map.get(addr - map.addr - 1);
        assert_eq!(scene.call(c.number, addr), 0, "{}", c.name);
        assert_eq!(
            map.get(addr - map.addr - 1),
            guard_byte,
            "{}: byte before it",
            c.name
        );
    }
}

fn beyond_the_end_of_a_page() {
    for c in &CALLS {
        for room in [1, c.size() / 2, c.size() - 1] {
            let scene = Scene::new();
            let before = nr_handles();
            let (_map, addr) = before_a_hole(c, &scene, room);
            assert_eq!(
                scene.call(c.number, addr),
                libc::EFAULT,
                "{}, {room} bytes",
                c.name
            );
            assert_eq!(nr_handles(), before, "{} did something", c.name);
        }
        // A newer, larger structure whose last bytes cannot be read.
        let scene = Scene::new();
        let (_map, addr) = before_a_hole(c, &scene, c.size());
        let got = scene.call(c.resized(c.size() + 8), addr);
        assert_eq!(got, libc::EFAULT, "{}, larger", c.name);
    }
}

/// Returns addresses at which there can be no structure.
fn no_structure() -> impl Iterator<Item = usize> {
    let always = [0, 8, usize::MAX - 7];
    always.into_iter().chain(KERNEL_ADDRESSES.iter().copied())
}

fn bad_addresses() {
    for c in &CALLS {
        let scene = Scene::new();
        let before = nr_handles();
        for addr in no_structure() {
            assert_eq!(
                scene.call(c.number, addr),
                libc::EFAULT,
                "{} at {addr:#x}",
                c.name
            );
        }
        assert_eq!(nr_handles(), before, "{} did something", c.name);
    }
}

fn read_only_memory() {
    for c in &CALLS {
        let scene = Scene::new();
        let before = nr_handles();
        let map = Map::anon(1);
        map.store(0, &(c.argument)(&scene));
        map.protect(0, page_bytes(), libc::PROT_READ);
        let expected = if c.writes() { libc::EFAULT } else { 0 };
        assert_eq!(scene.call(c.number, map.addr), expected, "{}", c.name);
        if c.writes() {
            assert_eq!(
                nr_handles(),
                before,
                "{}: nobody knows what it took",
                c.name
            );
        }
        map.protect(0, page_bytes(), RW);
    }
}

fn bad_buffers() {
    let scene = Scene::new();
    let hole = Map::anon(2);
    hole.unmap(page_bytes(), page_bytes());
    let straddling = [hole.addr + page_bytes() - 8];
    for addr in no_structure().chain(straddling) {
        let buf = addr as u64;
        for number in [raw::RUST_GUP_IOC_READ, raw::RUST_GUP_IOC_WRITE] {
            let mut copy = raw::rust_gup_copy {
                handle: scene.handle,
                offset: 0,
                len_bytes: 16,
                buf,
            };
            assert_eq!(
                call(&scene.device, number, &mut copy),
                libc::EFAULT,
                "{number:#x} {buf:#x}"
            );
        }
        let mut runs = raw::rust_gup_runs {
            handle: scene.handle,
            buf,
            capacity: 1,
            ..Default::default()
        };
        let got = call(&scene.device, raw::RUST_GUP_IOC_RUNS, &mut runs);
        assert_eq!(got, libc::EFAULT, "RUNS {buf:#x}");
        let mut measure = raw::rust_gup_measure {
            addr: scene.map.addr as u64,
            len_bytes: scene.map.len_bytes as u64,
            rounds: 1,
            engine_b: raw::RUST_GUP_ENGINE_KERNEL,
            pages_per_call: 1,
            samples: buf,
            ..Default::default()
        };
        let got = call(&scene.device, raw::RUST_GUP_IOC_MEASURE, &mut measure);
        assert_eq!(got, libc::EFAULT, "MEASURE {buf:#x}");
    }
}
