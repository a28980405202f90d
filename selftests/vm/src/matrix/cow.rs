// SPDX-License-Identifier: GPL-2.0

//! Anonymous memory that is shared copy-on-write.

use rust_gup_uapi::raw::{RUST_GUP_STOP_READ_ONLY as READ_ONLY, RUST_GUP_STOP_UNSHARE as UNSHARE};

use super::anon::filled;
use super::proof::pm;
use super::situation::Way;
use super::{Page, Scene, Situation};
use crate::memory::PAGEMAP_PRESENT;
use crate::process::Sharer;

pub(super) const SITUATIONS: &[Situation] = &[Situation::new("forked", forked)];

const NR_PAGES: usize = 16;

/// Of pages that are mapped read-only and not known to be exclusive.
pub(super) fn shared(way: Way) -> Page {
    if way.is_write() {
        Page::readied(READ_ONLY, 0)
    } else if way.is_pin() {
        Page::readied(UNSHARE, 0)
    } else {
        Page::fast(0)
    }
}

fn forked() -> Scene {
    let (map, words) = filled(NR_PAGES);
    let child = Sharer::fork();
    map.prove_state(PAGEMAP_PRESENT | pm::EXCLUSIVE, PAGEMAP_PRESENT);
    Scene::new(map, words, |way, _| shared(way)).keep(child)
}
