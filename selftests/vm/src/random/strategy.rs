// SPDX-License-Identifier: GPL-2.0

//! Strategies that draw sequences. They prefer what leads to more different entries side by side.
//!
//! Alternatives are values in a list where that is possible. A choice among strategies (`prop_oneof!`) costs much more,
//! and a sequence has a hundred choices for each millisecond that playing it takes.

use std::fmt::Debug;

use proptest::{
    collection::vec,
    prelude::{
        any,
        prop_oneof,
        Strategy, //
    },
    sample::{
        select,
        Select, //
    }, //
};
use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    Access,
    Engine,
    Fallback,
    How, //
};

use super::{
    place::{
        Place,
        Spot, //
    },
    step::{
        Advice,
        By,
        Denies,
        Group,
        Memory,
        Notice,
        Op,
        Piece,
        Rights,
        Sequence,
        Sizes,
        Take, //
    }, //
};
use crate::harness::fixture::{
    ACCESSES,
    HOWS, //
};

fn pages_a_leaf() -> usize {
    pmd_bytes() / page_bytes()
}

const NR_LEAVES: usize = 4;
/// Upper bound of the numbers from which sizes are derived. They are reduced to the range that is wanted.
const ANY: usize = 1 << 24;

/// Selects one of several values by weight. The plainest value comes first.
fn weighted<T: Clone + Debug + 'static>(values: &[(usize, T)]) -> Select<T> {
    let repeated = values
        .iter()
        .flat_map(|(weight, value)| std::iter::repeat_n(value.clone(), *weight));
    select(repeated.collect::<Vec<_>>())
}

/// Draws a sequence. Many ranges follow each operation, because making memory costs more than taking it.
pub(super) fn sequence() -> impl Strategy<Value = Sequence> {
    let nothing = weighted(&[(1, true), (7, false)]);
    let ground = (nothing, memory(), any::<bool>())
        .prop_map(|(nothing, memory, shared)| (!nothing).then_some((memory, shared)));
    (sizes(), ground, vec(group(), 1..32)).prop_map(|(sizes, ground, groups)| Sequence {
        sizes,
        ground,
        groups,
    })
}

fn group() -> impl Strategy<Value = Group> {
    (op(), vec(take(), 0..20)).prop_map(|(op, takes)| Group { op, takes })
}

fn sizes() -> Select<Sizes> {
    select(vec![Sizes::Base, Sizes::K64, Sizes::M1, Sizes::M2])
}

/// Draws a page of the arena, more often near the border of a leaf.
fn arena_page() -> impl Strategy<Value = usize> {
    // First page within the leaf, and number of pages to choose from.
    let within = weighted(&[
        (4, (0, 12)),
        (3, (0, pages_a_leaf())),
        (2, (pages_a_leaf() - 8, 8)),
    ]);
    (0..NR_LEAVES, within, 0..ANY)
        .prop_map(|(leaf, (from, span), at)| leaf * pages_a_leaf() + from + at % span)
}

/// Draws a page of a place.
fn spot(places: Select<Place>) -> impl Strategy<Value = Spot> {
    (places, arena_page(), 0..ANY).prop_map(|(place, arena_page, page)| match place {
        Place::Arena => Spot {
            place,
            page: arena_page,
        },
        _ => Spot {
            place,
            page: page % place.nr_pages(),
        },
    })
}

fn places() -> Select<Place> {
    weighted(&[(14, Place::Arena), (1, Place::Bottom), (1, Place::Top)])
}

fn piece() -> impl Strategy<Value = Piece> {
    // Either the maximum number of pages, or a number of whole leaves.
    let sizes = weighted(&[
        (4, (9, 0)),
        (4, (130, 0)),
        (1, (2 * pages_a_leaf(), 0)),
        (3, (0, 1)),
        (1, (0, 2)),
    ]);
    (spot(places()), sizes, 0..ANY).prop_map(|(spot, (nr_max, nr_leaves), nr)| {
        let (page, nr_pages) = if nr_leaves == 0 {
            (spot.page, 1 + nr % nr_max)
        } else {
            (
                spot.page / pages_a_leaf() * pages_a_leaf(),
                nr_leaves * pages_a_leaf(),
            )
        };
        Piece {
            place: spot.place,
            page,
            nr_pages: nr_pages.min(spot.place.nr_pages() - page),
        }
    })
}

