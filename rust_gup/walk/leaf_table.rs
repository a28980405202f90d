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
    prefetch::{
        ahead_of,
        Downwards,
        Frames,
        Hint,
        Hints,
        Order,
        Quiet,
        Scattered,
        Upwards,
        NR_AHEAD_IN_ORDER, //
    },
    FolioState,
    Folios,
    Index,
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

/// The first entry of a run, as it was read and decoded.
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

/// What the walk saw at the first entry that it takes.
struct FirstLook<S, M: Folios> {
    first: FirstEntry<S>,
    sighting: Sighting<M>,
    is_single: bool,
}

impl<S: Copy, M: Folios<Slot = S>> FirstLook<S, M> {
    /// Reads the entry `index`, and looks up its page and the folio, of whatever size that is.
    #[inline(always)]
    fn new<F, T>(
        tables: T,
        folios: M,
        entries: T::Entries,
        index: usize,
        context: &F::Context,
    ) -> Result<Self, Stop>
    where
        F: Format,
        T: Tables<F, Slot = S>,
    {
        let first = FirstEntry::read::<F, T>(tables, entries, index, context)?;
        let page = folios.page(first.mapped);
        let single = folios.single(page);
        let sighting = match single {
            Some(folio) => Sighting::of_single(page, folio),
            None => Sighting::of_large(folios, page).ok_or_else(split)?,
        };
        Ok(Self {
            first,
            sighting,
            is_single: single.is_some(),
        })
    }
}

/// Takes one page of a table of base pages, and writes it to `out`. Returns the node and zone of its folio.
///
/// # Errors
///
/// A reason to start over in a window.
#[inline(always)]
pub(super) fn take_page<K: RefKind, R: StaticRules, F: Format, T: Tables<F>, M>(
    (tables, folios, context): (T, M, F::Context),
    parent: Seen<T::Slot>,
    entries: T::Entries,
    index: Index,
    out: RunWriter<'_>,
) -> Result<(Run, usize), Stop>
where
    M: Folios<Slot = T::Slot>,
{
    let index = index.get();
    let FirstLook {
        first,
        sighting,
        is_single,
    } = FirstLook::new::<F, T>(tables, folios, entries, index, &context)?;
    let state = sighting.state(folios);
    if state.is_device() {
        return Err(Stop::Device);
    }
    let node_and_zone = state.node_and_zone();
    let mut leaves = Leaves::<F, T, M> {
        tables,
        folios,
        context,
        parent,
        entries,
        node_and_zone,
        index,
        end: index.wrapping_add(1),
        out,
        nr_grabs: 0,
    };
    let result = if is_single {
        leaves.take_run::<K, R, Small>(&first, &sighting, Ordinary)
    } else {
        leaves.take_run::<K, R, Large>(&first, &sighting, Ordinary)
    };
    match result {
        Ok(()) => Ok((leaves.out.finish().0, node_and_zone)),
        Err(LoopEnd::Stop(stop)) => Err(stop),
        Err(LoopEnd::OtherFolio | LoopEnd::NoRoom) => Err(changed()),
    }
}

/// The reason why the loop ends before it has taken all pages.
enum LoopEnd {
    /// The walk cannot take the next page.
    Stop(Stop),
    /// The next folio is of another size class, node or zone.
    OtherFolio,
    /// There is no room for the next run.
    NoRoom,
}

/// The state of the loop over a table of base pages, by value. The compiler then keeps it in registers; it would have
/// to load a value behind a reference again after each atomic operation. So only inlined functions may get a reference
/// to this state.
struct Leaves<'r, F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> {
    tables: T,
    folios: M,
    context: F::Context,
    /// The entry that points to the table.
    parent: Seen<T::Slot>,
    entries: T::Entries,
    /// The node and zone of the folios that the loop takes.
    node_and_zone: usize,
    /// Index of the next entry.
    index: usize,
    /// Index of the first entry that is not wanted.
    end: usize,
    out: RunWriter<'r>,
    /// Number of reference operations so far.
    nr_grabs: u64,
}

