// SPDX-License-Identifier: GPL-2.0

//! The walk through a table of base pages: the hot loop.

use super::{
    format::Format,
    grab::{
        changed,
        split,
        Another,
        Device,
        Large,
        MappedBy,
        Ordinary,
        Sighting,
        SizeClass,
        Small,
        Zone, //
    },
    FolioState,
    Folios,
    Level,
    Mapped,
    RefKind,
    Run,
    RunWriter,
    Seen,
    Stop,
    Tables,
    Terms,
    Walker, //
};

/// Where a run begins, and the first look at it.
struct Place<S> {
    seen: Seen<S>,
    mapped: Mapped<S>,
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
struct Leaves<'r, F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> {
    tables: T,
    folios: M,
    context: F::Context,
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

/// How the loop ended.
struct Ended {
    /// The next entry.
    index: usize,
    /// How many reference operations it took, if the folios are large; otherwise one a page.
    nr_grabs: u64,
    /// What the writer finished with.
    out: (Run, usize),
    /// Why, if it does not have all.
    result: Result<(), End>,
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Walker<'_, '_, F, T, M> {
    /// Takes pages from the next one on, as far as they are wanted and in this table.
    #[inline(always)]
    pub(super) fn take_table<K: RefKind, R: Terms>(
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
            let mapped = seen.page(self.tables, &self.context)?;
            let page = self.folios.page(mapped);
            let single = self.folios.single(page);
            let sighting = match single {
                Some(folio) => Sighting::of_single(page, folio),
                None => Sighting::of_large(self.folios, page).ok_or_else(split)?,
            };
            let state = sighting.state(self.folios);
            let mut leaves = Leaves {
                tables: self.tables,
                folios: self.folios,
                context: self.context,
                parent: *parent,
                table,
                node_and_zone: state.node_and_zone(),
                index,
                end,
                out: self.out.reborrow(),
                nr_grabs: 0,
            };
            let place = Place { seen, mapped };
            let (next, nr_grabs, result);
            if state.is_device() {
                let device = Device {
                    admits_p2pdma: self.admits_p2pdma,
                };
                let ended = leaves.take_device::<K, R>(place, device);
                (next, nr_grabs, result) = (ended.index, ended.nr_grabs, ended.result);
                self.out.go_on_from(ended.out);
                self.note_device(next.wrapping_sub(index) as u64);
            } else {
                result = if single.is_some() {
                    leaves.take_all::<K, R, Small>(&place, &sighting)
                } else {
                    leaves.take_all::<K, R, Large>(&place, &sighting)
                };
                (next, nr_grabs) = (leaves.index, leaves.nr_grabs);
                let out = leaves.out.finish();
                self.out.go_on_from(out);
            }

            let nr_taken = next.wrapping_sub(index);
            if K::PINS && nr_taken != 0 {
                self.folios
                    .count_pinned(state.node_and_zone(), nr_taken as u32);
            }
            self.advance(Level::PTE, nr_taken as u64, nr_grabs, nr_taken);
            match result {
                Ok(()) => return Ok(()),
                Err(End::Stop(stop)) => return Err(stop),
                Err(End::NoRoom) => {
                    self.nr_entries_left = 0;
                    return Ok(());
                }
                Err(End::OtherFolio) => index = next,
            }
        }
    }
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Leaves<'_, F, T, M> {
    /// Takes runs until all is taken, or there is a reason to end. Where the first one is, was looked up already.
    ///
    /// Most requests are small and end with that. What goes on with the next one is a function of its own, for the
    /// registers' sake.
    #[inline(always)]
    fn take_all<K: RefKind, R: Terms, S: SizeClass>(
        &mut self,
        place: &Place<T::Slot>,
        sighting: &Sighting<M>,
    ) -> Result<(), End> {
        self.take_run::<K, R, S>(place, sighting, Ordinary)?;
        if self.index >= self.end {
            return Ok(());
        }
        // A copy, so that the address of this one remains unknown.
        let more = Leaves {
            out: self.out.reborrow(),
            nr_grabs: 0,
            ..*self
        };
        let ended = more.take_more::<K, R, S>();
        let nr_grabs = if S::LARGE {
            ended.nr_grabs
        } else {
            ended.index.wrapping_sub(self.index) as u64
        };
        self.nr_grabs = self.nr_grabs.wrapping_add(nr_grabs);
        self.index = ended.index;
        self.out.go_on_from(ended.out);
        ended.result
    }

    /// Takes more runs, while their folios are of the same size class, node and zone.
    #[inline(never)]
    fn take_more<K: RefKind, R: Terms, S: SizeClass>(mut self) -> Ended {
        let mut leaves = Leaves {
            // That no entry lies beyond the table, the compiler has to see here again.
            end: self.end.min(F::LEVELS[0].nr_entries()),
            out: self.out.reborrow(),
            ..self
        };
        let result = leaves.take_runs::<K, R, S>();
        Ended {
            index: leaves.index,
            nr_grabs: if S::LARGE { leaves.nr_grabs } else { 0 },
            out: leaves.out.finish(),
            result,
        }
    }

