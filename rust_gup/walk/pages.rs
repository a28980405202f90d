// SPDX-License-Identifier: GPL-2.0

//! The walk through a table of base pages: the hot loop.

use super::{
    format::{Format, Leaf},
    grab::{changed, split, Large, MappedBy, Sighting, SizeClass, Small},
    rules::{LongRead, LongWrite, ShortRead, ShortWrite, Terms},
    Access, FolioState, Folios, Level, RefKind, RunWriter, Seen, Stop, Tables, Walker,
};

/// Where a run begins, and the first look at it.
struct Place<S> {
    seen: Seen<S>,
    index: usize,
    leaf: Leaf,
}

/// Why the loop ends before it has all.
enum End {
    /// The next page cannot be had.
    Stop(Stop),
    /// The next folio is of another size class, node or zone.
    OtherFolio,
    /// There is no room for the next run.
    NoRoom,
}

/// Entries of a table of base pages while runs are taken from them: all that the loop needs, by value. The compiler then
/// keeps it in registers; behind a reference it would have to be loaded again after each atomic operation. So no
/// function that is not inlined may be given a reference to it.
struct Leaves<'w, 'r, F: Format, T: Tables<F>, M: Folios> {
    tables: T,
    folios: M,
    context: &'w F::Context,
    /// The entry that points to the table.
    parent: Seen<T::Slot>,
    table: T::Table,
    /// The folios that are taken are of this node and zone.
    node_and_zone: usize,
    /// The next entry.
    index: usize,
    /// The first entry that is not wanted.
    end: usize,
    out: RunWriter<'r>,
    /// How many reference operations it took.
    nr_grabs: u64,
}

impl<F: Format, T: Tables<F>, M: Folios> Walker<'_, '_, F, T, M> {
    /// Takes the pages of a table of base pages.
    #[inline(always)]
    pub(super) fn take_pages<K: RefKind>(
        &mut self,
        parent: &Seen<T::Slot>,
        table: T::Table,
    ) -> Result<(), Stop> {
        match (self.rules.access, K::PINS && self.rules.longterm) {
            (Access::Read, false) => self.take_table::<K, ShortRead>(parent, table),
            (Access::Write, false) => self.take_table::<K, ShortWrite>(parent, table),
            (Access::Read, true) => self.take_table::<K, LongRead>(parent, table),
            (Access::Write, true) => self.take_table::<K, LongWrite>(parent, table),
        }
    }

    /// Takes pages from the next one on, as far as they are wanted and in this table.
    #[inline(never)]
    fn take_table<K: RefKind, R: Terms>(
        &mut self,
        parent: &Seen<T::Slot>,
        table: T::Table,
    ) -> Result<(), Stop> {
        let begin = F::LEVELS[0].index(self.progress.next);
        let nr_wanted = (self.nr_entries_left as u64).min(self.progress.nr_left) as usize;
        // Last the end of the table, so that the compiler sees that no index lies beyond it.
        let end = begin.wrapping_add(nr_wanted).min(F::LEVELS[0].nr_entries());
        let mut index = begin;
        loop {
            let seen = Seen::read(self.tables, table, index);
            let leaf = F::page(seen.raw(), self.context)?;
            let state = self
                .folios
                .state(self.folios.folio(self.folios.page(leaf.first)));
            // Device memory ends the walk before a reference is tried: `is_pci_p2pdma_page()` in C dereferences
            // `folio->pgmap` here, which can be NULL while an fsdax folio is being taken apart (`fs/dax.c`).
            if state.is_device() {
                return Err(Stop::Device);
            }
            let range = (index, end);
            let (next, result) = if state.is_large() {
                self.take_large::<K, R>(parent, table, state, range)
            } else {
                self.take_class::<K, R, Small>(parent, table, state, range)
            };
            match result {
                Ok(()) => return Ok(()),
                Err(End::Stop(stop)) => return Err(stop),
                Err(End::NoRoom) => {
                    self.nr_entries_left = 0;
                    return Ok(());
                }
                // It was as was seen above a moment ago.
                Err(End::OtherFolio) if next == index => return Err(split()),
                Err(End::OtherFolio) => index = next,
            }
        }
    }

    /// A function of its own, for the registers' sake.
    #[inline(never)]
    fn take_large<K: RefKind, R: Terms>(
        &mut self,
        parent: &Seen<T::Slot>,
        table: T::Table,
        state: M::State,
        range: (usize, usize),
    ) -> (usize, Result<(), End>) {
        self.take_class::<K, R, Large>(parent, table, state, range)
    }

