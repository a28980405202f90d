// SPDX-License-Identifier: GPL-2.0

//! The walk: from the root down to a huge leaf, or to the table of base pages.

use super::{
    format::Format,
    grab::{
        Device,
        Large,
        MappedBy,
        Ordinary,
        Sighting,
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
    Tables, //
};

/// The number of levels, from the table of base pages on, that can have leaves in any format.
pub const MAX_LEAF_LEVELS: usize = 3;

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Address of the next page. Wraps to 0 after the last page of the address space.
    pub next: u64,
    /// Pages still wanted.
    pub nr_left: u64,
    /// Runs taken, with one reference operation each.
    pub nr_grabs: u64,
    /// Pages taken, by the level of the leaf that mapped them.
    pub nr_by_level: [u64; MAX_LEAF_LEVELS],
    /// Pages of device memory among them. Each of these also holds a reference on its page map.
    pub nr_device: u64,
}

impl Progress {
    /// Makes the progress of a walk that is about to begin.
    #[inline(always)]
    pub const fn new(first: u64, nr_pages: u64) -> Self {
        Self {
            next: first,
            nr_left: nr_pages,
            nr_grabs: 0,
            nr_by_level: [0; MAX_LEAF_LEVELS],
            nr_device: 0,
        }
    }

    /// Makes the progress of a walk for which one entry of this level gave all pages.
    #[inline(always)]
    pub fn from_one(first: u64, nr_pages: u64, level: Level, page_shift: u32) -> Self {
        let mut progress = Self::new(first.wrapping_add(nr_pages << page_shift), 0);
        progress.nr_grabs = 1;
        if let Some(count) = progress.nr_by_level.get_mut(level.index()) {
            *count = nr_pages;
        }
        progress
    }
}

/// One window of a walk: a bounded number of entries.
///
/// Everything in here runs with interrupts off. It does not allocate, log, sleep, lock or panic.
pub struct Walker<'w, 'r, F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> {
    /// The tables to walk.
    pub tables: T,
    /// The machine's folios.
    pub folios: M,
    /// Everything besides the entry on which decoding depends.
    pub context: F::Context,
    /// The writer that gets the runs.
    pub out: &'w mut RunWriter<'r>,
    /// How far the walk has come.
    pub progress: &'w mut Progress,
    /// Number of entries that this window may still take.
    pub nr_entries_left: usize,
    /// Whether PCI peer-to-peer memory may be taken as well.
    #[doc(alias = "FOLL_PCI_P2PDMA")]
    pub admits_p2pdma: bool,
}

/// A part of a huge leaf, and the leaf as it was read.
pub(super) struct Part<S> {
    pub(super) seen: Seen<S>,
    pub(super) mapped: Mapped<S>,
    pub(super) nr_pages: u64,
}

impl<S: Copy> Part<S> {
    /// Looks up the first page and its folio.
    #[inline(always)]
    pub(super) fn sight<M: Folios<Slot = S>>(&self, folios: M) -> Result<Sighting<M>, Stop> {
        // A leaf lies within one folio. If this folio is smaller, it is another one by now; of a small folio the
        // references would hold the first page alone. `try_grab()` checks the size again once the folio is referenced.
        Sighting::of_large(folios, folios.page(self.mapped))
            .filter(|sighting| self.nr_pages <= sighting.nr_left as u64)
            .ok_or(Stop::Split)
    }
}

/// What the walk found at the end of its way down from the root.
pub(super) enum Bottom<S, E> {
    /// A huge leaf of this level: the part from the page that it maps at the address to its end.
    Leaf { part: Part<S>, level: Level },
    /// A table of base pages, and the entry that points to it.
    Table { parent: Seen<S>, entries: E },
}

/// The tables of the entries that the walk will re-read: the lower one first, as [`Tables::Table`] wants them dropped.
pub(super) struct Kept<T>(Option<T>, T);

/// The end of a way down, and the tables to keep meanwhile.
type Descent<F, T> = (
    Bottom<<T as Tables<F>>::Slot, <T as Tables<F>>::Entries>,
    Kept<<T as Tables<F>>::Table>,
);