    /// The loop of it.
    #[doc(alias = "gup_fast_pte_range")]
    #[inline(always)]
    fn take_runs<K: RefKind, R: Terms, S: SizeClass>(&mut self) -> Result<(), End> {
        while self.index < self.end {
            let seen = Seen::read(self.tables, self.table, self.index);
            let mapped = seen.page(self.tables, &self.context).map_err(End::Stop)?;
            let sighting = self.look::<S>(mapped).ok_or_else(other_folio)?;
            let place = Place { seen, mapped };
            self.take_run::<K, R, S>(&place, &sighting, Another)?;
        }
        Ok(())
    }

    /// Takes runs of device memory from the given place on, while there is such of the same node. Apart from the rest,
    /// which so has nothing to do with it.
    #[cold]
    #[inline(never)]
    fn take_device<K: RefKind, R: Terms>(mut self, place: Place<T::Slot>, device: Device) -> Ended {
        let result = self.take_device_runs::<K, R>(place, device);
        Ended {
            index: self.index,
            nr_grabs: self.nr_grabs,
            out: self.out.finish(),
            result,
        }
    }

    /// The loop of it, over folios of each size.
    #[inline(always)]
    fn take_device_runs<K: RefKind, R: Terms>(
        &mut self,
        mut place: Place<T::Slot>,
        device: Device,
    ) -> Result<(), End> {
        let folios = self.folios;
        loop {
            let page = folios.page(place.mapped);
            let state = folios.state(folios.folio(page));
            if state.node_and_zone() != self.node_and_zone {
                return Err(End::OtherFolio);
            }
            if let Some(folio) = folios.single(page) {
                let sighting = Sighting::of_single(page, folio);
                self.take_run::<K, R, Small>(&place, &sighting, device)?;
            } else {
                let sighting = Sighting::of_large(folios, page)
                    .ok_or_else(split)
                    .map_err(End::Stop)?;
                self.take_run::<K, R, Large>(&place, &sighting, device)?;
            }
            if self.index >= self.end {
                return Ok(());
            }
            let seen = Seen::read(self.tables, self.table, self.index);
            let mapped = seen.page(self.tables, &self.context).map_err(End::Stop)?;
            place = Place { seen, mapped };
        }
    }

    /// Looks at the page of an entry, and what folio it belongs to.
    #[inline(always)]
    fn look<S: SizeClass>(&self, mapped: Mapped<T::Slot>) -> Option<Sighting<M>> {
        let page = self.folios.page(mapped);
        if !S::LARGE {
            let folio = self.folios.single_in(self.node_and_zone, page)?;
            return Some(Sighting::of_single(page, folio));
        }
        let sighting = Sighting::of_large(self.folios, page)?;
        let state = sighting.state(self.folios);
        (state.node_and_zone() == self.node_and_zone).then_some(sighting)
    }

    /// Takes as many pages of one folio as consecutive entries map, at least one. Returns why not more, if there could
    /// have been.
    #[inline(always)]
    fn take_run<K: RefKind, R: Terms, S: SizeClass>(
        &mut self,
        place: &Place<T::Slot>,
        sighting: &Sighting<M>,
        zone: impl Zone<M>,
    ) -> Result<(), End> {
        let nr = if S::LARGE {
            let nr_wanted = self.end.wrapping_sub(self.index);
            self.extend_run(place, sighting.nr_left.min(nr_wanted))
        } else {
            1
        };
        let held = sighting
            .try_grab::<K, S>(self.folios, nr as u32, &R::RULES, zone)
            .map_err(End::Stop)?;
        // The references are there: now look again, the parent first. It catches a table that was taken out of the
        // tree with its entries still standing: pairs with `pmdp_collapse_flush()` (`mm/gup.c:2809`).
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
        let writable = place.mapped.writable();
        let (nr_admitted, verdict) = held
            .admit(sighting, nr_current, writable, MappedBy::Page, &R::RULES)
            .map_err(End::Stop)?;
        let has_room = held.write(zone, &mut self.out, place.mapped.frame(), nr_admitted);
        if !has_room.map_err(End::Stop)? {
            return Err(End::NoRoom);
        }
        held.keep(nr_admitted);
        self.index = self.index.wrapping_add(nr_admitted as usize);
        self.nr_grabs = self.nr_grabs.wrapping_add(1);
        if S::LARGE {
            verdict.map_err(End::Stop)?;
            if (nr_current as usize) < nr {
                return Err(End::Stop(changed()));
            }
        }
        Ok(())
    }

    /// How many entries, at most `nr_max`, map consecutive frames and are otherwise alike, so that what was decided
    /// about the first holds for all.
    #[inline(always)]
    fn extend_run(&self, place: &Place<T::Slot>, nr_max: usize) -> usize {
        let nr_more = self.tables.count_progression(
            self.table,
            self.index.wrapping_add(1),
            place.seen.raw().wrapping_add(F::PAGE_STEP),
            F::PAGE_STEP,
            nr_max.wrapping_sub(1),
        );
        nr_more.wrapping_add(1)
    }
}

/// From a call, as the reasons in [`grab`](super::grab) are.
#[cold]
#[inline(never)]
fn other_folio() -> End {
    core::hint::black_box(End::OtherFolio)
}
