// SPDX-License-Identifier: GPL-2.0

//! One window: interrupts off, walk, interrupts on.

use super::{
    arch::{
        Arch,
        Live, //
    },
    held::{
        HeldPages,
        Written, //
    },
    live::{
        mm::CurrentMm,
        with_irqs_off,
        LiveFolios,
        LiveTables,
        Parking, //
    },
    machine::LiveFormat, //
};
use crate::walk::{
    Progress,
    RefKind,
    StaticRules,
    Stop,
    Walker, //
};

/// What a window was like.
pub(crate) struct Window {
    /// How it ended: with all that fitted into it, or why not.
    pub(crate) result: Result<(), Stop>,
    /// How long interrupts were off; 0 if they were not.
    pub(crate) irqs_off_cycles: u64,
}

/// Takes pages from `progress` on, `nr_entries` at most, adds them to `pages` and moves `progress` on.
///
/// `pages` must have room for a run. For pins, the caller has set `MMF_HAS_PINNED` before. In process context, with
/// interrupts on.
#[doc(alias = "gup_fast")]
#[inline(never)]
pub(crate) fn walk_window<K: RefKind, R: StaticRules>(
    mm: CurrentMm<'_>,
    nr_entries: usize,
    admits_p2pdma: bool,
    progress: &mut Progress,
    pages: &mut HeldPages<K>,
) -> Window {
    // fork() write-protects under its count; what was pinned meanwhile could be shared with the child. Pairs with
    // `raw_write_seqcount_begin(&mm->write_protect_seq)` in `copy_page_range()`.
    let mut seq = None;
    if K::PINS {
        seq = mm.write_protect_begin();
        if seq.is_none() {
            return Window {
                result: Err(Stop::Fork),
                irqs_off_cycles: 0,
            };
        }
    }

    let before = K::PINS.then_some(*progress);
    let (nr_left_before, nr_device_before) = (progress.nr_left, progress.nr_device);
    let parking = Parking::default();
    let context = Live::context(R::RULES.access);
    let mut window = Window {
        result: Ok(()),
        irqs_off_cycles: 0,
    };
    // SAFETY: The walker writes the runs that it has taken references of kind `K` for, and keeps none of those; the
    // same holds for page maps.
    let mark = unsafe {
        pages.write_with(|out| {
            with_irqs_off(|irqs_off| {
                let begin = Live::cycles();
                window.result = Walker::<LiveFormat, _, _> {
                    tables: LiveTables::new(irqs_off, mm),
                    folios: LiveFolios::new(irqs_off, &parking),
                    context,
                    out,
                    progress,
                    nr_entries_left: nr_entries,
                    admits_p2pdma,
                }
                .run::<K, R>();
                window.irqs_off_cycles = Live::cycles().wrapping_sub(begin);
            });
            Written {
                nr_pages: nr_left_before.wrapping_sub(progress.nr_left),
                has_device: progress.nr_device != nr_device_before,
            }
        })
    };
    parking.empty();

    if let (Some(seq), Some(before)) = (seq, before) {
        if mm.write_protect_retry(seq) {
            // All of the window, also what was pinned before the fork began.
            // SAFETY: The mark is of the call above.
            unsafe { pages.release_since(mark) };
            *progress = before;
            window.result = Err(Stop::Fork);
        }
    }
    window
}
