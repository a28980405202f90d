// SPDX-License-Identifier: GPL-2.0

//! What is left behind: nothing.

use super::proof::{kpageflags, kpf, pm, settle_lists};
use super::situation::{Scene, Way};
use crate::memory::{frames, pagemap};
use crate::process::Sharer;

/// Fails if pages of the scene still count as pinned, or are not freed with it.
///
/// The counts themselves are hidden from user space, but not what they do: fork() copies anonymous pages that may be
/// pinned instead of sharing them, and a page with a reference too many stays what it was.
pub(super) fn nothing(scene: Scene, way: Way) {
    let map = &scene.map;
    let present: Vec<(usize, u64)> = frames(map.addr, map.nr_pages())
        .into_iter()
        .enumerate()
        .filter(|(_, frame)| *frame != 0)
        .collect();
    let anon: Vec<(usize, u64)> = present
        .chunk_by(|a, b| a.1 + 1 == b.1)
        .flat_map(|run| run.iter().zip(kpageflags(run[0].1, run.len() as u64)))
        .filter(|(_, flags)| flags & (kpf::ANON | kpf::KSM) == kpf::ANON)
        .map(|(page, _)| *page)
        .collect();
    if way.is_pin() {
        let child = Sharer::fork();
        let states = pagemap(map.addr, map.nr_pages());
        for (page, _) in &anon {
            let state = states[*page];
            assert_eq!(
                state & pm::EXCLUSIVE,
                0,
                "{way:?}: page {page} counts as pinned, and was not shared with a child: {state:#x}"
            );
        }
        drop(child);
    }
    drop(scene);
    settle_lists();
    for (page, frame) in anon {
        let flags = kpageflags(frame, 1)[0];
        let is_kept =
            flags & kpf::ANON != 0 && flags & (kpf::MMAP | kpf::SWAPCACHE | kpf::HWPOISON) == 0;
        assert!(!is_kept, "{way:?}: page {page} was not freed: {flags:#x}");
    }
}
