// SPDX-License-Identifier: GPL-2.0

//! How sequences are made up. What is more likely is what leads to more different entries, side by side.

use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof, Just, Strategy};
use proptest::sample::select;
use rust_gup_uapi::{Access, Engine, Fallback};

use super::place::{Place, Spot};
use super::step::{
    Advice, By, Denies, Group, Memory, Notice, Op, Piece, Rights, Sequence, Sizes, Take,
};
use crate::fixture::{ACCESSES, HOWS, HUGE, PAGE};

const PAGES_A_LEAF: usize = HUGE / PAGE;

/// A sequence: many ranges after each operation, for making memory costs more than taking it.
pub(super) fn sequence() -> impl Strategy<Value = Sequence> {
    let sizes = select(vec![Sizes::Base, Sizes::K64, Sizes::M1, Sizes::M2]);
    let ground = prop_oneof![
        1 => Just(None),
        5 => (memory(), any::<bool>()).prop_map(Some),
    ];
    (sizes, ground, vec(group(), 1..32)).prop_map(|(sizes, ground, groups)| Sequence {
        sizes,
        ground,
        groups,
    })
}

fn group() -> impl Strategy<Value = Group> {
    (op(), vec(take(), 0..18)).prop_map(|(op, takes)| Group { op, takes })
}

/// A page of the arena, near the border of a leaf more often than not.
fn arena_page() -> impl Strategy<Value = usize> {
    let nr_leaves = Place::Arena.nr_pages() / PAGES_A_LEAF;
    let within = prop_oneof![
        4 => 0..12_usize,
        3 => 0..PAGES_A_LEAF,
        2 => PAGES_A_LEAF - 8..PAGES_A_LEAF,
        2 => (0..32_usize).prop_map(|i| i * 16),
    ];
    (0..nr_leaves, within).prop_map(|(leaf, page)| leaf * PAGES_A_LEAF + page)
}

