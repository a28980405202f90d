// SPDX-License-Identifier: GPL-2.0

//! The walk: from the root down to the pages.

use super::{
    format::{Format, Interior, Leaf},
    grab::{changed, Held, Large, MappedBy, Sighting, SizeClass, Small},
    rules::{LongRead, LongWrite, ShortRead, ShortWrite, Terms},
    Access, FolioState, Folios, Level, Pfn, RefKind, Rules, RunWriter, Seen, Stop, Tables,
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

/// Where a run begins, and the first look at it.
struct Place<'p, T> {
    parent: &'p Seen<T>,
    table: T,
    index: usize,
    seen: Seen<T>,
    leaf: Leaf,
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
    pub context: &'w F::Context,
    /// What is wanted.
    pub rules: Rules,
    /// Where the runs go.
    pub out: &'w mut RunWriter<'r>,
    /// Where the walk stands.
    pub progress: &'w mut Progress,
    /// How many entries may still be taken in this window.
    pub nr_entries_left: usize,
    /// What the walk keeps for itself; [`Local::default()`] in the beginning.
    pub local: Local,
}

/// What a walk keeps for itself.
#[derive(Debug)]
pub struct Local {
    /// Node and zone of the folio that was last looked at.
    node_and_zone: usize,
    /// From this entry of the table on, pins are not yet counted.
    uncounted_from: usize,
    /// Pages that came with the reference operation of another page.
    nr_shared: u64,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            // What no folio has: there are not that many bits.
            node_and_zone: usize::MAX,
            uncounted_from: 0,
            nr_shared: 0,
        }
    }
}

impl<F: Format, T: Tables<F>, M: Folios> Walker<'_, '_, F, T, M> {
    /// Walks until all is taken, or the window is full. [`Progress`] tells which.
    ///
    /// # Errors
    ///
    /// Why the page at `progress.next` cannot be had.
    #[doc(alias = "gup_fast")]
    pub fn run<K: RefKind>(&mut self) -> Result<(), Stop> {
        while self.progress.nr_left != 0 && self.nr_entries_left != 0 {
            self.descend::<K>()?;
        }
        Ok(())
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
        let (mut table, root) = self.tables.root();
        // Over all levels that there can be, so that the compiler can make straight code of it.
        for index in (1..F::LEVELS.len()).rev() {
            let level = Level::from_index(index);
            let geometry = &F::LEVELS[index];
            if level > root {
                continue;
            }
            if level == root && geometry.is_beyond(addr) {
                return Err(Stop::Range);
            }
            let seen = Seen::read(self.tables, table, geometry.index(addr));
            match F::interior(seen.raw(), level, self.context)? {
                Interior::Leaf(leaf) => return self.take_huge_leaf::<K>(&seen, level, leaf),
                Interior::Table => {
                    table = self.tables.descend(&seen, level)?;
                    if level == Level::PMD {
                        return self.take_pages::<K>(&seen, table);
                    }
                }
            }
        }
        Err(Stop::Bad)
    }

