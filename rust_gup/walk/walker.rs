// SPDX-License-Identifier: GPL-2.0

//! The walk: from the root down to the pages.

use super::{
    format::{Format, Interior, Leaf},
    grab::{Held, Large, MappedBy, Sighting, SizeClass, Small},
    Folios, Level, Pfn, RefKind, Rules, RunWriter, Seen, Stop, Tables,
};

/// The most levels that any format has.
pub const MAX_LEVELS: usize = 5;

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Address of the next page. Wraps to 0 after the last page of the address space.
    pub next: u64,
    /// Pages still wanted.
    pub nr_left: u64,
    /// Runs taken: how many times references were taken.
    pub nr_grabs: u64,
    /// Pages taken, by the level of the leaf that mapped them.
    pub nr_by_level: [u64; MAX_LEVELS],
}

impl Progress {
    /// A walk that begins.
    pub const fn new(first: u64, nr_pages: u64) -> Self {
        Self {
            next: first,
            nr_left: nr_pages,
            nr_grabs: 0,
            nr_by_level: [0; MAX_LEVELS],
        }
    }
}

/// What was taken from one table; small enough to stay in registers.
#[derive(Default)]
struct Taken {
    nr_pages: u64,
    nr_grabs: u64,
}

/// Where a run may begin.
struct Place<'p, T> {
    parent: &'p Seen<T>,
    table: T,
    index: usize,
    /// How many entries it may have.
    nr_max: usize,
}

/// One window of a walk: from opening it on, a bounded number of entries.
///
/// Everything in here runs with interrupts off. It does not allocate, log, sleep, lock or panic.
pub struct Walker<'w, 'r, F: Format, T: Tables<F>, M: Folios> {
    /// The tables to walk.
    pub tables: &'w T,
    /// The machine's folios.
    pub folios: &'w M,
    /// What decoding depends on.
    pub context: F::Context,
    /// What is wanted.
    pub rules: Rules,
    /// Where the runs go.
    pub out: &'w mut RunWriter<'r>,
    /// Where the walk stands.
    pub progress: &'w mut Progress,
    /// How many entries may still be taken in this window.
    pub nr_entries_left: usize,
}

impl<F: Format, T: Tables<F>, M: Folios> Walker<'_, '_, F, T, M> {
    /// Walks until all is taken, or the window is full. [`Progress`] tells which.
    ///
    /// # Errors
    ///
    /// Why the page at `progress.next` cannot be had.
    #[doc(alias = "gup_fast")]
    pub fn run<K: RefKind>(&mut self) -> Result<(), Stop> {
        if !self.is_in_reach() {
            return Err(Stop::Range);
        }
        while self.progress.nr_left != 0 && self.nr_entries_left != 0 {
            self.descend::<K>()?;
        }
        Ok(())
    }

    /// Whether the tables reach the last page that is wanted. Beyond, the index of the root would wrap around, and give
    /// the page of another address.
    #[doc(alias = "gup_fast_permitted")]
    fn is_in_reach(&self) -> bool {
        let (_, root) = self.tables.root();
        let Some(geometry) = F::LEVELS.get(root.index()) else {
            return false;
        };
        let Some(nr_more_pages) = self.progress.nr_left.checked_sub(1) else {
            return true;
        };
        let nr_more_bytes = nr_more_pages << F::LEVELS[0].shift;
        let last = self.progress.next.wrapping_add(nr_more_bytes);
        // The shift is 64 where the tables reach the end of all addresses.
        let end_shift = geometry.shift.wrapping_add(geometry.bits);
        last.checked_shr(end_shift).unwrap_or(0) == 0
    }

