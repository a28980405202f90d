// SPDX-License-Identifier: GPL-2.0

//! Takes the pages of a request: windows of the fast walk, and the slow path where the walk stops.

use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};

use kernel::prelude::*;

use super::{
    request::{
        Fallback,
        How,
        Terms, //
    },
    stats::{
        self,
        Counter, //
    },
};
use crate::{
    sys::{
        machine,
        mm::CurrentMm,
        take_one,
        task,
        walk_window,
        FollFlags,
        Function,
        HeldPages,
        PageArray,
        SlowOnly,
        SLOW_BATCH_MAX, //
    },
    walk::{
        Access,
        Level,
        LongRead,
        LongWrite,
        Progress,
        RefKind,
        ShortRead,
        ShortWrite,
        Stop,
        UserRange, //
    },
};

/// The most entries that a window takes, which bounds the time with interrupts off. It is a module parameter.
pub(crate) static WINDOW_ENTRIES: AtomicU32 = AtomicU32::new(0);

/// How often in a row the walk tries again after a race before it asks the slow path.
const MAX_RACES: u32 = 3;

/// How a request was served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// How far the request has come. The counts are those of the fast walk; pages that the slow path took are not among
    /// them.
    pub(crate) progress: Progress,
    /// Pages that the slow path took.
    pub(crate) nr_slow: u64,
    /// The first stop reason of the fast walk, and the address of the page at which it stopped.
    pub(crate) first_stop: Option<(Stop, u64)>,
}

impl Taken {
    /// Makes the state of a request that has not begun.
    #[inline(always)]
    pub(crate) const fn new(range: &UserRange) -> Self {
        Self {
            progress: Progress::new(range.first(), range.nr_pages()),
            nr_slow: 0,
            first_stop: None,
        }
    }

    /// Makes the state of a request for which one entry of this level gave all pages.
    #[inline(always)]
    fn from_one(range: &UserRange, level: Level) -> Self {
        Self {
            progress: Progress::from_one(
                range.first(),
                range.nr_pages(),
                level,
                machine::PAGE_SHIFT,
            ),
            nr_slow: 0,
            first_stop: None,
        }
    }

    /// Returns the number of pages that the fast walk took.
    #[inline(always)]
    pub(crate) fn nr_fast(&self) -> u64 {
        let by_level = self.progress.nr_by_level.iter();
        by_level.fold(0, |sum, nr| sum.wrapping_add(*nr))
    }

    #[cold]
    fn note_stop(&mut self, stop: Stop) {
        Counter::Stop(stop).add(1);
        self.first_stop.get_or_insert((stop, self.progress.next));
    }
}

/// Takes the pages of a range and adds them to `pages`, which must have room for a run. Returns how the request was
/// served, also in case of an error.
///
/// May sleep, with [`Fallback::None`] only to allocate memory for the list.
///
/// # Errors
///
/// Only if not a single page was taken, as in `mm/gup.c`: the error of the slow path (`EFAULT`, `ENOMEM`, `EINTR`,
/// ...). With [`Fallback::None`] it is no error if no page was taken.
#[doc(alias = "gup_fast_fallback")]
#[inline(always)]
pub(crate) fn take<K: RefKind>(
    mm: CurrentMm<'_>,
    range: UserRange,
    terms: Terms,
    pages: &mut HeldPages<K>,
) -> (Taken, Result) {
    if K::PINS {
        mm.set_has_pinned();
    }
    if may_be_one_entry(&range) && pages.is_empty() && machine::is_walkable() {
        if let Some(level) = take_from_one(mm, &range, terms, pages) {
            Counter::Fast.add(range.nr_pages());
            Counter::Grabs.add(1);
            return (Taken::from_one(&range, level), Ok(()));
        }
    }
    let mut taken = Taken::new(&range);
    let result = take_in_windows(mm, terms, pages, &mut taken);
    // A caller that gets pages has to release them, so it cannot get an error as well (`mm/gup.c:3211`).
    if taken.progress.nr_left != range.nr_pages() {
        return (taken, Ok(()));
    }
    (taken, result)
}