/// How the loop ended.
struct LoopResult {
    /// Index of the next entry.
    index: usize,
    /// Number of reference operations. `take_more()` leaves it 0 for small folios, which take one for each page.
    nr_grabs: u64,
    /// The result of [`RunWriter::finish()`].
    out: (Run, usize),
    /// The reason for the end, if the loop has not taken all pages.
    result: Result<(), LoopEnd>,
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Walker<'_, '_, F, T, M> {
    /// Takes pages from the next one on, as far as the window wants them and this table has them.
    #[inline(always)]
    pub(super) fn take_table<K: RefKind, R: StaticRules>(
        &mut self,
        parent: &Seen<T::Slot>,
        entries: T::Entries,
    ) -> Result<(), Stop> {
        let begin = F::LEVELS[0].index(self.progress.next).get();
        let nr_wanted = (self.nr_entries_left as u64).min(self.progress.nr_left) as usize;
        // The end of the table comes last, so that the compiler sees that no index lies beyond it.
        let end = begin.wrapping_add(nr_wanted).min(F::LEVELS[0].nr_entries());
        let mut index = begin;
        let (mut small, mut large) = (None, None);
        loop {
            let FirstLook {
                first,
                sighting,
                is_single,
            } = FirstLook::new::<F, T>(self.tables, self.folios, entries, index, &self.context)?;
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
                result = if is_single {
                    leaves.take_all::<K, R, Small>(&first, &sighting, &mut small)
                } else {
                    leaves.take_all::<K, R, Large>(&first, &sighting, &mut large)
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
    /// Takes runs until all pages are taken, or until there is a reason to end. The caller has already looked up the
    /// first run.
    ///
    /// Most requests are small and end with the first run. Further runs have a function of their own, so that the
    /// compiler keeps its state in registers.
    #[inline(always)]
    fn take_all<K: RefKind, R: StaticRules, S: SizeClass>(
        &mut self,
        first: &FirstEntry<T::Slot>,
        sighting: &Sighting<M>,
        frames: &mut Option<Frames>,
    ) -> Result<(), LoopEnd> {
        self.take_run::<K, R, S>(first, sighting, Ordinary)?;
        if self.index >= self.end {
            return Ok(());
        }
        let step = sighting.nr_folio_pages::<S>(self.folios);
        let step = step.clamp(1, F::LEVELS[0].nr_entries());
        let order = self
            .hints()
            .begin::<S>(self.index, self.end, step, frames.take());
        // Pass a copy, so that the address of `self` does not escape.
        let more = Leaves {
            out: self.out.reborrow(),
            nr_grabs: 0,
            ..*self
        };
        let nr_more = self.end.wrapping_sub(self.index);
        let reaches = !S::LARGE && nr_more > NR_AHEAD_IN_ORDER.unsigned_abs();
        let ended = match order {
            Frames::Scattered(hinted) if hinted < self.end => {
                more.take_more::<K, R, S, Scattered>()
            }
            Frames::Upwards if reaches => more.take_more::<K, R, S, Upwards>(),
            Frames::Downwards if reaches => more.take_more::<K, R, S, Downwards>(),
            _ => more.take_more::<K, R, S, Quiet>(),
        };
        *frames = Some(match order {
            Frames::Scattered(hinted) => {
                Frames::Scattered(hinted.max(ahead_of::<S>(ended.index, step)))
            }
            in_order => in_order,
        });
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
    fn take_more<K: RefKind, R: StaticRules, S: SizeClass, O: Order>(mut self) -> LoopResult {
        let mut leaves = Leaves {
            // The compiler has to see here again that no entry lies beyond the table.
            end: self.end.min(F::LEVELS[0].nr_entries()),
            out: self.out.reborrow(),
            ..self
        };
        let result = leaves.take_runs::<K, R, S, O>();
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
    fn take_runs<K, R, S, O>(&mut self) -> Result<(), LoopEnd>
    where
        K: RefKind,
        R: StaticRules,
        S: SizeClass,
        O: Order,
    {
        while self.index < self.end {
            let first = self.read().map_err(LoopEnd::Stop)?;
            let sighting = self.look::<S>(first.mapped).ok_or_else(other_folio)?;
            match O::HINT {
                Hint::None => {}
                Hint::Entry => self.hints().go_on::<S>(self.index, sighting.nr_left),
                Hint::Page(nr_pages) => self.folios.prefetch_beside(sighting.page, nr_pages),
            }
            self.take_run::<K, R, S>(&first, &sighting, Another)?;
        }
        Ok(())
    }

    /// Takes runs of device memory from the given entry on, while the folios are of the same node and zone. The loop is
    /// apart from the others, so that ordinary memory pays nothing for it.
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

    /// Takes the runs for [`take_device()`](Self::take_device), from folios of both size classes.
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

    /// Returns the means to give hints.
    #[inline(always)]
    fn hints(&self) -> Hints<F, T, M> {
        Hints {
            tables: self.tables,
            entries: self.entries,
            folios: self.folios,
            context: self.context,
        }
    }

    /// Reads the next entry.
    #[inline(always)]
    fn read(&self) -> Result<FirstEntry<T::Slot>, Stop> {
        FirstEntry::read(self.tables, self.entries, self.index, &self.context)
    }

    /// Looks up the page of an entry and its folio. Returns `None` if the folio is of another size class, node or zone.
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

    /// Takes a run: as many pages of one folio as consecutive entries map. Returns the reason for the end if it took no
    /// page, or fewer than the run has.
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
        // The references are taken: now re-read, the parent first. Its re-read detects a table that was taken out of
        // the tree while its entries still stand: it pairs with `pmdp_collapse_flush()` (`mm/gup.c:2809`).
        if !self.parent.is_current(self.tables) || !first.seen.is_current(self.tables) {
            return Err(LoopEnd::Stop(changed()));
        }
        let mut nr_current = 1;
        if S::LARGE {
            // Re-read every entry: one in the middle can be unmapped, copied or migrated alone.
            nr_current = self.extend_run(first, nr);
            // For a run the time between the read and the re-read is longer. If the parent is still the same after the
            // last entry, the table was in its place while all entries were re-read.
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

    /// Counts the entries, at most `nr_max`, that map consecutive frames and are otherwise alike, so that the decision
    /// about the first holds for all. Entries of a group are the same number; the entry behind the group begins another
    /// run.
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

/// Returns the value out of line, as the functions for the reasons in [`grab`](super::grab) do.
#[cold]
#[inline(never)]
fn other_folio() -> LoopEnd {
    core::hint::black_box(LoopEnd::OtherFolio)
}