fn memory() -> Select<Memory> {
    weighted(&[
        (8, Memory::Anon),
        (1, Memory::DevZero),
        (2, Memory::Memfd),
        (2, Memory::Tmpfs),
        (2, Memory::Disk),
        (3, Memory::Hugetlb),
        (1, Memory::Secret),
        (1, Memory::Device),
        (1, Memory::Again),
    ])
}

fn rights() -> Select<Rights> {
    weighted(&[
        (6, Rights::ReadWrite),
        (4, Rights::Read),
        (1, Rights::Write),
        (2, Rights::None),
        (1, Rights::ReadExec),
        (1, Rights::Exec),
    ])
}

fn access() -> Select<Access> {
    select(&ACCESSES[..])
}

fn notice() -> Select<Notice> {
    weighted(&[
        (3, Notice::Writes),
        (1, Notice::Missing),
        (1, Notice::MissingAndWrites),
        (1, Notice::Accesses),
    ])
}

fn op() -> impl Strategy<Value = Op> {
    let new_rights = weighted(&[(9, Rights::ReadWrite), (1, Rights::Read), (1, Rights::None)]);
    let map = (piece(), memory(), any::<bool>(), new_rights).prop_map(
        |(piece, memory, shared, rights)| Op::Map {
            piece,
            memory,
            shared,
            rights,
        },
    );
    let denies = select(vec![Denies::Nothing, Denies::Writing, Denies::Access]);
    let moved = (piece(), spot(places()), any::<bool>()).prop_map(|(from, to, leaves)| Op::Move {
        from,
        to,
        leaves,
    });
    let stride = weighted(&[(4, 1), (1, 2), (1, 7), (1, 90)]);
    let touch = (piece(), stride, access()).prop_map(|(piece, stride, access)| Op::Touch {
        piece,
        stride,
        access,
    });
    let fork = (any::<bool>(), piece()).prop_map(|(writes, piece)| Op::Fork {
        writes: writes.then_some(piece),
    });
    let others = prop_oneof![
        2 => (piece(), any::<bool>()).prop_map(|(piece, on_fault)| Op::Lock { piece, on_fault }),
        2 => piece().prop_map(Op::Unlock),
        4 => select(vec![Op::Reap, Op::Release]),
        2 => (1..6_u8).prop_map(Op::ClearRefs),
        2 => sizes().prop_map(Op::FolioSizes),
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
        2 => fork,
        3 => (piece(), notice()).prop_map(|(piece, notice)| Op::Notice(piece, notice)),
        4 => (piece(), notice()).prop_map(|(piece, notice)| Op::Reveal(piece, notice)),
        9 => others,
    ]
}

fn by() -> Select<By> {
    let mut all = vec![(48, By::Compare)];
    for first in [Engine::Rust, Engine::Kernel] {
        for overlap in [false, true] {
            for (weight, keep) in [(4, false), (1, true)] {
                let pin = By::Pin {
                    first,
                    overlap,
                    keep,
                };
                all.push((weight, pin));
            }
        }
    }
    weighted(&all)
}

fn take() -> impl Strategy<Value = Take> {
    let places = weighted(&[
        (24, Place::Arena),
        (1, Place::Bottom),
        (1, Place::Top),
        (1, Place::Giant),
        (1, Place::Vdso),
    ]);
    let byte = weighted(&[(2, 1), (1, page_bytes())]);
    // Maximum number of bytes, and the step.
    let len = weighted(&[
        (14, (2 * page_bytes(), 1)),
        (14, (17 * page_bytes(), 1)),
        (8, (40 * page_bytes(), page_bytes())),
        (4, (130 * page_bytes(), 1)),
        (1, (2 * pmd_bytes(), 1)),
        (1, (2 * pmd_bytes(), pmd_bytes())),
    ]);
    let fallback = weighted(&[(3, Fallback::Slow), (1, Fallback::Never)]);
    let what = (select(&HOWS[..]), access(), fallback, by());
    // A single number gives both byte and length, because neither matters by itself.
    (spot(places), byte, len, 0..ANY, what).prop_map(
        |(spot, byte, (max, step), number, (how, access, fallback, by))| {
            // For a fast-only pin the kernel has no counterpart to compare with.
            let fallback = match by {
                By::Compare if how != How::Get => Fallback::Slow,
                _ => fallback,
            };
            Take {
                place: spot.place,
                offset: spot.page * page_bytes() + number / 8 % byte,
                len_bytes: (1 + number % max).next_multiple_of(step),
                how,
                access,
                fallback,
                by,
            }
        },
    )
}
