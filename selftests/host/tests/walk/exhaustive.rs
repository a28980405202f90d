// SPDX-License-Identifier: GPL-2.0

//! Every shape of the tables of the tiny format, and every range of its eight pages.

use rust_gup_host::{
    drive::{take_one_or_walk, walk, Ask, Kind},
    encode::{Encode, Page},
    machine::{Build, Machine},
    tiny::Tiny,
    walk::{Access, Level, Pfn, Stop},
};

/// The shape of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Empty,
    ReadOnly,
    ReadWrite,
    /// A table whose two entries have these shapes, as numbers for [`shape()`].
    Table(usize, usize),
}

/// The number of shapes that an entry of each level can have.
const NR_SHAPES: [usize; 3] = [3, 3 + 3 * 3, 3 + 12 * 12];

/// Returns the shape of an entry of a level, by its number.
fn shape(level: usize, nr: usize) -> Shape {
    match nr {
        0 => Shape::Empty,
        1 => Shape::ReadOnly,
        2 => Shape::ReadWrite,
        _ => {
            let below = NR_SHAPES[level - 1];
            Shape::Table((nr - 3) / below, (nr - 3) % below)
        }
    }
}

/// Returns the shapes that map the eight pages, if the root has these two shapes.
fn expected(shapes: [usize; 2]) -> [Shape; 8] {
    fn fill(level: usize, nr: usize, pages: &mut [Shape]) {
        match shape(level, nr) {
            Shape::Table(first, second) => {
                let (left, right) = pages.split_at_mut(pages.len() / 2);
                fill(level - 1, first, left);
                fill(level - 1, second, right);
            }
            same => pages.fill(same),
        }
    }
    let mut pages = [Shape::Empty; 8];
    fill(2, shapes[0], &mut pages[..4]);
    fill(2, shapes[1], &mut pages[4..]);
    pages
}

/// Installs an entry in a machine.
fn install(machine: &Machine<Tiny>, level: usize, nr: usize, page: u64, frames: &[u64; 8]) {
    let at = [Level::PTE, Level::PMD, Level::PUD][level];
    let leaf = |writable| {
        let first = Pfn::new(frames[page as usize]);
        Tiny::leaf(at, Page { first, writable })
    };
    match shape(level, nr) {
        Shape::Empty => (),
        Shape::ReadOnly => drop(machine.install(page << 12, at, leaf(false))),
        Shape::ReadWrite => drop(machine.install(page << 12, at, leaf(true))),
        Shape::Table(first, second) => {
            install(machine, level - 1, first, page, frames);
            install(
                machine,
                level - 1,
                second,
                page + (1 << (level - 1)),
                frames,
            );
        }
    }
}

/// A layout of the frames: the frame of each page, and the sizes of the folios.
struct Layout {
    frames: [u64; 8],
    folios: &'static [usize],
}

const LAYOUTS: [Layout; 4] = [
    Layout {
        frames: [0, 1, 2, 3, 4, 5, 6, 7],
        folios: &[8],
    },
    Layout {
        frames: [0, 1, 2, 3, 4, 5, 6, 7],
        folios: &[4, 4],
    },
    // Neighbours belong to different folios.
    Layout {
        frames: [4, 5, 6, 7, 0, 1, 2, 3],
        folios: &[4, 2, 2],
    },
    // No page follows the page of its neighbour. Huge leaves are left out.
    Layout {
        frames: [7, 6, 5, 4, 3, 2, 1, 0],
        folios: &[1; 8],
    },
];

/// Tells whether all huge leaves lie within folios.
fn fits(layout: &Layout, shapes: [usize; 2]) -> bool {
    let is_huge = |level: usize, nr: usize| matches!(nr, 1 | 2) && level > 0;
    let has_huge_pmd = |nr: usize| matches!(shape(2, nr), Shape::Table(first, second) if is_huge(1, first) || is_huge(1, second));
    let has_huge_pud = shapes.iter().any(|nr| is_huge(2, *nr));
    match layout.folios.last() {
        Some(1) => !has_huge_pud && !shapes.iter().any(|nr| has_huge_pmd(*nr)),
        Some(2) => !has_huge_pud,
        _ => true,
    }
}

fn check_shape(layout: &Layout, shapes: [usize; 2], asks: &[Ask]) {
    let machine = Machine::<Tiny>::new(Level::PUD, Pfn::new(0), 8, Access::Read);
    let mut first = 0;
    for nr_pages in layout.folios {
        machine.memmap().build(first, Build::anon(*nr_pages));
        first += nr_pages;
    }
    install(&machine, 2, shapes[0], 0, &layout.frames);
    install(&machine, 2, shapes[1], 4, &layout.frames);
    let expected = expected(shapes);
    let ways = [walk, take_one_or_walk];
    for (ask, way) in asks.iter().flat_map(|ask| ways.map(|way| (ask, way))) {
        let got = way(&machine, ask);
        let mut wanted = Vec::new();
        let mut stop = None;
        for page in ask.first >> 12..(ask.first >> 12) + ask.nr_pages {
            match expected[page as usize] {
                Shape::Empty => stop = Some(Stop::Absent),
                Shape::ReadOnly if ask.rules.access.is_write() => stop = Some(Stop::ReadOnly),
                _ => wanted.push((page << 12, Pfn::new(layout.frames[page as usize]))),
            }
            if stop.is_some() {
                break;
            }
        }
        assert_eq!(got.pages, wanted, "{shapes:?} {ask:?}");
        assert_eq!(got.stop, stop, "{shapes:?} {ask:?}");
        // Nothing changes during the walk, so the tables can be recorded after it, and the counts must be the same.
        machine.record(0, 8);
        machine.audit(ask, &got);
    }
}

/// Returns requests for all ranges of the eight pages.
fn every_range(ask: impl Fn(u64, u64) -> Ask) -> Vec<Ask> {
    (0..8)
        .flat_map(|first| (1..=8 - first).map(move |nr_pages| (first << 12, nr_pages)))
        .map(|(first, nr_pages)| ask(first, nr_pages))
        .collect()
}

#[test]
fn every_shape_gives_the_pages_that_are_mapped() {
    let whole = [
        Ask::write(Kind::Pin, 0, 8),
        Ask::read(Kind::Get, 0, 8),
        Ask::read(Kind::Pin, 0, 8).in_windows(3, 1),
    ];
    for layout in &LAYOUTS {
        for first in 0..NR_SHAPES[2] {
            for second in 0..NR_SHAPES[2] {
                if fits(layout, [first, second]) {
                    check_shape(layout, [first, second], &whole);
                }
            }
        }
    }
}

#[test]
fn every_range_of_half_the_shapes_gives_the_pages_that_are_mapped() {
    // Ranges that start in the first half reach into a second half that is mapped, and the other way round.
    let asks: Vec<_> = every_range(|first, nr_pages| Ask::write(Kind::Pin, first, nr_pages))
        .into_iter()
        .chain(every_range(|first, nr_pages| {
            Ask::read(Kind::Get, first, nr_pages)
        }))
        .collect();
    let whole_table = 3 + 2 * 12 + 2;
    assert_eq!(shape(2, whole_table), Shape::Table(2, 2));
    for layout in &LAYOUTS {
        for nr in 0..NR_SHAPES[2] {
            for shapes in [[nr, whole_table], [whole_table, nr]] {
                if fits(layout, shapes) {
                    check_shape(layout, shapes, &asks);
                }
            }
        }
    }
}