/// Calls a function that is compiled for each kind of reference and for each set of rules.
macro_rules! call_for {
    ($kind:ident, $terms:expr, $function:ident($($argument:expr),*)) => {
        match ($terms.access, $kind::PINS && $terms.how == How::PinLongterm) {
            (Access::Read, false) => $function::<$kind, ShortRead>($($argument),*),
            (Access::Write, false) => $function::<$kind, ShortWrite>($($argument),*),
            (Access::Read, true) => $function::<$kind, LongRead>($($argument),*),
            (Access::Write, true) => $function::<$kind, LongWrite>($($argument),*),
        }
    };
}

/// Takes all pages of the range if one entry maps them. Returns its level, or `None` if no page was taken.
#[inline(always)]
fn take_from_one<K: RefKind>(
    mm: CurrentMm<'_>,
    range: &UserRange,
    terms: Terms,
    pages: &mut HeldPages<K>,
) -> Option<Level> {
    let (first, nr_pages) = (range.first(), range.nr_pages());
    call_for!(K, terms, take_one(mm, first, nr_pages, pages))
}

/// Takes the pages in windows, and from the slow path where the walk stops.
///
/// The function is not inlined, so that a request that one entry serves does not save the registers for it.
#[inline(never)]
fn take_in_windows<K: RefKind>(
    mm: CurrentMm<'_>,
    terms: Terms,
    pages: &mut HeldPages<K>,
    taken: &mut Taken,
) -> Result {
    let windows = Windows {
        mm,
        terms,
        nr_entries: WINDOW_ENTRIES.load(Relaxed) as usize,
    };
    // Most requests are small and find all pages in place, so one window serves them.
    let mut result = Ok(());
    let stop = windows.next(taken, pages).err();
    if taken.progress.nr_left != 0 {
        result = windows.go_on(terms.fallback, stop, taken, pages);
    }
    Counter::Fast.add(taken.nr_fast());
    Counter::Grabs.add(taken.progress.nr_grabs);
    result
}

/// The fewest pages for which it is worth trying whether a huge leaf maps them. If a table of base pages does, the walk
/// has gone down to it for nothing.
const MIN_LEAF_PAGES: u64 = 64;

/// Returns whether one entry may map the whole range, and is worth trying.
#[inline(always)]
fn may_be_one_entry(range: &UserRange) -> bool {
    range.nr_pages() == 1 || may_be_huge_leaf(range)
}

/// Returns whether a huge leaf may map the whole range, and is worth trying.
#[cold]
#[inline(always)]
fn may_be_huge_leaf(range: &UserRange) -> bool {
    let nr_pages = range.nr_pages();
    if nr_pages < MIN_LEAF_PAGES {
        return false;
    }
    let last = range
        .first()
        .wrapping_add(nr_pages.wrapping_sub(1) << machine::PAGE_SHIFT);
    (range.first() ^ last) >> machine::LEAF_SHIFT == 0
}

/// The parameters that all windows of a request share.
struct Windows<'a> {
    mm: CurrentMm<'a>,
    terms: Terms,
    nr_entries: usize,
}

