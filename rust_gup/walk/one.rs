// SPDX-License-Identifier: GPL-2.0

//! Requests that one entry serves: one page, or pages of one huge leaf.
//!
//! They need no list, no window and no state that could be taken up again: the walk takes all pages or none. So
//! everything stays in registers. The protocol is that of the window: the same functions find the entry, take the
//! references, re-read and decide.

use core::num::NonZeroU64;

use super::{
    format::Format,
    grab::Ordinary,
    leaf_table::take_page,
    walker::{
        walk_down,
        Bottom, //
    },
    FolioState,
    Folios,
    Level,
    RefKind,
    Run,
    RunWriter,
    StaticRules,
    Tables,
    Walker, //
};

/// The pages that one entry gave. All of them are referenced.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct One {
    run: NonZeroU64,
    level: Level,
}

impl One {
    /// Returns the pages.
    #[inline(always)]
    pub fn run(&self) -> Run {
        Run::from_bits(self.run.get())
    }

    /// Returns the level of the leaf that maps them.
    #[inline(always)]
    pub fn level(&self) -> Level {
        self.level
    }
}

/// Takes `nr_pages` pages from `addr` on, all from one entry, as plain references or as pins. Returns `None`, and takes
/// nothing, if one entry does not map them, or if anything is in the way: a window finds out what it is.
///
/// A request for several pages is served by a huge leaf only.
#[inline(always)]
pub fn take_one<K: RefKind, R: StaticRules, F: Format, T: Tables<F>, M>(
    tables: T,
    folios: M,
    context: &F::Context,
    addr: u64,
    nr_pages: u64,
) -> Option<One>
where
    M: Folios<Slot = T::Slot>,
{
    let (bottom, kept) = walk_down::<F, T>(tables, context, addr).ok()?;
    let mut out = RunWriter::new(Run::EMPTY, &mut []);
    let (run, level, node_and_zone) = match bottom {
        Bottom::Leaf { mut part, level } => {
            if nr_pages > part.nr_pages {
                return None;
            }
            part.nr_pages = nr_pages;
            let sighting = part.sight(folios).ok()?;
            let state = sighting.state(folios);
            if state.is_device() {
                return None;
            }
            let taken = Walker::<F, T, M>::take_part::<K, R>(
                tables, folios, &part, &sighting, &mut out, Ordinary,
            );
            if !taken.ok()? {
                return None;
            }
            (out.finish().0, level, state.node_and_zone())
        }
        Bottom::Table { parent, entries } => {
            if nr_pages != 1 {
                return None;
            }
            let index = F::LEVELS[0].index(addr);
            let machine = (tables, folios, *context);
            let taken = take_page::<K, R, F, T, M>(machine, parent, entries, index, out);
            let (run, node_and_zone) = taken.ok()?;
            (run, Level::PTE, node_and_zone)
        }
    };
    drop(kept);
    if K::PINS {
        folios.count_pinned(node_and_zone, nr_pages as u32);
    }
    Some(One {
        run: NonZeroU64::new(run.bits())?,
        level,
    })
}
