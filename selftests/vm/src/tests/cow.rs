// SPDX-License-Identifier: GPL-2.0

//! Verify that, for small pages, huge pages (also mapped in small pages) and huge pages of the pool,
//!
//! - pages pinned before a fork stay their owner's: the pin shows what the owner writes afterwards, the owner sees what
//!   is written through the pin, and the child keeps seeing the old bytes;
//! - the same holds for pages pinned for reading, before the fork or while they are shared with the child;
//! - the same holds in the child, for pages that the child pins;
//! - pages that the owner gave back (MADV_DONTNEED) keep their contents for the holder, and the owner gets new ones.

use rust_gup_memory::{
    size::page_bytes,
    Kind,
    Setting, //
};
use rust_gup_uapi::{
    raw,
    Access,
    How,
    Pinned,
    Request, //
};

use crate::harness::{
    fixture::{
        fast_only,
        holds,
        open,
        pattern,
        pin,
        store,
        ACCESSES,
        HOWS,
        PINS, //
    },
    memory::{
        has_movable_memory,
        hugetlb_pool,
        Map, //
    },
    process::{
        Child,
        Rendezvous, //
    },
    runner::{
        skip,
        Test, //
    }, //
};

const KINDS: [Kind; 5] = [
    Kind::Anon4k,
    Kind::Thp2m,
    Kind::Thp2mSplit,
    Kind::Mthp64k,
    Kind::Hugetlb2m,
];
/// A test of one kind of memory. It looks at the bytes, not at the frames.
type Case = fn(Kind);
const CASES: [(&str, Case); 6] = [
    ("pinned_before_fork", pinned_before_fork),
    ("pinned_while_shared", pinned_while_shared),
    ("pinned_by_the_child", pinned_by_the_child),
    ("pinned_after_the_child", pinned_after_the_child),
    ("part_pinned_before_fork", part_pinned_before_fork),
    ("given_back", given_back),
];

pub(crate) fn tests() -> Vec<Test> {
    KINDS
        .into_iter()
        .flat_map(|kind| {
            CASES.map(|(name, case)| {
                let run = move || {
                    let _pool = pool(kind);
                    case(kind);
                };
                Test::new(module_path!(), &format!("{kind}::{name}"), run)
            })
        })
        .collect()
}

/// Reserves enough pages of the pool for a mapping and the copies of both sides.
fn pool(kind: Kind) -> Option<Setting> {
    if kind != Kind::Hugetlb2m {
        return None;
    }
    if has_movable_memory() {
        skip("the pool lies in movable memory, where nothing may be pinned for long: boot without movablecore");
    }
    hugetlb_pool(8)
}

fn memory(kind: Kind) -> Map {
    let map = Map::of(kind, 8 * page_bytes());
    map.settle(0, map.len_bytes);
    map
}

/// A child that checks the memory that it shares with its parent.
struct Witness {
    ours: Rendezvous,
    child: Child,
}

impl Witness {
    /// Forks a child that expects `expected` in `map` each time it is asked.
    fn of(map: &Map, expected: &[u8]) -> Self {
        let (ours, theirs) = Rendezvous::pair();
        let child = Child::run(move || {
            while theirs.wait_for_more() {
                let seen = map.load(0, expected.len());
                assert!(
                    seen == expected,
                    "the child sees what was written after the fork"
                );
                theirs.signal();
            }
        });
        Self { ours, child }
    }

    /// Asks the child to check the memory, and waits until it has done so.
    fn look(&self) {
        self.ours.signal();
        self.ours.wait();
    }

    fn dismiss(self) {
        self.ours.end();
        self.child.join();
    }
}

/// Fails unless owner and holder see each other's bytes, at both ends and in the middle. `seed` selects the bytes.
fn together(map: &Map, pinned: &Pinned<'_>, at: usize, len: usize, seed: usize) {
    let nr = len.min(page_bytes() + 10);
    for (i, offset) in [0, (len - nr) / 2, len - nr].into_iter().enumerate() {
        let by_owner = pattern(seed + 2 * i, nr);
        map.store(at + offset, &by_owner);
        holds(pinned, offset, &by_owner);
        if pinned_for_writing(pinned) {
            let by_holder = pattern(seed + 2 * i + 1, nr);
            store(pinned, offset, &by_holder);
            assert!(
                map.load(at + offset, nr) == by_holder,
                "the owner sees what the holder wrote"
            );
        }
    }
}

fn pinned_for_writing(pinned: &Pinned<'_>) -> bool {
    let both = raw::RUST_GUP_PIN | raw::RUST_GUP_WRITE;
    pinned.raw().flags & both == both
}

