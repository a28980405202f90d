// SPDX-License-Identifier: GPL-2.0

//! Verify that, on a machine where the fast walk is off,
//!
//! - it reports that, takes nothing and turns no interrupts off, whatever the request is;
//! - the slow path takes all pages, the same ones as the kernel's functions.
//!
//! Such a machine is a paravirtualized guest of Xen, whose page tables hold the machine's frame numbers, not its own; or
//! one of PowerPC with hash tables.

use rust_gup_memory::{
    size::page_bytes,
    Kind, //
};
use rust_gup_uapi::raw;

use crate::{
    harness::{
        fixture::{
            frames_of,
            holds,
            open,
            pin,
            stats,
            walk_is_off, //
        },
        memory::{
            frames,
            Map, //
        },
        runner::Test, //
    },
    tests::stops::{
        all_ways,
        stopped,
        stops, //
    }, //
};

pub(crate) fn tests() -> Vec<Test> {
    // On other machines these tests do not exist.
    if !walk_is_off() {
        return Vec::new();
    }
    vec![Test::new(
        module_path!(),
        "slow_path_alone",
        slow_path_alone,
    )]
}

fn slow_path_alone() {
    let device = open();
    let before = stats().expect("STATS");
    for map in [Map::anon(16), Map::of(Kind::Memfd, 16 * page_bytes())] {
        let data = map.load(0, map.len_bytes);
        for request in all_ways(&map) {
            stops(&device, &request, 0, raw::RUST_GUP_STOP_OFF);
            let taken = pin(&device, &request);
            stopped(&taken, &request, 0, raw::RUST_GUP_STOP_OFF);
            assert_eq!(taken.nr_pages(), 16, "{request:x?}");
            holds(&taken, 0, &data);
            assert_eq!(frames_of(&taken), frames(map.addr, 16), "{request:x?}");
            let compared = device.compare(&request).expect("COMPARE");
            assert_eq!(compared.differences(), Vec::<&str>::new(), "{request:x?}");
        }
    }
    let after = stats().expect("STATS");
    assert_eq!(
        after.nr_windows, before.nr_windows,
        "sections with interrupts off"
    );
    assert_eq!(after.nr_fast, before.nr_fast, "pages of the fast walk");
    assert!(after.nr_slow > before.nr_slow, "pages of the slow path");
}