    /// Takes what a huge leaf maps of the range: one run.
    #[doc(alias("gup_fast_pmd_leaf", "gup_fast_pud_leaf"))]
    #[inline(never)]
    fn take_huge_leaf<K: RefKind>(
        &mut self,
        seen: &Seen<T::Table>,
        level: Level,
        leaf: Leaf,
    ) -> Result<(), Stop> {
        let leaf_shift = F::LEVELS.get(level.index()).ok_or(Stop::Bad)?.shift;
        let page_shift = F::LEVELS[0].shift;
        let nr_in_leaf = 1u64.wrapping_shl(leaf_shift.wrapping_sub(page_shift));
        let offset = (self.progress.next >> page_shift) & nr_in_leaf.wrapping_sub(1);
        let nr = nr_in_leaf.wrapping_sub(offset).min(self.progress.nr_left);

        let page = self.folios.page(leaf.first.add(offset));
        let sighting = Sighting::of_large(self.folios, page);
        let state = sighting.state(self.folios);
        if state.is_device() {
            return Err(Stop::Device);
        }
        // A leaf lies within one folio. If it does not, the folio is another one by now, and a small one would be held
        // by its first page alone; that it is no smaller than it looks is checked once it is referenced.
        if !state.is_large() || nr > sighting.nr_left as u64 {
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
        if self.hand_over(held, leaf.first.add(offset), nr_admitted) {
            if K::PINS {
                self.folios.count_pinned(state.node_and_zone(), nr_admitted);
            }
            self.local.nr_shared = u64::from(nr_admitted).wrapping_sub(1);
            self.advance(level, nr_admitted.into(), 1);
        }
        Ok(())
    }

    /// Takes the pages of a table of base pages.
    #[inline(never)]
    fn take_pages<K: RefKind>(
        &mut self,
        parent: &Seen<T::Table>,
        table: T::Table,
    ) -> Result<(), Stop> {
        let begin = F::LEVELS[0].index(self.progress.next);
        self.local.uncounted_from = begin;
        self.local.nr_shared = 0;
        let (end, result) = match (self.rules.access, self.rules.longterm) {
            (Access::Read, false) => self.take_runs::<K, ShortRead>(parent, table, begin),
            (Access::Write, false) => self.take_runs::<K, ShortWrite>(parent, table, begin),
            (Access::Read, true) => self.take_runs::<K, LongRead>(parent, table, begin),
            (Access::Write, true) => self.take_runs::<K, LongWrite>(parent, table, begin),
        };
        self.count_pins::<K>(end);
        let nr_taken = end.wrapping_sub(begin);
        self.advance(Level::PTE, nr_taken as u64, nr_taken);
        result
    }

    /// Takes runs from a table of base pages, from entry `index` on: the hot loop. A function of its own, so that it
    /// has the registers to itself. Returns at which entry it ended, and if not all was taken, why.
    #[doc(alias = "gup_fast_pte_range")]
    #[inline(never)]
    fn take_runs<K: RefKind, R: Terms>(
        &mut self,
        parent: &Seen<T::Table>,
        table: T::Table,
        mut index: usize,
    ) -> (usize, Result<(), Stop>) {
        let nr_in_window = F::LEVELS[0]
            .nr_entries()
            .wrapping_sub(index)
            .min(self.nr_entries_left);
        let nr_wanted = (nr_in_window as u64).min(self.progress.nr_left) as usize;
        let end = index.wrapping_add(nr_wanted);

        while index < end {
            let seen = Seen::read(self.tables, table, index);
            let leaf = match F::page(seen.raw(), self.context) {
                Ok(leaf) => leaf,
                Err(stop) => return (index, Err(stop)),
            };
            let page = self.folios.page(leaf.first);
            let place = Place {
                parent,
                table,
                index,
                seen,
                leaf,
            };
            let (nr_taken, result) = match self.folios.single(page) {
                Some(folio) => {
                    let sighting = Sighting::of_single(page, folio);
                    self.take_run::<K, R, Small>(&place, &sighting, 1)
                }
                None => {
                    let sighting = Sighting::of_large(self.folios, page);
                    let nr_max = sighting.nr_left.min(end.wrapping_sub(index));
                    self.take_run::<K, R, Large>(&place, &sighting, nr_max)
                }
            };
            index = index.wrapping_add(nr_taken);
            // With no page and no reason, there was no room.
            if nr_taken == 0 || result.is_err() {
                return (index, result);
            }
        }
        (index, Ok(()))
    }

    /// Takes as many pages of one folio as consecutive entries map, `nr_max` at most. Returns how many, and if there
    /// could have been more, why not.
    #[inline(always)]
    fn take_run<K: RefKind, R: Terms, S: SizeClass>(
        &mut self,
        place: &Place<'_, T::Table>,
        sighting: &Sighting<M>,
        nr_max: usize,
    ) -> (usize, Result<(), Stop>) {
        let state = sighting.state(self.folios);
        if state.node_and_zone() != self.local.node_and_zone {
            if let Err(stop) = self.enter_zone::<K>(state, place.index) {
                return (0, Err(stop));
            }
        }
        let nr = if S::LARGE {
            self.extend_run(place, nr_max)
        } else {
            1
        };
        let held = match sighting.try_grab::<K, S>(self.folios, nr as u32, &R::RULES) {
            Ok(held) => held,
            Err(stop) => return (0, Err(stop)),
        };
        // The references are there: now look again, the parent first. It catches a table that was taken out of the
        // tree with its entries still standing: pairs with `pmdp_collapse_flush()` (`mm/gup.c:2815`).
        if !place.parent.is_current(self.tables) {
            return (0, Err(changed()));
        }
        let nr_current = if !place.seen.is_current(self.tables) {
            0
        } else if S::LARGE {
            // Every entry counts; one in the middle can be unmapped, copied or migrated alone.
            self.extend_run(place, nr)
        } else {
            1
        };
        // For a run the time between the two looks is longer. That the parent is the same after the last entry too
        // means that the table was in its place while all of them were read.
        if S::LARGE && !place.parent.is_current(self.tables) || nr_current == 0 {
            return (0, Err(changed()));
        }

        let (nr_admitted, verdict) = held.admit(
            sighting,
            nr_current as u32,
            place.leaf.writable,
            MappedBy::Page,
            &R::RULES,
        );
        if nr_admitted == 0 {
            return (0, verdict);
        }
        if !self.hand_over(held, place.leaf.first, nr_admitted) {
            return (0, Ok(()));
        }
        if S::LARGE {
            let nr_shared = u64::from(nr_admitted).wrapping_sub(1);
            self.local.nr_shared = self.local.nr_shared.wrapping_add(nr_shared);
        }
        let result = if nr_current < nr {
            verdict.and(Err(changed()))
        } else {
            verdict
        };
        (nr_admitted as usize, result)
    }

    /// How many entries, at most `nr_max`, map consecutive frames and are otherwise alike, so that what was decided
    /// about the first holds for all.
    #[inline(always)]
    fn extend_run(&self, place: &Place<'_, T::Table>, nr_max: usize) -> usize {
        let nr_more = self.tables.count_progression(
            place.table,
            place.index.wrapping_add(1),
            place.seen.raw().wrapping_add(F::PAGE_STEP),
            F::PAGE_STEP,
            nr_max.wrapping_sub(1),
        );
        nr_more.wrapping_add(1)
    }

    /// The folio at entry `index` is of another node or zone than the last one.
    #[cold]
    #[inline(never)]
    fn enter_zone<K: RefKind>(&mut self, state: M::State, index: usize) -> Result<(), Stop> {
        self.count_pins::<K>(index);
        // Device memory ends the walk before a reference is tried: `is_pci_p2pdma_page()` in C dereferences
        // `folio->pgmap` here, which can be NULL while an fsdax folio is being taken apart (`fs/dax.c`).
        if state.is_device() {
            return Err(Stop::Device);
        }
        self.local.node_and_zone = state.node_and_zone();
        Ok(())
    }

    /// Hands pages over to the caller. Returns `false`, with the references given back, if there is no room to write
    /// them down; the window is full then.
    #[inline(always)]
    fn hand_over<K: RefKind, S: SizeClass>(
        &mut self,
        held: Held<'_, M, K, S>,
        first: Pfn,
        nr: u32,
    ) -> bool {
        if !self.out.push(first, u64::from(nr)) {
            self.nr_entries_left = 0;
            return false;
        }
        held.keep(nr);
        true
    }

    /// Counts the pins of the entries before `end` that are not counted yet. They are all of one node.
    #[inline(always)]
    fn count_pins<K: RefKind>(&mut self, end: usize) {
        let nr_pins = end.wrapping_sub(self.local.uncounted_from);
        if K::PINS && nr_pins != 0 {
            self.folios
                .count_pinned(self.local.node_and_zone, nr_pins as u32);
            self.local.uncounted_from = end;
        }
    }

    /// Moves on by what was taken from one table.
    #[inline(always)]
    fn advance(&mut self, level: Level, nr_pages: u64, nr_entries: usize) {
        let progress = &mut *self.progress;
        progress.next = progress.next.wrapping_add(nr_pages << F::LEVELS[0].shift);
        progress.nr_left = progress.nr_left.wrapping_sub(nr_pages);
        let nr_grabs = nr_pages.wrapping_sub(self.local.nr_shared);
        progress.nr_grabs = progress.nr_grabs.wrapping_add(nr_grabs);
        if let Some(count) = progress.nr_by_level.get_mut(level.index()) {
            *count = count.wrapping_add(nr_pages);
        }
        self.nr_entries_left = self.nr_entries_left.saturating_sub(nr_entries);
    }
}