/// Walks from the root to the huge leaf, or to the table of base pages, that maps `addr`. The caller drops the [`Kept`]
/// when it has re-read what it has to.
///
/// The walk starts from the root each time, so that the entries above are as fresh as can be. That costs a few loads
/// for 512 pages.
#[doc(alias(
    "gup_fast_pgd_range",
    "gup_fast_p4d_range",
    "gup_fast_pud_range",
    "gup_fast_pmd_range"
))]
#[inline(always)]
pub(super) fn walk_down<F: Format, T: Tables<F>>(
    tables: T,
    context: &F::Context,
    addr: u64,
) -> Result<Descent<F, T>, Stop> {
    let (mut table, root) = tables.root();
    // The levels are written out, so that everything that depends on the level is known at compile time. The folded
    // levels above the root have no table.
    macro_rules! enter {
        ($($level:ident)*) => {
            $(
                match F::LEVELS.get(Level::$level.index()) {
                    Some(geometry) if Level::$level <= root => {
                        if Level::$level == root && geometry.is_beyond(addr) {
                            return Err(Stop::Range);
                        }
                        let seen = Seen::read(tables, tables.entries(&table), geometry.index(addr));
                        if let Some((mapped, nr_pages)) = seen.interior(tables, Level::$level, addr, context)? {
                            let part = Part { seen, mapped, nr_pages };
                            let leaf = Bottom::Leaf { part, level: Level::$level };
                            return Ok((leaf, Kept(None, table)));
                        }
                        let below = tables.descend(&seen, Level::$level, context)?;
                        if Level::$level == Level::PMD {
                            let entries = tables.entries(&below);
                            return Ok((Bottom::Table { parent: seen, entries }, Kept(Some(below), table)));
                        }
                        table = below;
                    }
                    _ => {}
                }
            )*
        };
    }
    enter!(PGD P4D PUD PMD);
    drop(table);
    // The root is a table of base pages, or there are more levels than any format has.
    Err(Stop::Bad)
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Walker<'_, '_, F, T, M> {
    /// Walks until all pages are taken or the window is full. [`Progress`] tells which.
    ///
    /// # Errors
    ///
    /// The reason why the walk cannot take the page at `progress.next`.
    #[doc(alias = "gup_fast")]
    #[inline(always)]
    pub fn run<K: RefKind, R: StaticRules>(&mut self) -> Result<(), Stop> {
        while self.progress.nr_left != 0 && self.nr_entries_left != 0 {
            self.take_next::<K, R>()?;
        }
        Ok(())
    }

    /// Walks to the huge leaf, or to the table of base pages, that maps the next page, and takes what it can of that.
    #[inline(always)]
    fn take_next<K: RefKind, R: StaticRules>(&mut self) -> Result<(), Stop> {
        let (bottom, kept) = walk_down::<F, T>(self.tables, &self.context, self.progress.next)?;
        let result = match bottom {
            Bottom::Leaf { mut part, level } => {
                part.nr_pages = part.nr_pages.min(self.progress.nr_left);
                self.take_huge_leaf::<K, R>(part, level)
            }
            Bottom::Table { parent, entries } => self.take_table::<K, R>(&parent, entries),
        };
        drop(kept);
        result
    }

    /// Takes the part of the range that a huge leaf maps, as one run.
    #[doc(alias("gup_fast_pmd_leaf", "gup_fast_pud_leaf"))]
    #[inline(always)]
    fn take_huge_leaf<K: RefKind, R: StaticRules>(
        &mut self,
        part: Part<T::Slot>,
        level: Level,
    ) -> Result<(), Stop> {
        let nr = part.nr_pages;
        let sighting = part.sight(self.folios)?;
        let state = sighting.state(self.folios);
        let (tables, folios) = (self.tables, self.folios);
        let has_room = if state.is_device() {
            let device = Device {
                admits_p2pdma: self.admits_p2pdma,
            };
            let room = self.out.reborrow();
            let (out, result) =
                Self::take_part_of_device::<K, R>(tables, folios, part, sighting, room, device);
            self.out.go_on_from(out);
            let has_room = result?;
            self.note_device(if has_room { nr } else { 0 });
            has_room
        } else {
            Self::take_part::<K, R>(tables, folios, &part, &sighting, self.out, Ordinary)?
        };
        if !has_room {
            self.nr_entries_left = 0;
            return Ok(());
        }
        if K::PINS {
            self.folios.count_pinned(state.node_and_zone(), nr as u32);
        }
        self.advance(level, nr, 1, 1);
        Ok(())
    }

    /// Takes the wanted part of a huge leaf, and writes it to `out`. Returns whether there was room for it.
    #[inline(always)]
    pub(super) fn take_part<K: RefKind, R: StaticRules>(
        tables: T,
        folios: M,
        part: &Part<T::Slot>,
        sighting: &Sighting<M>,
        out: &mut RunWriter<'_>,
        zone: impl Zone<M>,
    ) -> Result<bool, Stop> {
        let nr = part.nr_pages as u32;
        let held = sighting.try_grab::<K, Large>(folios, nr, &R::RULES, zone)?;
        // The references are taken: now re-read.
        if !part.seen.is_current(tables) {
            return Err(Stop::Changed);
        }
        let writable = part.mapped.writable();
        let (nr_admitted, verdict) =
            held.admit(sighting, nr, writable, MappedBy::Leaf, &R::RULES)?;
        verdict?;
        let has_room = held.write(zone, out, part.mapped.frame(), nr_admitted)?;
        if has_room {
            held.keep(nr_admitted);
        }
        Ok(has_room)
    }

    /// Takes the wanted part of a huge leaf of device memory. The arguments are passed by value, as to `take_more()` in
    /// `leaf_table.rs`.
    #[cold]
    #[inline(never)]
    fn take_part_of_device<K: RefKind, R: StaticRules>(
        tables: T,
        folios: M,
        part: Part<T::Slot>,
        sighting: Sighting<M>,
        mut out: RunWriter<'_>,
        device: Device,
    ) -> ((Run, usize), Result<bool, Stop>) {
        let result = Self::take_part::<K, R>(tables, folios, &part, &sighting, &mut out, device);
        (out.finish(), result)
    }

    /// Counts `nr_pages` pages of device memory as taken.
    #[inline(always)]
    pub(super) fn note_device(&mut self, nr_pages: u64) {
        self.progress.nr_device = self.progress.nr_device.wrapping_add(nr_pages);
        // `go_on_from()` has undone the seal.
        self.out.seal(M::PAGES_PER_SUBSECTION);
    }

    /// Counts `nr_pages` pages as taken from `nr_entries` leaves of `level`, with `nr_grabs` reference operations.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        level: Level,
        nr_pages: u64,
        nr_grabs: u64,
        nr_entries: usize,
    ) {
        let progress = &mut *self.progress;
        progress.next = progress.next.wrapping_add(nr_pages << F::LEVELS[0].shift);
        progress.nr_left = progress.nr_left.wrapping_sub(nr_pages);
        progress.nr_grabs = progress.nr_grabs.wrapping_add(nr_grabs);
        if let Some(count) = progress.nr_by_level.get_mut(level.index()) {
            *count = count.wrapping_add(nr_pages);
        }
        self.nr_entries_left = self.nr_entries_left.saturating_sub(nr_entries);
    }
}
