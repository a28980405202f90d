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

/// The outcome of a window.
pub(crate) struct Window {
    /// `Ok` if the window is full or everything is taken, otherwise the stop reason.
    pub(crate) result: Result<(), Stop>,
    /// How long interrupts were off, in cycles of the counter; 0 if they were not.
    pub(crate) irqs_off_cycles: u64,
}

/// Walks at most `nr_entries` entries from `progress` on, adds the pages that it takes to `pages`, and advances
/// `progress`.
///
/// `pages` must have room for a run. For pins, the caller must have set `MMF_HAS_PINNED` before. Must be called in
/// process context, with interrupts on.
#[doc(alias = "gup_fast")]
#[inline(never)]
pub(crate) fn walk_window<K: RefKind, R: StaticRules>(
    mm: CurrentMm<'_>,
    nr_entries: usize,
    admits_p2pdma: bool,
    progress: &mut Progress,
    pages: &mut HeldPages<K>,
) -> Window {
    // fork() write-protects while its count is odd. A page that is pinned meanwhile could be shared with the child.
    // Pairs with `raw_write_seqcount_begin(&mm->write_protect_seq)` in `copy_page_range()`.
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
    // SAFETY: The walker writes only runs for which it has taken references of kind `K`, and hands all of these
    // references over. The same holds for references on page maps.
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
            // This releases everything that the window took, including pages that were pinned before the fork began.
            // SAFETY: The mark is of the call above.
            unsafe { pages.release_since(mark) };
            *progress = before;
            window.result = Err(Stop::Fork);
        }
    }
    window
}