fn pinned_before_fork(kind: Kind) {
    let device = open();
    for how in PINS {
        for access in ACCESSES {
            let map = memory(kind);
            let old = map.fill(how as usize);
            let request = map.request().how(how).access(access);
            let pinned = pin(&device, &request);
            assert_eq!(
                pinned.nr_fast(),
                map.nr_pages() as u64,
                "{kind}: {:?}",
                pinned.stop()
            );
            let witness = Witness::of(&map, &old);
            witness.look();
            together(&map, &pinned, 0, map.len_bytes, 10);
            witness.look();
            let second = Witness::of(&map, &map.load(0, map.len_bytes));
            together(&map, &pinned, 0, map.len_bytes, 20);
            second.look();
            witness.look();
            second.dismiss();
            witness.dismiss();
            together(&map, &pinned, 0, map.len_bytes, 30);
        }
    }
}

fn pinned_while_shared(kind: Kind) {
    let device = open();
    for how in PINS {
        for access in ACCESSES {
            let map = memory(kind);
            let old = map.fill(1);
            let witness = Witness::of(&map, &old);
            witness.look();
            let request = map.request().how(how).access(access);
            assert_eq!(
                pin(&device, &fast_only(request)).nr_pages(),
                0,
                "shared pages"
            );
            let pinned = pin(&device, &request);
            assert_eq!(pinned.nr_pages() as usize, map.nr_pages());
            holds(&pinned, 0, &old);
            together(&map, &pinned, 0, map.len_bytes, 10);
            witness.look();
            // The owner now has pages of its own.
            assert_eq!(
                pin(&device, &fast_only(request)).nr_fast() as usize,
                map.nr_pages()
            );
            witness.dismiss();
            together(&map, &pinned, 0, map.len_bytes, 20);
        }
    }
}

fn pinned_by_the_child(kind: Kind) {
    for access in ACCESSES {
        let map = memory(kind);
        let old = map.fill(2);
        let (ours, theirs) = Rendezvous::pair();
        let shared = &map;
        let expected = &old;
        let child = Child::run(move || {
            let (map, old) = (shared, expected);
            let device = open();
            let pinned = pin(&device, &map.request().access(access));
            theirs.signal();
            theirs.wait();
            // The parent has written to its memory meanwhile.
            assert!(
                map.load(0, old.len()) == *old,
                "the child's memory is its own"
            );
            holds(&pinned, 0, old);
            together(map, &pinned, 0, map.len_bytes, 10);
            theirs.signal();
            theirs.wait();
        });
        ours.wait();
        let new = map.fill(3);
        ours.signal();
        ours.wait();
        assert!(
            map.load(0, new.len()) == new,
            "the parent's memory is its own"
        );
        ours.signal();
        child.join();
    }
}

fn pinned_after_the_child(kind: Kind) {
    let device = open();
    for access in ACCESSES {
        let map = memory(kind);
        let old = map.fill(4);
        Witness::of(&map, &old).dismiss();
        // The pages are still mapped read-only, but no other process maps them.
        let pinned = pin(&device, &map.request().access(access));
        holds(&pinned, 0, &old);
        together(&map, &pinned, 0, map.len_bytes, 10);
    }
}

fn part_pinned_before_fork(kind: Kind) {
    let device = open();
    for how in PINS {
        let map = memory(kind);
        let old = map.fill(5);
        let (at, len) = (3 * page_bytes() + 100, 2 * page_bytes());
        let request = Request::new(map.addr + at, len)
            .how(how)
            .access(Access::Write);
        let pinned = pin(&device, &request);
        let witness = Witness::of(&map, &old);
        map.fill(6);
        witness.look();
        together(&map, &pinned, at, len, 10);
        witness.look();
        witness.dismiss();
    }
}

fn given_back(kind: Kind) {
    let device = open();
    for how in HOWS {
        for access in ACCESSES {
            let map = memory(kind);
            let old = map.fill(7);
            let pinned = pin(&device, &map.request().how(how).access(access));
            map.advise(0, map.len_bytes, libc::MADV_DONTNEED);
            holds(&pinned, 0, &old);
            assert!(
                map.load(0, map.len_bytes).iter().all(|b| *b == 0),
                "new memory is zero"
            );
            map.fill(8);
            holds(&pinned, 0, &old);
            if access == Access::Write && how != How::Get {
                store(&pinned, 0, &pattern(9, old.len()));
                holds(&pinned, 0, &pattern(9, old.len()));
            }
            assert!(
                map.load(0, old.len()) == pattern(8, old.len()),
                "the owner's new memory"
            );
        }
    }
}
