// SPDX-License-Identifier: GPL-2.0

//! Taking pages: windows of the fast walk, and the slow path where it stops.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use kernel::prelude::*;

use super::{
    request::{Fallback, Request},
    stats::{self, Counter},
};
use crate::{
    sys::{cpu, mm::CurrentMm, walk_window, HeldPages, PageArray, SLOW_BATCH_MAX},
    walk::{Progress, RefKind, Rules, Stop},
};

/// How many entries a window takes at most: bounds the time with interrupts off. A module parameter.
pub(crate) static WINDOW_ENTRIES: AtomicU32 = AtomicU32::new(0);

/// How often in a row the walk may look again after a race before the slow path is asked.
const MAX_RACES: u32 = 3;

/// How a request was served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Pages that the slow path took.
    pub(crate) nr_slow: u64,
    /// Pages that the fast walk took, by the level of the leaf that mapped them.
    pub(crate) nr_by_level: [u64; crate::walk::MAX_LEVELS],
    /// Why and at which page the fast walk first stopped.
    pub(crate) first_stop: Option<(Stop, u64)>,
}

impl Taken {
    /// Pages that the fast walk took.
    pub(crate) fn nr_fast(&self) -> u64 {
        self.nr_by_level.iter().sum()
    }
}

/// Takes the pages of `request` and adds them to `pages`.
///
/// May sleep, unless [`Fallback::None`] is asked for.
///
/// # Errors
///
/// Only if not a single page was taken, as `mm/gup.c`: what the slow path says (`EFAULT`, `ENOMEM`, `EINTR`, ...).
/// With [`Fallback::None`] no page is no error.
#[doc(alias = "gup_fast_fallback")]
pub(crate) fn take<K: RefKind>(
    mm: CurrentMm<'_>,
    request: &Request,
    pages: &mut HeldPages<K>,
) -> Result<Taken> {
    let range = &request.range;
    let mut progress = Progress::new(range.first(), range.nr_pages());
    let mut take = Take {
        mm,
        rules: request.rules(),
        fallback: request.fallback,
        array: None,
        slow_batch: 1,
        taken: Taken {
            nr_slow: 0,
            nr_by_level: [0; crate::walk::MAX_LEVELS],
            first_stop: None,
        },
    };
    let result = take.run(&mut progress, pages);

    let mut taken = take.taken;
    taken.nr_by_level = progress.nr_by_level;
    Counter::Fast.add(taken.nr_fast());
    Counter::Grabs.add(progress.nr_grabs);
    if taken.nr_slow != 0 {
        Counter::Slow.add(taken.nr_slow);
    }
    match result {
        // Who has some pages has to release them, so there is no room for an error (`mm/gup.c:3217`).
        Err(error) if pages.nr_pages() == 0 => Err(error),
        _ => Ok(taken),
    }
}

struct Take<'a> {
    mm: CurrentMm<'a>,
    rules: Rules,
    fallback: Fallback,
    /// Made when the slow path is first needed.
    array: Option<PageArray>,
    /// How many pages the slow path is asked for next.
    slow_batch: usize,
    taken: Taken,
}

impl Take<'_> {
    #[inline(always)]
    fn run<K: RefKind>(&mut self, progress: &mut Progress, pages: &mut HeldPages<K>) -> Result {
        if K::PINS {
            self.mm.set_has_pinned();
        }
        let context = cpu::decode_context(self.rules.access);
        let nr_entries = WINDOW_ENTRIES.load(Relaxed) as usize;
        let is_on = cpu::has_native_entries();
        let mut nr_races = 0;

        while progress.nr_left != 0 {
            pages.make_room(progress.nr_left)?;
            let nr_left_before = progress.nr_left;
            let result = if is_on {
                let window =
                    walk_window(self.mm, &context, self.rules, nr_entries, progress, pages);
                stats::count_window(window.irqs_off_cycles);
                window.result
            } else {
                Err(Stop::Off)
            };
            let nr_fast = nr_left_before.wrapping_sub(progress.nr_left);

            let stop = match result {
                Ok(()) if progress.nr_left == 0 => return Ok(()),
                Ok(()) => {
                    self.pause(progress)?;
                    continue;
                }
                Err(stop) => stop,
            };
            self.note_stop(stop, progress.next);
            if stop.is_race() && nr_races < MAX_RACES {
                nr_races += 1;
                self.pause(progress)?;
                continue;
            }
            nr_races = 0;
            if self.fallback == Fallback::None {
                return Ok(());
            }
            self.take_slow(progress, pages, nr_fast)?;
        }
        Ok(())
    }

    /// Between two windows of a long request.
    #[cold]
    fn pause(&mut self, progress: &Progress) -> Result {
        if cpu::fatal_signal_pending() {
            self.note_stop(Stop::Signal, progress.next);
            return Err(EINTR);
        }
        if self.fallback == Fallback::Slow {
            cpu::cond_resched();
        }
        Ok(())
    }

    /// Lets the slow path take the page at which the walk stopped, and some more.
    ///
    /// How many more depends on what the walk met: a single page in its way is taken alone, and after it the walk goes
    /// on; where all is cold, twice as many are asked for each time.
    #[cold]
    fn take_slow<K: RefKind>(
        &mut self,
        progress: &mut Progress,
        pages: &mut HeldPages<K>,
        nr_fast: u64,
    ) -> Result {
        if nr_fast > self.slow_batch as u64 {
            self.slow_batch = 1;
        }
        let nr_wanted = progress.nr_left.min(self.slow_batch as u64) as usize;
        self.slow_batch = self.slow_batch.wrapping_mul(2).min(SLOW_BATCH_MAX);

        let array = match &mut self.array {
            Some(array) => array,
            none => {
                let nr_max = progress.nr_left.min(SLOW_BATCH_MAX as u64) as usize;
                none.insert(PageArray::new(nr_max)?)
            }
        };
        let nr_taken = pages.add_slow(self.mm, array, progress.next, nr_wanted, &self.rules)?;
        if nr_taken == 0 {
            return Err(EFAULT);
        }
        self.taken.nr_slow = self.taken.nr_slow.wrapping_add(nr_taken as u64);
        progress.next = progress
            .next
            .wrapping_add((nr_taken as u64) << cpu::PAGE_SHIFT);
        progress.nr_left = progress.nr_left.wrapping_sub(nr_taken as u64);
        Ok(())
    }

    #[cold]
    fn note_stop(&mut self, stop: Stop, addr: u64) {
        Counter::Stop(stop).add(1);
        self.taken.first_stop.get_or_insert((stop, addr));
    }
}
