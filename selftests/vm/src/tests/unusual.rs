// SPDX-License-Identifier: GPL-2.0

//! Verify that the fast walk reports why it stopped
//!
//! - for long-term pins of movable memory: LONGTERM;
//! - for pages that the kernel merged (KSM): UNSHARE for a pin to read, READ_ONLY for write access;
//!
//! and that the slow path does the same as the kernel.

use std::{
    fs,
    thread,
    time::Duration, //
};

use rust_gup_memory::{
    size::{
        page_bytes,
        pmd_bytes, //
    },
    Setting, //
};
use rust_gup_uapi::{
    raw,
    Access,
    How, //
};

use crate::{
    harness::{
        fixture::{
            fast_only,
            holds,
            open,
            pin,
            HOWS, //
        },
        memory::{
            has_movable_memory,
            Map, //
        },
        runner::{
            skip,
            Test, //
        }, //
    },
    tests::stops::stops, //
};

/// ksmd is slow, in particular on an emulated machine.
const MERGE_LIMIT: Duration = Duration::from_secs(90);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new(module_path!(), "movable", movable),
        Test::new(module_path!(), "merged", merged).within(MERGE_LIMIT),
    ]
}

fn movable() {
    if !has_movable_memory() {
        skip("no movable memory: boot with movablecore=512M");
    }
    let device = open();
    let huge = Map::huge(1);
    huge.advise(0, pmd_bytes(), libc::MADV_DONTNEED);
    for map in [Map::untouched(64), huge] {
        map.fill(0);
        let writing = map.request().access(Access::Write).how(How::Pin);
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
        // The slow path moves the pages. After that the fast walk may take them.
        let data = map.load(0, map.len_bytes);
        let pinned = pin(&device, &longterm);
        assert_eq!(pinned.nr_pages(), map.nr_pages() as u64);
        crate::harness::fixture::holds(&pinned, 0, &data);
        drop(pinned);
        assert_eq!(
            pin(&device, &fast_only(longterm)).nr_fast(),
            map.nr_pages() as u64
        );
    }
}

fn merged() {
    const NR_PAGES: usize = 8;
    const SHARING: &str = "/sys/kernel/mm/ksm/pages_sharing";
    let nr_sharing = || -> usize {
        let text = fs::read_to_string(SHARING).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let settings = [
        ("/sys/kernel/mm/ksm/sleep_millisecs", "1"),
        ("/sys/kernel/mm/ksm/pages_to_scan", "1000"),
        ("/sys/kernel/mm/ksm/run", "1"),
    ]
    .map(|(path, value)| Setting::set(path, value));
    if settings.iter().any(Result::is_err) {
        skip("no merging of pages: CONFIG_KSM");
    }
    let before = nr_sharing();
    let maps = HOWS.map(|how| {
        let map = Map::anon(NR_PAGES);
        let same = vec![how as u8 + 1; NR_PAGES * page_bytes()];
        map.store(0, &same);
        if map
            .try_advise(0, map.len_bytes, libc::MADV_MERGEABLE)
            .is_err()
        {
            skip("no merging of pages: CONFIG_KSM");
        }
        (how, map, same)
    });
    let nr_wanted = before + maps.len() * (NR_PAGES - 1);
    while nr_sharing() < nr_wanted {
        thread::sleep(Duration::from_millis(10));
    }
    // The pages stay merged, but ksmd must not take more references while the test compares counts.
    let _at_rest = Setting::set("/sys/kernel/mm/ksm/run", "0").expect("ksmd can be stopped");
    let device = open();
    for (how, map, same) in maps {
        let reading = map.request().how(how);
        let writing = reading.access(Access::Write);
        stops(&device, &writing, 0, raw::RUST_GUP_STOP_READ_ONLY);
        if how == How::Get {
            assert_eq!(
                pin(&device, &fast_only(reading)).nr_fast() as usize,
                NR_PAGES
            );
        } else {
            stops(&device, &reading, 0, raw::RUST_GUP_STOP_UNSHARE);
            let pinned = pin(&device, &reading);
            holds(&pinned, 0, &same);
            map.set(page_bytes(), 99);
            holds(&pinned, page_bytes(), &[99]);
            holds(&pinned, 0, &same[..page_bytes()]);
        }
        let compared = device.compare(&writing).expect("COMPARE").raw;
        assert_eq!(
            (compared.differences, compared.nr_equal as usize),
            (0, NR_PAGES)
        );
    }
}
