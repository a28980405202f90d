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

/// Leaves are at these levels at most, from the table of base pages on.
pub const MAX_LEAF_LEVELS: usize = 3;

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
    pub nr_by_level: [u64; MAX_LEAF_LEVELS],
    /// Pages of device memory among them, which hold their page maps.
    pub nr_device: u64,
}

impl Progress {
    /// A walk that begins.
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
}

/// One window of a walk: from opening it on, a bounded number of entries.
///
/// Everything in here runs with interrupts off. It does not allocate, log, sleep, lock or panic.
pub struct Walker<'w, 'r, F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> {
    /// The tables to walk.
    pub tables: T,
    /// The machine's folios.
    pub folios: M,
    /// What decoding depends on.
    pub context: F::Context,
    /// Where the runs go.
    pub out: &'w mut RunWriter<'r>,
    /// Where the walk stands.
    pub progress: &'w mut Progress,
    /// How many entries may still be taken in this window.
    pub nr_entries_left: usize,
    /// Whether PCI peer-to-peer memory may be taken as well.
    #[doc(alias = "FOLL_PCI_P2PDMA")]
    pub admits_p2pdma: bool,
}

/// What is wanted of a huge leaf, and the look at it.
struct Part<S> {
    seen: Seen<S>,
    mapped: Mapped<S>,
    nr_pages: u64,
}

/// What the way down from the root led to.
///
/// With each entry that is read again goes the table that it is of.
enum Found<S, T> {
    /// A huge leaf, of this level.
    Leaf { part: Part<S>, level: Level, of: T },
    /// A table of base pages, and the entry that points to it.
    Table { table: T, parent: Seen<S>, of: T },
    /// A table of the level below, or nothing yet if the root stands lower.
    Further(T),
}

impl<F: Format, T: Tables<F>, M: Folios<Slot = T::Slot>> Walker<'_, '_, F, T, M> {
    /// Walks until all is taken, or the window is full. [`Progress`] tells which.
    ///
    /// # Errors
    ///
    /// Why the page at `progress.next` cannot be had.
    #[doc(alias = "gup_fast")]
    #[inline(always)]
    pub fn run<K: RefKind, R: StaticRules>(&mut self) -> Result<(), Stop> {
        while self.progress.nr_left != 0 && self.nr_entries_left != 0 {
            match self.find(self.progress.next)? {
                Found::Leaf { part, level, of } => {
                    let result = self.take_huge_leaf::<K, R>(part, level);
                    drop(of);
                    result?;
                }
                Found::Table { table, parent, of } => {
                    let result = self.take_table::<K, R>(&parent, self.tables.entries(&table));
                    drop(table);
                    drop(of);
                    result?;
                }
                // The root is a table of base pages, or there are more levels than any format has.
                Found::Further(_) => return Err(Stop::Bad),
            }
        }
        Ok(())
    }

    /// Goes from the root to the leaf, or to the table of base pages, that maps `addr`.
    ///
    /// Each time from the root: what was read above is as fresh as can be, and costs some loads for 512 pages.
    #[doc(alias(
        "gup_fast_pgd_range",
        "gup_fast_p4d_range",
        "gup_fast_pud_range",
        "gup_fast_pmd_range"
    ))]
    #[inline(always)]
    fn find(&self, addr: u64) -> Result<Found<T::Slot, T::Table>, Stop> {
        let (mut table, root) = self.tables.root();
        // Written out, so that what depends on the level is known when this is compiled.
        macro_rules! enter {
            ($($level:ident)*) => {
                $(
                    match self.enter(Level::$level, root, table, addr)? {
                        Found::Further(below) => table = below,
                        // Field by field: as a whole, its padding would be copied as well.
                        Found::Leaf { part, level, of } => return Ok(Found::Leaf { part, level, of }),
                        Found::Table { table, parent, of } => return Ok(Found::Table { table, parent, of }),
                    }
                )*
            };
        }
        enter!(PGD P4D PUD PMD);
        Ok(Found::Further(table))
    }

    /// Reads the entry for `addr` in `table`, which is of `level`, or does nothing if the root stands lower.
    #[inline(always)]
    fn enter(
        &self,
        level: Level,
        root: Level,
        table: T::Table,
        addr: u64,
    ) -> Result<Found<T::Slot, T::Table>, Stop> {
        let geometry = match F::LEVELS.get(level.index()) {
            Some(geometry) if level <= root => geometry,
            _ => return Ok(Found::Further(table)),
        };
        if level == root && geometry.is_beyond(addr) {
            return Err(Stop::Range);
        }
        let entries = self.tables.entries(&table);
        let seen = Seen::read(self.tables, entries, geometry.index(addr));
        if let Some((mapped, nr_left)) = seen.interior(self.tables, level, addr, &self.context)? {
            let part = Part {
                seen,
                mapped,
                nr_pages: nr_left.min(self.progress.nr_left),
            };
            return Ok(Found::Leaf {
                part,
                level,
                of: table,
            });
        }
        let below = self.tables.descend(&seen, level, &self.context)?;
        Ok(if level == Level::PMD {
            Found::Table {
                table: below,
                parent: seen,
                of: table,
            }
        } else {
            Found::Further(below)
        })
    }

    /// Takes what a huge leaf maps of the range: one run.
    #[doc(alias("gup_fast_pmd_leaf", "gup_fast_pud_leaf"))]
    #[inline(always)]
    fn take_huge_leaf<K: RefKind, R: StaticRules>(
        &mut self,
        part: Part<T::Slot>,
        level: Level,
    ) -> Result<(), Stop> {
        let nr = part.nr_pages;
        let page = self.folios.page(part.mapped);
        let state = self.folios.state(self.folios.folio(page));
        // A leaf lies within one folio. If it does not, the folio is another one by now, and a small one would be held
        // by its first page alone; that it is no smaller than it looks is checked once it is referenced.
        let sighting = Sighting::of_large(self.folios, page)
            .filter(|sighting| nr <= sighting.nr_left as u64)
            .ok_or(Stop::Split)?;
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

    /// Takes what is wanted of a huge leaf, and writes it to `out`. Returns whether there is room for it.
    #[inline(always)]
    fn take_part<K: RefKind, R: StaticRules>(
        tables: T,
        folios: M,
        part: &Part<T::Slot>,
        sighting: &Sighting<M>,
        out: &mut RunWriter<'_>,
        zone: impl Zone<M>,
    ) -> Result<bool, Stop> {
        let nr = part.nr_pages as u32;
        let held = sighting.try_grab::<K, Large>(folios, nr, &R::RULES, zone)?;
        // The references are there: now look again.
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

    /// The same of a leaf of device memory. By value, as `take_more()` in `leaf_table.rs`.
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

    /// Notes that `nr_pages` pages of device memory were taken.
    #[inline(always)]
    pub(super) fn note_device(&mut self, nr_pages: u64) {
        self.progress.nr_device = self.progress.nr_device.wrapping_add(nr_pages);
        // What `go_on_from()` does not know.
        self.out.seal(M::PAGES_PER_SUBSECTION);
    }

    /// Notes that `nr_pages` pages were taken from leaves of `level`, with `nr_grabs` reference operations.
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
