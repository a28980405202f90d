// SPDX-License-Identifier: GPL-2.0

//! Memory that differs in where it lies: on other nodes, and where nothing may stay for long.

use rust_gup_uapi::raw::RUST_GUP_STOP_LONGTERM as LONGTERM;
use rust_gup_uapi::How;

use super::situation::touch;
use super::{Page, Scene, Situation};
use crate::fixture::HUGE;
use crate::memory::{has_movable_memory, Map};
use crate::placement::{has_cma, has_two_nodes, in_movable, move_to, MOVABLE};

const NODES: &[Situation] = &[
    Situation::new("node_1", || on_nodes(Map::anon(16), 0, |_| 1)),
    Situation::new("node_1_huge", || on_nodes(Map::huge(1), 1, |_| 1)),
    Situation::new("both_nodes", || {
        on_nodes(Map::anon(16), 0, |page| page as i32 % 2)
    }),
];

const MOVABLES: &[Situation] = &[
    Situation::new("movable_anon", || movable(0)),
    Situation::new("movable_huge", || movable(1)),
    Situation::new("movable_memfd", || movable(2)),
];

/// None on a machine without such places.
pub(super) fn situations() -> impl Iterator<Item = &'static Situation> {
    let nodes = if has_two_nodes() { NODES } else { &[] };
    let movables = if has_movable_memory() || has_cma() {
        MOVABLES
    } else {
        &[]
    };
    nodes.iter().chain(movables)
}

fn on_nodes(map: Map, level: usize, node: impl Fn(usize) -> i32) -> Scene {
    move_to(&map, node);
    let words = touch(&map);
    Scene::new(map, words, move |_, _| Page::fast(level)).unguarded()
}

/// The slow path moves it where it can stay, and leaves a huge page in one piece.
fn movable(which: usize) -> Scene {
    let (map, is_movable) = in_movable(MOVABLE[which].1);
    let level = usize::from(map.len_bytes == HUGE);
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
