// SPDX-License-Identifier: GPL-2.0

//! Memory in different places: on other nodes, and where nothing may be pinned for long.

use rust_gup_memory::size::pmd_bytes;
use rust_gup_uapi::{
    raw::RUST_GUP_STOP_LONGTERM as LONGTERM,
    How, //
};

use super::{
    situation::touch,
    Page,
    Scene,
    Situation, //
};
use crate::{
    harness::memory::Map,
    tests::placement::{
        in_movable,
        move_to,
        need_movable_memory,
        need_two_nodes,
        MOVABLE, //
    }, //
};

const NODES: &[Situation] = &[
    Situation::new("node_1", || on_nodes(|| Map::anon(16), 0, |_| 1)),
    Situation::new("node_1_huge", || on_nodes(|| Map::huge(1), 1, |_| 1)),
    Situation::new("both_nodes", || {
        on_nodes(|| Map::anon(16), 0, |page| page as i32 % 2)
    }),
];

const MOVABLES: &[Situation] = &[
    Situation::new("movable_anon", || movable(0)),
    Situation::new("movable_huge", || movable(1)),
    Situation::new("movable_memfd", || movable(2)),
];

pub(super) fn situations() -> impl Iterator<Item = &'static Situation> {
    NODES.iter().chain(MOVABLES)
}

fn on_nodes(make: fn() -> Map, level: usize, node: impl Fn(usize) -> i32) -> Scene {
    need_two_nodes();
    let map = make();
    move_to(&map, node);
    let words = touch(&map);
    Scene::new(map, words, move |_, _| Page::fast(level)).unguarded()
}

/// The slow path moves the memory to where it can stay, and keeps a huge page in one piece.
fn movable(which: usize) -> Scene {
    need_movable_memory();
    let (map, is_movable) = in_movable(MOVABLE[which].1);
    let level = usize::from(map.len_bytes == pmd_bytes());
    let words = touch(&map);
    Scene::new(map, words, move |way, page| {
        if way.how == How::LongTerm && is_movable[page] {
            Page::readied(LONGTERM, level)
        } else {
            Page::fast(level)
        }
    })
    .unguarded()
}
