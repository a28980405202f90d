// SPDX-License-Identifier: GPL-2.0

//! Verify that, where the CPU ignores the top byte of an address,
//!
//! - a range is the same with and without a tag in that byte, for both engines and for each call;
//! - memory whose tags are checked (MTE) is taken whatever tags the address and the memory have, also if the tag of the
//!   memory changes within the range.

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    Access,
    Device,
    Engine,
    Request, //
};

use crate::{
    arch,
    harness::{
        fixture::{
            frames_of,
            open,
            HOWS, //
        },
        memory::{
            Map,
            RW, //
        },
        runner::{
            skip,
            Test, //
        }, //
    }, //
};

const NR_PAGES: usize = 40;
/// The size of the memory that has one tag.
const GRANULE_BYTES: usize = 16;

/// Returns the tests, none on a CPU that looks at all of an address.
pub(crate) fn tests() -> Vec<Test> {
    if !arch::IGNORES_TOP_BYTE {
        return Vec::new();
    }
    vec![
        Test::new(module_path!(), "top_byte", top_byte),
        Test::new(module_path!(), "checked", checked),
    ]
}

/// Checks that a range at `addr` consists of the pages of `map`.
fn is_the_same(device: &Device, map: &Map, addr: usize) {
    let request = |addr| Request::new(addr, map.len_bytes).access(Access::Write);
    for how in HOWS {
        let plain = device
            .pin(&request(map.addr).how(how), Engine::Rust)
            .expect("PIN");
        for engine in [Engine::Rust, Engine::Kernel] {
            let tagged = device
                .pin(&request(addr).how(how), engine)
                .expect("PIN with a tag");
            assert_eq!(frames_of(&tagged), frames_of(&plain), "{how:?}, {engine:?}");
            assert_eq!(
                tagged.nr_fast(),
                if engine == Engine::Rust {
                    NR_PAGES as u64
                } else {
                    0
                }
            );
        }
        drop(plain);
        let compared = device
            .compare(&request(addr).how(how))
            .expect("COMPARE with a tag");
        assert!(compared.is_equal(), "{:?}", compared.differences());
    }
}

fn top_byte() {
    let device = open();
    let map = Map::anon(NR_PAGES);
    for tag in [1, 0x2a, 0x7f, 0xff_usize] {
        is_the_same(&device, &map, map.addr | tag << (usize::BITS - 8));
    }
}

fn checked() {
    let tags = arch::MEMORY_TAGS.filter(|tags| (tags.is_there)());
    let Some(tags) = tags else {
        skip("no memory tags: -machine virt,mte=on");
    };
    let device = open();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let map = Map::new(0, NR_PAGES * page_bytes(), RW | tags.prot, flags, -1).expect("memory");
    map.advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
    let contents = map.fill(1);
    (tags.check)(false);
    for offset in (0..map.len_bytes).step_by(GRANULE_BYTES) {
        let tag = if offset < map.len_bytes / 2 { 3 } else { 5 };
        // SAFETY: The map is writable, and has tags.
        unsafe { (tags.set)((tags.tagged)(map.addr + offset, tag)) };
    }
    (tags.check)(true);
    // No tag, the tag of either half, and another one.
    for tag in [0, 3, 5, 9] {
        is_the_same(&device, &map, (tags.tagged)(map.addr, tag));
    }
    let pinned = device
        .pin(
            &Request::new((tags.tagged)(map.addr, 3), map.len_bytes),
            Engine::Rust,
        )
        .expect("PIN");
    let mut copied = vec![0; contents.len()];
    pinned.read(0, &mut copied).expect("READ");
    (tags.check)(false);
    assert!(copied == contents, "the handle has other contents");
}