fn spot() -> impl Strategy<Value = Spot> {
    let at_ends = select(vec![Place::Bottom, Place::Top]);
    prop_oneof![
        12 => arena_page().prop_map(|page| Spot { place: Place::Arena, page }),
        1 => (at_ends, 0..Place::Top.nr_pages()).prop_map(|(place, page)| Spot { place, page }),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let len = prop_oneof![
        4 => 1..9_usize,
        4 => 1..130_usize,
        2 => 1..PAGES_A_LEAF * 2,
    ];
    let leaves = (0..4_usize, 1..5_usize).prop_map(|(leaf, nr)| {
        let spot = Spot {
            place: Place::Arena,
            page: leaf * PAGES_A_LEAF,
        };
        (spot, nr * PAGES_A_LEAF)
    });
    prop_oneof![3 => (spot(), len).boxed(), 2 => leaves.boxed()].prop_map(|(spot, nr_pages)| {
        Piece {
            place: spot.place,
            page: spot.page,
            nr_pages: nr_pages.min(spot.place.nr_pages() - spot.page),
        }
    })
}

fn memory() -> impl Strategy<Value = Memory> {
    prop_oneof![
        8 => Just(Memory::Anon),
        1 => Just(Memory::DevZero),
        2 => Just(Memory::Memfd),
        2 => Just(Memory::Tmpfs),
        2 => Just(Memory::Disk),
        1 => Just(Memory::Ramfs),
        3 => Just(Memory::Hugetlb),
        1 => Just(Memory::Secret),
        1 => Just(Memory::Device),
        1 => Just(Memory::Again),
    ]
}

fn rights() -> impl Strategy<Value = Rights> {
    prop_oneof![
        6 => Just(Rights::ReadWrite),
        4 => Just(Rights::Read),
        1 => Just(Rights::Write),
        2 => Just(Rights::None),
        1 => Just(Rights::ReadExec),
        1 => Just(Rights::Exec),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    select(&ACCESSES[..])
}

fn op() -> impl Strategy<Value = Op> {
    let new_rights = prop_oneof![6 => Just(Rights::ReadWrite), 1 => rights()];
    let map = (piece(), memory(), any::<bool>(), new_rights).prop_map(
        |(piece, memory, shared, rights)| Op::Map {
            piece,
            memory,
            shared,
            rights,
        },
    );
    let denies = select(vec![Denies::Nothing, Denies::Writing, Denies::Access]);
    let moved =
        (piece(), spot(), any::<bool>()).prop_map(|(from, to, leaves)| Op::Move { from, to, leaves });
    let stride = prop_oneof![4 => Just(1_usize), 1 => 2..5_usize, 1 => 5..100_usize];
    let touch = (piece(), stride, access()).prop_map(|(piece, stride, access)| Op::Touch {
        piece,
        stride,
        access,
    });
    let writes = prop_oneof![1 => Just(None), 1 => piece().prop_map(Some)];
    let others = prop_oneof![
        2 => (piece(), any::<bool>()).prop_map(|(piece, on_fault)| Op::Lock { piece, on_fault }),
        2 => piece().prop_map(Op::Unlock),
        2 => Just(Op::Reap),
        2 => Just(Op::Release),
        2 => (1..6_u8).prop_map(Op::ClearRefs),
        2 => select(vec![Sizes::Base, Sizes::K64, Sizes::M1, Sizes::M2]).prop_map(Op::FolioSizes),
        1 => rights().prop_map(Op::MapGiant),
        1 => (0..64_usize).prop_map(|nr_pages| Op::Truncate { nr_pages }),
    ];
    prop_oneof![
        8 => map,
        14 => touch,
        10 => (piece(), rights()).prop_map(|(piece, rights)| Op::Protect(piece, rights)),
        14 => (piece(), select(&Advice::ALL[..])).prop_map(|(piece, a)| Op::Advise(piece, a)),
        2 => piece().prop_map(Op::Unmap),
        3 => (piece(), denies).prop_map(|(piece, denies)| Op::ProtectByKey(piece, denies)),
        4 => moved,
        3 => writes.prop_map(|writes| Op::Fork { writes }),
        3 => (piece(), notice()).prop_map(|(piece, notice)| Op::Notice(piece, notice)),
        4 => (piece(), notice(), any::<bool>())
            .prop_map(|(piece, notice, on)| Op::Guard { piece, notice, on }),
        9 => others,
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        3 => Just(Notice::Writes),
        1 => Just(Notice::Missing),
        1 => Just(Notice::MissingAndWrites),
        1 => Just(Notice::Accesses),
    ]
}

fn take() -> impl Strategy<Value = Take> {
    let page = prop_oneof![
        24 => arena_page().prop_map(|page| (Place::Arena, page)),
        1 => (0..Place::Bottom.nr_pages()).prop_map(|page| (Place::Bottom, page)),
        1 => (0..Place::Top.nr_pages()).prop_map(|page| (Place::Top, page)),
        1 => (0..Place::Giant.nr_pages()).prop_map(|page| (Place::Giant, page)),
        1 => (0..Place::Vdso.nr_pages()).prop_map(|page| (Place::Vdso, page)),
    ];
    let byte = prop_oneof![2 => Just(0_usize), 1 => 0..PAGE];
    let len_bytes = prop_oneof![
        20 => 1..2 * PAGE,
        20 => 1..17 * PAGE,
        8 => 1..130 * PAGE,
        3 => 1..2 * HUGE,
        1 => 1..4 * HUGE + PAGE,
        8 => (1..40_usize).prop_map(|nr_pages| nr_pages * PAGE),
        2 => (1..3_usize).prop_map(|nr_leaves| nr_leaves * HUGE),
    ];
    let fallback = prop_oneof![3 => Just(Fallback::Slow), 1 => Just(Fallback::Never)];
    let first = select(vec![Engine::Rust, Engine::Kernel]);
    let keep = prop_oneof![15 => Just(false), 1 => Just(true)];
    let pin = (first, any::<bool>(), keep).prop_map(|(first, overlap, keep)| By::Pin {
        first,
        overlap,
        keep,
    });
    let by = prop_oneof![2 => Just(By::Compare), 1 => pin];
    (page, byte, len_bytes, select(&HOWS[..]), access(), fallback, by).prop_map(
        |((place, page), byte, len_bytes, how, access, fallback, by)| Take {
            place,
            offset: page * PAGE + byte,
            len_bytes,
            how,
            access,
            // There is nothing to compare a fast-only pin with.
            fallback: if by == By::Compare && how != rust_gup_uapi::How::Get {
                Fallback::Slow
            } else {
                fallback
            },
            by,
        },
    )
}
