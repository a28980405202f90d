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
    StaticRules,
    Stop,
    Tables,
    Walker, //
};

/// Where a run begins, and the first look at it.
struct FirstEntry<S> {
    seen: Seen<S>,
    mapped: Mapped<S>,
}

impl<S: Copy> FirstEntry<S> {
    /// Reads the entry `index` of a table of base pages.
    #[inline(always)]
    fn read<F, T>(
        tables: T,
        entries: T::Entries,
        index: usize,
        context: &F::Context,
    ) -> Result<Self, Stop>
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let index = F::LEVELS[0].nth(index);
        let seen = Seen::read(tables, entries, index);
        let mapped = seen.page(tables, index, context)?;
        Ok(Self { seen, mapped })
    }
}

/// Why the loop ends before it has all.
enum LoopEnd {
    /// The next page cannot be had.
    Stop(Stop),
    /// The next folio is of another size class, node or zone.
    OtherFolio,
    /// There is no room for the next run.
    NoRoom,
}

/// Entries of a table of base pages while runs are taken from them: all that the loop needs, by value. The compiler
/// then keeps it in registers; behind a reference it would have to be loaded again after each atomic operation. So no
/// function that is not inlined may be given a reference to it.
struct Leaves<'r, F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> {
    tables: T,
    folios: M,
    context: F::Context,
    /// The entry that points to the table.
    parent: Seen<T::Slot>,
    entries: T::Entries,
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
struct LoopResult {
    /// The next entry.
    index: usize,
    /// How many reference operations it took, if the folios are large; otherwise one a page.
    nr_grabs: u64,
    /// What the writer finished with.
    out: (Run, usize),
    /// Why, if it does not have all.
    result: Result<(), LoopEnd>,
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Walker<'_, '_, F, T, M> {
    /// Takes pages from the next one on, as far as they are wanted and in this table.
    #[inline(always)]
    pub(super) fn take_table<K: RefKind, R: StaticRules>(
        &mut self,
        parent: &Seen<T::Slot>,
        entries: T::Entries,
    ) -> Result<(), Stop> {
        let begin = F::LEVELS[0].index(self.progress.next).get();
        let nr_wanted = (self.nr_entries_left as u64).min(self.progress.nr_left) as usize;
        // Last the end of the table, so that the compiler sees that no index lies beyond it.
        let end = begin.wrapping_add(nr_wanted).min(F::LEVELS[0].nr_entries());
        let mut index = begin;
        loop {
            let first = FirstEntry::read(self.tables, entries, index, &self.context)?;
            let page = self.folios.page(first.mapped);
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
                entries,
                node_and_zone: state.node_and_zone(),
                index,
                end,
                out: self.out.reborrow(),
                nr_grabs: 0,
            };
            let (next, nr_grabs, result);
            if state.is_device() {
                let device = Device {
                    admits_p2pdma: self.admits_p2pdma,
                };
                let ended = leaves.take_device::<K, R>(first, device);
                (next, nr_grabs, result) = (ended.index, ended.nr_grabs, ended.result);
                self.out.go_on_from(ended.out);
                self.note_device(next.wrapping_sub(index) as u64);
            } else {
                result = if single.is_some() {
                    leaves.take_all::<K, R, Small>(&first, &sighting)
                } else {
                    leaves.take_all::<K, R, Large>(&first, &sighting)
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
                Err(LoopEnd::Stop(stop)) => return Err(stop),
                Err(LoopEnd::NoRoom) => {
                    self.nr_entries_left = 0;
                    return Ok(());
                }
                Err(LoopEnd::OtherFolio) => index = next,
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
    fn take_all<K: RefKind, R: StaticRules, S: SizeClass>(
        &mut self,
        first: &FirstEntry<T::Slot>,
        sighting: &Sighting<M>,
    ) -> Result<(), LoopEnd> {
        self.take_run::<K, R, S>(first, sighting, Ordinary)?;
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
    fn take_more<K: RefKind, R: StaticRules, S: SizeClass>(mut self) -> LoopResult {
        let mut leaves = Leaves {
            // That no entry lies beyond the table, the compiler has to see here again.
            end: self.end.min(F::LEVELS[0].nr_entries()),
            out: self.out.reborrow(),
            ..self
        };
        let result = leaves.take_runs::<K, R, S>();
        LoopResult {
            index: leaves.index,
            nr_grabs: if S::LARGE { leaves.nr_grabs } else { 0 },
            out: leaves.out.finish(),
            result,
        }
    }

    /// Takes the remaining runs of the table.
    #[doc(alias = "gup_fast_pte_range")]
    #[inline(always)]
    fn take_runs<K: RefKind, R: StaticRules, S: SizeClass>(&mut self) -> Result<(), LoopEnd> {
        while self.index < self.end {
            let first = self.read().map_err(LoopEnd::Stop)?;
            let sighting = self.look::<S>(first.mapped).ok_or_else(other_folio)?;
            self.take_run::<K, R, S>(&first, &sighting, Another)?;
        }
        Ok(())
    }

    /// Takes runs of device memory from the given entry on, while there is such of the same node. Apart from the rest,
    /// which so has nothing to do with it.
    #[cold]
    #[inline(never)]
    fn take_device<K: RefKind, R: StaticRules>(
        mut self,
        first: FirstEntry<T::Slot>,
        device: Device,
    ) -> LoopResult {
        let result = self.take_device_runs::<K, R>(first, device);
        LoopResult {
            index: self.index,
            nr_grabs: self.nr_grabs,
            out: self.out.finish(),
            result,
        }
    }

    /// The loop of it, over folios of each size.
    #[inline(always)]
    fn take_device_runs<K: RefKind, R: StaticRules>(
        &mut self,
        mut first: FirstEntry<T::Slot>,
        device: Device,
    ) -> Result<(), LoopEnd> {
        let folios = self.folios;
        loop {
            let page = folios.page(first.mapped);
            let state = folios.state(folios.folio(page));
            if state.node_and_zone() != self.node_and_zone {
                return Err(LoopEnd::OtherFolio);
            }
            if let Some(folio) = folios.single(page) {
                let sighting = Sighting::of_single(page, folio);
                self.take_run::<K, R, Small>(&first, &sighting, device)?;
            } else {
                let sighting = Sighting::of_large(folios, page)
                    .ok_or_else(split)
                    .map_err(LoopEnd::Stop)?;
                self.take_run::<K, R, Large>(&first, &sighting, device)?;
            }
            if self.index >= self.end {
                return Ok(());
            }
            first = self.read().map_err(LoopEnd::Stop)?;
        }
    }

    /// Reads the next entry.
    #[inline(always)]
    fn read(&self) -> Result<FirstEntry<T::Slot>, Stop> {
        FirstEntry::read(self.tables, self.entries, self.index, &self.context)
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
    fn take_run<K: RefKind, R: StaticRules, S: SizeClass>(
        &mut self,
        first: &FirstEntry<T::Slot>,
        sighting: &Sighting<M>,
        zone: impl Zone<M>,
    ) -> Result<(), LoopEnd> {
        let nr = if S::LARGE {
            let nr_wanted = self.end.wrapping_sub(self.index);
            self.extend_run(first, sighting.nr_left.min(nr_wanted))
        } else {
            1
        };
        let held = sighting
            .try_grab::<K, S>(self.folios, nr as u32, &R::RULES, zone)
            .map_err(LoopEnd::Stop)?;
        // The references are there: now look again, the parent first. It catches a table that was taken out of the
        // tree with its entries still standing: pairs with `pmdp_collapse_flush()` (`mm/gup.c:2809`).
        if !self.parent.is_current(self.tables) || !first.seen.is_current(self.tables) {
            return Err(LoopEnd::Stop(changed()));
        }
        let mut nr_current = 1;
        if S::LARGE {
            // Every entry counts; one in the middle can be unmapped, copied or migrated alone.
            nr_current = self.extend_run(first, nr);
            // For a run the time between the two looks is longer. That the parent is the same after the last entry
            // too means that the table was in its place while all of them were read.
            if !self.parent.is_current(self.tables) {
                return Err(LoopEnd::Stop(changed()));
            }
        }

        let nr_current = nr_current as u32;
        let writable = first.mapped.writable();
        let (nr_admitted, verdict) = held
            .admit(sighting, nr_current, writable, MappedBy::Page, &R::RULES)
            .map_err(LoopEnd::Stop)?;
        let has_room = held.write(zone, &mut self.out, first.mapped.frame(), nr_admitted);
        if !has_room.map_err(LoopEnd::Stop)? {
            return Err(LoopEnd::NoRoom);
        }
        held.keep(nr_admitted);
        self.index = self.index.wrapping_add(nr_admitted as usize);
        self.nr_grabs = self.nr_grabs.wrapping_add(1);
        if S::LARGE {
            verdict.map_err(LoopEnd::Stop)?;
            if (nr_current as usize) < nr {
                return Err(LoopEnd::Stop(changed()));
            }
        }
        Ok(())
    }

    /// How many entries, at most `nr_max`, map consecutive frames and are otherwise alike, so that what was decided
    /// about the first holds for all. Entries of a group are the same number, and those behind it begin another run.
    #[inline(always)]
    fn extend_run(&self, first: &FirstEntry<T::Slot>, nr_max: usize) -> usize {
        let raw = first.seen.raw();
        let (step, nr_max) = match F::group(raw, F::LEVELS[0].nth(self.index)) {
            None => (F::PAGE_STEP, nr_max),
            Some(group) => (0, nr_max.min(group.nr_left)),
        };
        let nr_more = self.tables.count_progression(
            self.entries,
            self.index.wrapping_add(1),
            raw.wrapping_add(step),
            step,
            nr_max.wrapping_sub(1),
        );
        nr_more.wrapping_add(1)
    }
}

/// From a call, as the reasons in [`grab`](super::grab) are.
#[cold]
#[inline(never)]
fn other_folio() -> LoopEnd {
    core::hint::black_box(LoopEnd::OtherFolio)
}