impl Windows<'_> {
    /// Walks the next window.
    #[inline(always)]
    fn next<K: RefKind>(&self, taken: &mut Taken, pages: &mut HeldPages<K>) -> Result<(), Stop> {
        if !machine::is_walkable() {
            return Err(Stop::Off);
        }
        let (mm, nr, progress) = (self.mm, self.nr_entries, &mut taken.progress);
        let p2pdma = self.terms.slow_only.has(SlowOnly::PCI_P2PDMA);
        let window = call_for!(K, self.terms, walk_window(mm, nr, p2pdma, progress, pages));
        if window.irqs_off_cycles != 0 {
            stats::count_window(window.irqs_off_cycles);
        }
        window.result
    }

    /// Takes the pages that the first window has left. `stop` is the reason why it stopped, or `None` if it was full.
    #[cold]
    #[inline(never)]
    fn go_on<K: RefKind>(
        &self,
        fallback: Fallback,
        mut stop: Option<Stop>,
        taken: &mut Taken,
        pages: &mut HeldPages<K>,
    ) -> Result {
        let mut slow = SlowPath::new();
        let mut nr_races = 0;
        loop {
            match stop {
                None => pause(fallback, taken)?,
                Some(stop) => {
                    taken.note_stop(stop);
                    if stop.is_race() && nr_races < MAX_RACES {
                        nr_races += 1;
                        pause(fallback, taken)?;
                    } else if fallback == Fallback::None {
                        return Ok(());
                    } else {
                        nr_races = 0;
                        slow.take(self.mm, self.terms.foll_flags(), taken, pages)?;
                    }
                }
            }
            if taken.progress.nr_left == 0 {
                return Ok(());
            }
            pages.make_room(taken.progress.nr_left)?;
            let nr_left = taken.progress.nr_left;
            stop = self.next(taken, pages).err();
            if taken.progress.nr_left != nr_left {
                nr_races = 0;
            }
            if taken.progress.nr_left == 0 {
                return Ok(());
            }
        }
    }
}

/// Checks for fatal signals between two windows, and reschedules if the request may use the slow path.
fn pause(fallback: Fallback, taken: &mut Taken) -> Result {
    if task::fatal_signal_pending() {
        taken.note_stop(Stop::Signal);
        return Err(EINTR);
    }
    if fallback == Fallback::Slow {
        task::cond_resched();
    }
    Ok(())
}

/// The kernel's slow path, for the pages that the walk cannot take.
struct SlowPath {
    /// Allocated when it is first needed.
    array: Option<PageArray>,
    /// Number of pages to ask for next.
    nr_batch: usize,
    /// Number of pages that the fast walk had taken when the slow path was last asked.
    nr_fast_before: u64,
}

impl SlowPath {
    const fn new() -> Self {
        Self {
            array: None,
            nr_batch: 1,
            nr_fast_before: 0,
        }
    }

    /// Takes the page at which the walk stopped, and possibly some more.
    ///
    /// The number depends on what the walk met. A single page in its way is taken alone, and the walk goes on after it.
    /// In cold memory the slow path is asked for twice as many pages each time.
    fn take<K: RefKind>(
        &mut self,
        mm: CurrentMm<'_>,
        flags: FollFlags,
        taken: &mut Taken,
        pages: &mut HeldPages<K>,
    ) -> Result {
        let nr_fast = taken.nr_fast();
        let progress = &mut taken.progress;
        if nr_fast.wrapping_sub(self.nr_fast_before) > self.nr_batch as u64 {
            self.nr_batch = 1;
        }
        self.nr_fast_before = nr_fast;
        let nr_wanted = progress.nr_left.min(self.nr_batch as u64) as usize;
        self.nr_batch = self.nr_batch.wrapping_mul(2).min(SLOW_BATCH_MAX);

        let array = match &mut self.array {
            Some(array) => array,
            none => {
                let nr_max = progress.nr_left.min(SLOW_BATCH_MAX as u64) as usize;
                none.insert(PageArray::new(nr_max)?)
            }
        };
        let function = Function::Unlocked;
        let nr_taken = pages.add_from(function, mm, array, progress.next, nr_wanted, flags)? as u64;
        if nr_taken == 0 {
            return Err(EFAULT);
        }
        taken.nr_slow = taken.nr_slow.wrapping_add(nr_taken);
        progress.next = progress.next.wrapping_add(nr_taken << machine::PAGE_SHIFT);
        progress.nr_left = progress.nr_left.wrapping_sub(nr_taken);
        Counter::Slow.add(nr_taken);
        Ok(())
    }
}