    /// Takes pages while their folios are of one size class, node and zone. Returns with which entry to go on.
    #[inline(always)]
    fn take_class<K: RefKind, R: Terms, S: SizeClass>(
        &mut self,
        parent: &Seen<T::Slot>,
        table: T::Table,
        state: M::State,
        (begin, end): (usize, usize),
    ) -> (usize, Result<(), End>) {
        let mut leaves = Leaves {
            tables: self.tables,
            folios: self.folios,
            context: self.context,
            parent: *parent,
            table,
            node_and_zone: state.node_and_zone(),
            index: begin,
            end,
            out: self.out.reborrow(),
            nr_grabs: 0,
        };
        let result = leaves.take::<K, R, S>();
        let (next, nr_grabs) = (leaves.index, leaves.nr_grabs);
        let end_of_out = leaves.out.finish();
        self.out.go_on_from(end_of_out);

        let nr_taken = next.wrapping_sub(begin);
        if K::PINS && nr_taken != 0 {
            self.folios
                .count_pinned(state.node_and_zone(), nr_taken as u32);
        }
        let nr_grabs = if S::LARGE { nr_grabs } else { nr_taken as u64 };
        self.advance(Level::PTE, nr_taken as u64, nr_grabs, nr_taken);
        (next, result)
    }
}

impl<F: Format, T: Tables<F>, M: Folios> Leaves<'_, '_, F, T, M> {
    /// Takes runs until all is taken, or there is a reason to end.
    #[doc(alias = "gup_fast_pte_range")]
    #[inline(always)]
    fn take<K: RefKind, R: Terms, S: SizeClass>(&mut self) -> Result<(), End> {
        while self.index < self.end {
            let seen = Seen::read(self.tables, self.table, self.index);
            let leaf = F::page(seen.raw(), self.context).map_err(End::Stop)?;
            let sighting = self.look::<S>(leaf).ok_or(End::OtherFolio)?;
            let place = Place {
                seen,
                index: self.index,
                leaf,
            };
            let (nr_taken, result) = self.take_run::<K, R, S>(&place, &sighting)?;
            self.index = self.index.wrapping_add(nr_taken);
            if S::LARGE {
                self.nr_grabs = self.nr_grabs.wrapping_add(1);
                result.map_err(End::Stop)?;
            }
        }
        Ok(())
    }

    /// Looks at the page of an entry, and what folio it belongs to.
    #[inline(always)]
    fn look<S: SizeClass>(&self, leaf: Leaf) -> Option<Sighting<M>> {
        let page = self.folios.page(leaf.first);
        if !S::LARGE {
            let folio = self.folios.single_in(self.node_and_zone, page)?;
            return Some(Sighting::of_single(page, folio));
        }
        let sighting = Sighting::of_large(self.folios, page)?;
        let state = sighting.state(self.folios);
        (state.node_and_zone() == self.node_and_zone).then_some(sighting)
    }

    /// Takes as many pages of one folio as consecutive entries map. Returns how many, at least one, and if there could
    /// have been more, why not.
    #[inline(always)]
    fn take_run<K: RefKind, R: Terms, S: SizeClass>(
        &mut self,
        place: &Place<T::Slot>,
        sighting: &Sighting<M>,
    ) -> Result<(usize, Result<(), Stop>), End> {
        let nr = if S::LARGE {
            let nr_wanted = self.end.wrapping_sub(place.index);
            self.extend_run(place, sighting.nr_left.min(nr_wanted))
        } else {
            1
        };
        let held = sighting
            .try_grab::<K, S>(self.folios, nr as u32, &R::RULES)
            .map_err(End::Stop)?;
        // The references are there: now look again, the parent first. It catches a table that was taken out of the
        // tree with its entries still standing: pairs with `pmdp_collapse_flush()` (`mm/gup.c:2815`).
        if !self.parent.is_current(self.tables) || !place.seen.is_current(self.tables) {
            return Err(End::Stop(changed()));
        }
        let mut nr_current = 1;
        if S::LARGE {
            // Every entry counts; one in the middle can be unmapped, copied or migrated alone.
            nr_current = self.extend_run(place, nr);
            // For a run the time between the two looks is longer. That the parent is the same after the last entry
            // too means that the table was in its place while all of them were read.
            if !self.parent.is_current(self.tables) {
                return Err(End::Stop(changed()));
            }
        }

        let nr_current = nr_current as u32;
        let writable = place.leaf.writable;
        let (nr_admitted, verdict) = held
            .admit(sighting, nr_current, writable, MappedBy::Page, &R::RULES)
            .map_err(End::Stop)?;
        if !self.out.push(place.leaf.first, nr_admitted.into()) {
            return Err(End::NoRoom);
        }
        held.keep(nr_admitted);
        let result = if (nr_current as usize) < nr {
            verdict.and(Err(changed()))
        } else {
            verdict
        };
        Ok((nr_admitted as usize, result))
    }

    /// How many entries, at most `nr_max`, map consecutive frames and are otherwise alike, so that what was decided
    /// about the first holds for all.
    #[inline(always)]
    fn extend_run(&self, place: &Place<T::Slot>, nr_max: usize) -> usize {
        let nr_more = self.tables.count_progression(
            self.table,
            place.index.wrapping_add(1),
            place.seen.raw().wrapping_add(F::PAGE_STEP),
            F::PAGE_STEP,
            nr_max.wrapping_sub(1),
        );
        nr_more.wrapping_add(1)
    }
}
