// SPDX-License-Identifier: GPL-2.0

//! Verify that bytes written through a handle are not lost when the pages are swapped out, neither before the handle is
//! released nor afterwards.

use crate::harness::{
    fixture::{
        holds,
        open,
        pattern,
        pin,
        store,
        writable,
        PINS, //
    },
    memory::Map,
    runner::tests,
    swap::swap, //
};

tests![nothing_written_is_lost];

fn nothing_written_is_lost() {
    let _swap = swap();
    let device = open();
    for how in PINS {
        let map = Map::anon(8);
        let pinned = pin(&device, &writable(map.addr, map.len_bytes).how(how));
        // The pages are not swapped out, because they are held.
        map.advise(0, map.len_bytes, libc::MADV_PAGEOUT);
        let new = pattern(1, map.len_bytes);
        store(&pinned, 0, &new);
        holds(&pinned, 0, &new);
        drop(pinned);
        map.advise(0, map.len_bytes, libc::MADV_PAGEOUT);
        assert!(
            map.load(0, map.len_bytes) == new,
            "{how:?}: what was written got lost"
        );
    }
}
