// SPDX-License-Identifier: GPL-2.0

//! What the kernel or the processor treats specially.

use std::rc::Rc;

use rust_gup_uapi::raw::{
    RUST_GUP_STOP_NO_MAPPING as NO_MAPPING, RUST_GUP_STOP_PKEY as PKEY,
    RUST_GUP_STOP_READ_ONLY as READ_ONLY,
};
use rust_gup_uapi::How;

use super::anon::filled;
use super::situation::{kernel_is_at_least, touch};
use super::{Page, Parity, Scene, Situation};
use crate::memory::Map;
use crate::runner::skip;
use crate::unusual::Key;

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("vdso", vdso),
    Situation::new("pkey_denies_access", || pkey(1)),
    Situation::new("pkey_denies_writing", || pkey(2)),
];

const NR_PAGES: usize = 16;

fn vdso() -> Scene {
    let Some(map) = Map::of_kernel("[vdso]") else {
        skip("no mapping [vdso] in /proc/self/maps: boot without vdso=0");
    };
    let words = touch(&map);
    let is_stricter = kernel_is_at_least(7, 3);
    Scene::new(map, words, move |way, _| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else if way.how == How::LongTerm {
            // A copy.
            Page::readied(NO_MAPPING, 0)
        } else if is_stricter {
            Page::stricter(NO_MAPPING, Parity::NoMapping)
        } else {
            Page::slow(NO_MAPPING)
        }
    })
    .unguarded()
}

/// Memory under a protection key whose rights are `denied` while an engine runs.
fn pkey(denied: u32) -> Scene {
    let Some(key) = Key::allocate() else {
        skip("no protection keys: a CPU with them, qemu -cpu max");
    };
    let (map, words) = filled(NR_PAGES);
    key.protect(&map, 0, map.len_bytes);
    let key = Rc::new(key);
    let scene = Scene::new(map, words, move |way, _| {
        if denied == 1 || way.is_write() {
            Page::refused(PKEY, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    });
    scene.around(move |within| key.deny(if within { denied } else { 0 }))
}
