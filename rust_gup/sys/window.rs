// SPDX-License-Identifier: GPL-2.0

//! One window, or one entry: interrupts off, walk, interrupts on.

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
        Scratch, //
    },
    machine::LiveFormat,
    memory::{
        Contents,
        Releaser, //
    },
};
use crate::walk::{
    self,
    Level,
    One,
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
    let scratch = Scratch::default();
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
                    folios: LiveFolios::new(irqs_off, &scratch),
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
    scratch.give_back_surplus();

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

/// Takes `nr_pages` pages from `addr` on, all from one entry, and adds them to `pages`. Returns their level, or `None`
/// and takes nothing if they cannot be had like that: a window may take them, or finds out why not.
///
/// `pages` must be empty. For pins, the caller must have set `MMF_HAS_PINNED` before. Must be called in process context,
/// with interrupts on.
///
/// The section with interrupts off is not timed. It is bounded by construction: it reads one entry of each level, and
/// takes references once.
#[doc(alias = "gup_fast")]
#[inline(always)]
pub(crate) fn take_one<K: RefKind, R: StaticRules>(
    mm: CurrentMm<'_>,
    addr: u64,
    nr_pages: u64,
    pages: &mut HeldPages<K>,
) -> Option<Level> {
    let one = take_one_unless_forked::<K, R>(mm, addr, nr_pages)?;
    // SAFETY: The references are new.
    unsafe { pages.put_first(one.run()) };
    Some(one.level())
}

/// Takes the pages of one entry, if no fork is under way.
///
/// The caller owns the references.
#[inline(never)]
fn take_one_unless_forked<K: RefKind, R: StaticRules>(
    mm: CurrentMm<'_>,
    addr: u64,
    nr_pages: u64,
) -> Option<One> {
    // As in `walk_window()`.
    let seq = if K::PINS {
        Some(mm.write_protect_begin()?)
    } else {
        None
    };
    let scratch = Scratch::default();
    let context = Live::context(R::RULES.access);
    let one = with_irqs_off(|irqs_off| {
        let tables = LiveTables::new(irqs_off, mm);
        let folios = LiveFolios::new(irqs_off, &scratch);
        walk::take_one::<K, R, LiveFormat, _, _>(tables, folios, &context, addr, nr_pages)
    });
    let Some(one) = one else {
        // What was taken and not handed out is parked. If everything was handed out, nothing is.
        scratch.give_back_surplus();
        return None;
    };
    if seq.is_some_and(|seq| mm.write_protect_retry(seq)) {
        // SAFETY: The references are new, and nobody else knows of them.
        unsafe { release_entry::<K>(one) };
        return None;
    }
    Some(one)
}

/// Releases the pages of one entry.
///
/// # Safety
///
/// The caller owns the references, and gives them up.
#[cold]
#[inline(never)]
unsafe fn release_entry<K: RefKind>(one: One) {
    // SAFETY: As for this function.
    unsafe { Releaser::new().release::<K>(one.run(), Contents::Unchanged) };
}