    /// Goes from the root to the leaf, or the table of base pages, that maps the next page, and takes what is there.
    ///
    /// Each time from the root: what was read above is as fresh as can be, and costs some loads for 512 pages.
    #[doc(alias(
        "gup_fast_pgd_range",
        "gup_fast_p4d_range",
        "gup_fast_pud_range",
        "gup_fast_pmd_range"
    ))]
    #[inline(always)]
    fn descend<K: RefKind>(&mut self) -> Result<(), Stop> {
        let addr = self.progress.next;
        let (mut table, mut level) = self.tables.root();
        loop {
            let index = F::LEVELS.get(level.index()).ok_or(Stop::Bad)?.index(addr);
            let seen = Seen::read(self.tables, table, index);
            match F::interior(seen.raw(), level, &self.context)? {
                Interior::Leaf(leaf) => return self.take_huge_leaf::<K>(&seen, level, leaf),
                Interior::Table => {
                    table = self.tables.descend(&seen, level)?;
                    level = level.below().ok_or(Stop::Bad)?;
                    if level == Level::PTE {
                        return self.take_pages::<K>(&seen, table);
                    }
                }
            }
        }
    }

    /// Takes what a huge leaf maps of the range: one run.
    #[doc(alias("gup_fast_pmd_leaf", "gup_fast_pud_leaf"))]
    #[inline(always)]
    fn take_huge_leaf<K: RefKind>(
        &mut self,
        seen: &Seen<T::Table>,
        level: Level,
        leaf: Leaf,
    ) -> Result<(), Stop> {
        let leaf_shift = F::LEVELS.get(level.index()).ok_or(Stop::Bad)?.shift;
        let page_shift = F::LEVELS[0].shift;
        let nr_in_leaf = 1u64 << leaf_shift.wrapping_sub(page_shift);
        let offset = (self.progress.next >> page_shift) & nr_in_leaf.wrapping_sub(1);
        let nr = nr_in_leaf.wrapping_sub(offset).min(self.progress.nr_left);

        let sighting = Sighting::of(self.folios, leaf.first.add(offset))?;
        // A leaf lies within one folio. If it does not, the folio is another one by now, and a small one would be held
        // by its first page alone; that it is no smaller than it looks is checked once it is referenced.
        if !sighting.large || nr > sighting.nr_left as u64 {
            return Err(Stop::Split);
        }
        let held = sighting.try_grab::<K, Large>(self.folios, nr as u32, &self.rules)?;
        // The references are there: now look again.
        if !seen.is_current(self.tables) {
            return Err(Stop::Changed);
        }
        let (nr_admitted, verdict) = held.admit(
            &sighting,
            nr as u32,
            leaf.writable,
            MappedBy::Leaf,
            &self.rules,
        );
        verdict?;
        let mut taken = Taken::default();
        self.hand_over(held, leaf.first.add(offset), nr_admitted, &mut taken);
        self.advance(level, &taken, 1);
        Ok(())
    }

    /// Takes the pages of a table of base pages.
    #[inline(always)]
    fn take_pages<K: RefKind>(
        &mut self,
        parent: &Seen<T::Table>,
        table: T::Table,
    ) -> Result<(), Stop> {
        let mut taken = Taken::default();
        let result = self.take_runs::<K>(parent, table, &mut taken);
        self.advance(Level::PTE, &taken, taken.nr_pages as usize);
        result
    }

    /// Takes runs from a table of base pages: the hot loop.
    #[doc(alias = "gup_fast_pte_range")]
    #[inline(always)]
    fn take_runs<K: RefKind>(
        &mut self,
        parent: &Seen<T::Table>,
        table: T::Table,
        taken: &mut Taken,
    ) -> Result<(), Stop> {
        let geometry = F::LEVELS[0];
        let mut index = geometry.index(self.progress.next);
        let nr_in_window = geometry
            .nr_entries()
            .wrapping_sub(index)
            .min(self.nr_entries_left);
        let nr_wanted = (nr_in_window as u64).min(self.progress.nr_left) as usize;
        let end = index.wrapping_add(nr_wanted);

        while index < end {
            let seen = Seen::read(self.tables, table, index);
            let leaf = F::page(seen.raw(), &self.context)?;
            let sighting = Sighting::of(self.folios, leaf.first)?;
            let place = Place {
                parent,
                table,
                index,
                nr_max: sighting.nr_left.min(end.wrapping_sub(index)),
            };
            let nr = if sighting.large {
                self.take_run::<K, Large>(&place, &seen, &leaf, &sighting, taken)?
            } else {
                self.take_run::<K, Small>(&place, &seen, &leaf, &sighting, taken)?
            };
            if nr == 0 {
                return Ok(());
            }
            index = index.wrapping_add(nr);
        }
        Ok(())
    }

    /// Takes as many pages of one folio as consecutive entries map. Returns how many, or 0 if there is no room.
    #[inline(always)]
    fn take_run<K: RefKind, S: SizeClass>(
        &mut self,
        place: &Place<'_, T::Table>,
        seen: &Seen<T::Table>,
        leaf: &Leaf,
        sighting: &Sighting<M>,
        taken: &mut Taken,
    ) -> Result<usize, Stop> {
        let nr = if S::LARGE {
            self.extend_run(seen, place, place.nr_max)
        } else {
            1
        };
        let held = sighting.try_grab::<K, S>(self.folios, nr as u32, &self.rules)?;
        // The references are there: now look again, the parent first. It catches a table that was taken out of the
        // tree with its entries still standing: pairs with `pmdp_collapse_flush()` (`mm/gup.c:2815`).
        if !place.parent.is_current(self.tables) {
            return Err(Stop::Changed);
        }
        let nr_current = self.nr_current(seen, place, nr);
        // For a run the time between the two looks is longer. That the parent is the same after the last entry too
        // means that the table was in its place while all of them were read.
        if nr > 1 && !place.parent.is_current(self.tables) || nr_current == 0 {
            return Err(Stop::Changed);
        }

        let (nr_admitted, verdict) = held.admit(
            sighting,
            nr_current as u32,
            leaf.writable,
            MappedBy::Page,
            &self.rules,
        );
        if nr_admitted != 0 && !self.hand_over(held, leaf.first, nr_admitted, taken) {
            return Ok(0);
        }
        verdict?;
        if nr_current < nr {
            return Err(Stop::Changed);
        }
        Ok(nr)
    }

    /// How many entries from `seen` on, at most `nr_max`, map consecutive frames and are otherwise alike, so that what
    /// was decided about the first holds for all.
    #[inline(always)]
    fn extend_run(
        &self,
        seen: &Seen<T::Table>,
        place: &Place<'_, T::Table>,
        nr_max: usize,
    ) -> usize {
        let mut nr = 1;
        let mut expected = seen.raw();
        while nr < nr_max {
            expected = expected.wrapping_add(F::PAGE_STEP);
            if self.tables.load(place.table, place.index.wrapping_add(nr)) != expected {
                break;
            }
            nr = nr.wrapping_add(1);
        }
        nr
    }

    /// The second look at a run: how many of its entries, from the first on, are unchanged. Every one counts; one in
    /// the middle can be unmapped, copied or migrated alone.
    #[inline(always)]
    fn nr_current(&self, seen: &Seen<T::Table>, place: &Place<'_, T::Table>, nr: usize) -> usize {
        if !seen.is_current(self.tables) {
            return 0;
        }
        self.extend_run(seen, place, nr)
    }

    /// Hands pages over to the caller. Returns `false`, with the references given back, if there is no room to write
    /// them down; the window is full then.
    #[inline(always)]
    fn hand_over<K: RefKind, S: SizeClass>(
        &mut self,
        held: Held<'_, M, K, S>,
        first: Pfn,
        nr: u32,
        taken: &mut Taken,
    ) -> bool {
        if !self.out.push(first, u64::from(nr)) {
            self.nr_entries_left = 0;
            return false;
        }
        held.keep(nr);
        taken.nr_pages = taken.nr_pages.wrapping_add(u64::from(nr));
        taken.nr_grabs = taken.nr_grabs.wrapping_add(1);
        true
    }

    /// Moves on by what was taken from one table.
    #[inline(always)]
    fn advance(&mut self, level: Level, taken: &Taken, nr_entries: usize) {
        let progress = &mut *self.progress;
        let nr_bytes = taken.nr_pages << F::LEVELS[0].shift;
        progress.next = progress.next.wrapping_add(nr_bytes);
        progress.nr_left = progress.nr_left.wrapping_sub(taken.nr_pages);
        progress.nr_grabs = progress.nr_grabs.wrapping_add(taken.nr_grabs);
        if let Some(count) = progress.nr_by_level.get_mut(level.index()) {
            *count = count.wrapping_add(taken.nr_pages);
        }
        self.nr_entries_left = self.nr_entries_left.saturating_sub(nr_entries);
    }
}
