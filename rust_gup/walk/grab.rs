// SPDX-License-Identifier: GPL-2.0

//! Taking references, and deciding about pages that are referenced.

use core::marker::PhantomData;

use super::{
    FolioState,
    Folios,
    Owner,
    Pfn,
    RefKind,
    Rules,
    RunWriter,
    Stop, //
};

/// What a pin adds to the reference count of a folio of one page, which has no pin count
/// (`GUP_PIN_COUNTING_BIAS`, `include/linux/mm.h:2262`).
#[doc(alias = "GUP_PIN_COUNTING_BIAS")]
pub(super) const PIN_BIAS: u32 = 1024;

/// The most references that a folio may have for the walk to take more of it.
///
/// A count has 32 bits and is signed; at 2^31 it would be negative, and the kernel then refuses the folio to everybody
/// (`try_get_folio()`), for as long as the references are held. `mm/gup.c` takes pages up to there. A quarter of that
/// leaves the other three to those who do not come through here, is still 524288 pins of a small folio, and 2048 of all
/// of a folio of 1 GiB, and is far more than mappings make of a page: each needs a process or a VMA. One grab adds 2^18
/// at most.
pub const MAX_REFS: u32 = 1 << 29;

/// Whether references may be taken on a folio that has `refcount` of them. None: it is being freed, split or migrated.
/// Negative: the count overflows, where C warns and refuses too.
#[doc(alias("try_get_folio", "folio_ref_try_add"))]
#[inline(always)]
pub const fn may_be_referenced(refcount: i32) -> bool {
    // In one comparison: 0 becomes the highest number, and those below 0 are high already.
    (refcount as u32).wrapping_sub(1) < MAX_REFS
}

/// Whether a folio has one page or more: a type, so that the common case of one page is compiled on its own.
pub(super) trait SizeClass {
    /// Whether it has more than one.
    const LARGE: bool;
}

/// One page.
pub(super) enum Small {}

impl SizeClass for Small {
    const LARGE: bool = false;
}

/// More than one.
pub(super) enum Large {}

impl SizeClass for Large {
    const LARGE: bool = true;
}

/// What has to be true of a folio because of the zone that it lies in: a type, so that ordinary memory is asked
/// nothing.
pub(super) trait Zone<M: Folios>: Copy {
    /// Refuses what may not be taken.
    ///
    /// Asked twice: before a reference is tried, as C does, and with the reference in hand, when the answer is that of
    /// the folio that is held. Ordinary memory refuses nothing.
    #[inline(always)]
    fn check(self, _folios: M, _folio: M::Folio) -> Result<(), Stop> {
        Ok(())
    }

    /// Writes the run of `nr_pages` pages from `first` on, of a folio that is referenced. Returns whether there is
    /// room.
    fn push(
        self,
        folios: M,
        folio: M::Folio,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr_pages: u32,
    ) -> Result<bool, Stop>;
}

/// Not `ZONE_DEVICE`.
#[derive(Clone, Copy)]
pub(super) struct Ordinary;

impl<M: Folios> Zone<M> for Ordinary {
    #[inline(always)]
    fn push(
        self,
        _folios: M,
        _folio: M::Folio,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr_pages: u32,
    ) -> Result<bool, Stop> {
        Ok(out.push(first, nr_pages.into()))
    }
}

/// Not `ZONE_DEVICE`, behind a run that was written before.
#[derive(Clone, Copy)]
pub(super) struct Another;

impl<M: Folios> Zone<M> for Another {
    #[inline(always)]
    fn push(
        self,
        _folios: M,
        _folio: M::Folio,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr_pages: u32,
    ) -> Result<bool, Stop> {
        Ok(out.push_another(first, nr_pages.into()))
    }
}

/// `ZONE_DEVICE`.
#[derive(Clone, Copy)]
pub(super) struct Device {
    /// Whether the caller knows what to do with peer-to-peer memory.
    pub(super) admits_p2pdma: bool,
}

impl<M: Folios> Zone<M> for Device {
    /// `is_pci_p2pdma_page()` dereferences `folio->pgmap`, which is NULL while `dax_folio_put()` takes an fsdax folio
    /// apart (`dax_folio_reset_order()`, `fs/dax.c:423`). Here that is as good a sign as any that the folio changes.
    #[doc(alias("is_pci_p2pdma_page", "FOLL_PCI_P2PDMA"))]
    #[inline(always)]
    fn check(self, folios: M, folio: M::Folio) -> Result<(), Stop> {
        match folios.is_pci_p2pdma(folio) {
            None => Err(split()),
            Some(true) if !self.admits_p2pdma => Err(Stop::Device),
            Some(_) => Ok(()),
        }
    }

    /// Each page holds its page map too. The references on the pages do not keep it: device DAX goes with its memory
    /// map under them (`kill_dev_dax()`, `drivers/dax/bus.c`; `memunmap_pages()`).
    #[inline(always)]
    fn push(
        self,
        folios: M,
        folio: M::Folio,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr_pages: u32,
    ) -> Result<bool, Stop> {
        // Room first: giving back the last reference on a page map wakes who waits for it, which takes a lock.
        if !out.has_room() {
            return Ok(false);
        }
        if !folios.try_hold_page_map(folio, nr_pages) {
            return Err(split());
        }
        Ok(out.push_device(first, nr_pages.into(), M::PAGES_PER_SUBSECTION))
    }
}

/// A page and its folio before anything keeps them: a hint, good for choosing what to try.
pub(super) struct Sighting<M: Folios> {
    pub(super) page: M::Page,
    folio: M::Folio,
    /// How many pages there are from this one to the end of the folio; at least 1.
    pub(super) nr_left: usize,
}

impl<M: Folios> Sighting<M> {
    /// A page that looks to be a folio of its own.
    #[inline(always)]
    pub(super) fn of_single(page: M::Page, folio: M::Folio) -> Self {
        Self {
            page,
            folio,
            nr_left: 1,
        }
    }

    /// A page, if it looks to be one of a large folio.
    #[inline(always)]
    pub(super) fn of_large(folios: M, page: M::Page) -> Option<Self> {
        let folio = folios.folio(page);
        // Only of a large folio there is a number of pages: it lies in the second `struct page`.
        if !folios.state(folio).is_large() {
            return None;
        }
        let nr_left = folios
            .nr_pages(folio)
            .wrapping_sub(folios.index(folio, page));
        Some(Self {
            page,
            folio,
            // Nonsense, should the folio be torn down right now; the grab finds out.
            nr_left: nr_left.max(1),
        })
    }

    /// Its flags.
    #[inline(always)]
    pub(super) fn state(&self, folios: M) -> M::State {
        folios.state(self.folio)
    }

    /// Takes references on `nr` pages from this one on, which are in its folio, which looks to be of size `S`.
    ///
    /// On success the folio can neither be freed nor split nor migrated until the [`Held`] is gone, because all these
    /// freeze the reference count at the value they expect (`folio_ref_freeze()`).
    #[doc(alias("try_grab_folio_fast", "try_get_folio"))]
    #[inline(always)]
    pub(super) fn try_grab<K: RefKind, S: SizeClass>(
        &self,
        folios: M,
        nr: u32,
        rules: &Rules,
        zone: impl Zone<M>,
    ) -> Result<Held<M, K, S>, Stop> {
        zone.check(folios, self.folio)?;
        // C adds 1 and, once it knows that the folio is small, 1023 more. Here the size class is guessed, both are
        // added at once, and the guess is checked below with the reference in hand.
        let refs = nr_refs::<K, S>(nr);
        if !folios.try_add_refs(self.folio, refs) {
            return Err(why_not_referenced(folios.refcount(self.folio)));
        }
        let mut held = Held {
            folios,
            folio: self.folio,
            nr,
            refs,
            pincount: 0,
            kind: PhantomData,
        };

        // Between the look and the grab the folio may have been split, or freed and built anew. From here on its
        // extent is fixed, and what matters is what it is now (`mm/gup.c:95`).
        if S::LARGE {
            if folios.folio(self.page) != self.folio || !folios.state(self.folio).is_large() {
                return Err(split());
            }
            // Without this, a folio that was split into smaller ones, the first page staying its head, would hand out
            // pages that no reference was taken on.
            let end = folios
                .index(self.folio, self.page)
                .wrapping_add(nr as usize);
            if end > folios.nr_pages(self.folio) {
                return Err(split());
            }
        } else if folios.single(self.page) != Some(self.folio) {
            return Err(split());
        }
        zone.check(folios, self.folio)?;

        if rules.longterm && !folios.is_longterm_pinnable(self.folio) {
            return Err(longterm());
        }

        // The pin count after the reference, and before the entries are read again: pairs with `smp_mb()` in
        // `__folio_try_share_anon_rmap()` (`include/linux/rmap.h:765`).
        if K::PINS && S::LARGE {
            if folios.has_pincount(self.folio) {
                folios.add_pincount(self.folio, nr);
                held.pincount = nr;
            } else {
                held.add_bias()?;
            }
        }
        Ok(held)
    }
}

/// Reasons that come from a call, which keeps what has to do with them out of the hot loop: one call each, of which the
/// compiler does not know the result, or it would load them before each test.
macro_rules! out_of_line {
    ($($name:ident => $stop:ident;)*) => {
        $(
            #[cold]
            #[inline(never)]
            pub(super) fn $name() -> Stop {
                core::hint::black_box(Stop::$stop)
            }
        )*
    };
}

out_of_line! {
    changed => Changed;
    longterm => Longterm;
    split => Split;
}

/// What is wrong with such a count, as far as it still is.
#[cold]
#[inline(never)]
fn why_not_referenced(refcount: i32) -> Stop {
    if refcount != 0 && !may_be_referenced(refcount) {
        Stop::TooManyRefs
    } else {
        Stop::Unreferenced
    }
}

/// What is wrong with such an owner.
#[cold]
#[inline(never)]
fn why_not_allowed(owner: Owner) -> Stop {
    match owner {
        Owner::Unevictable => Stop::Secret,
        Owner::ZeroPage => Stop::ZeroPage,
        Owner::None => Stop::NoMapping,
        Owner::Other => Stop::Bad,
        Owner::Anon | Owner::Hugetlb | Owner::Shmem | Owner::File => Stop::FileLongterm,
    }
}

/// How many references hold `nr` pages.
const fn nr_refs<K: RefKind, S: SizeClass>(nr: u32) -> u32 {
    if K::PINS && !S::LARGE {
        nr.wrapping_mul(PIN_BIAS)
    } else {
        nr
    }
}

/// References that were taken and are not yet handed over. Dropping gives them back.
///
/// # Invariants
///
/// This value owns `refs` references and `pincount` pins of `folio`.
pub(super) struct Held<M: Folios, K: RefKind, S: SizeClass> {
    folios: M,
    folio: M::Folio,
    nr: u32,
    refs: u32,
    pincount: u32,
    kind: PhantomData<(K, S)>,
}

/// How an entry maps a page, which decides where an anonymous page keeps its exclusive flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MappedBy {
    /// An entry of a table of base pages: each page has its own flag.
    Page,
    /// A huge leaf: the folio's first page speaks for all.
    Leaf,
}

impl<M: Folios, K: RefKind, S: SizeClass> Held<M, K, S> {
    /// Decides about the first `nr` pages, which start at the one that was sighted and whose entries were just found
    /// unchanged.
    ///
    /// Returns how many of them may be had, at least one, and if it is not all, why.
    #[inline(always)]
    pub(super) fn admit(
        &self,
        sighting: &Sighting<M>,
        nr: u32,
        writable: bool,
        mapped_by: MappedBy,
        rules: &Rules,
    ) -> Result<(u32, Result<(), Stop>), Stop> {
        self.check_allowed(rules)?;
        let mut admitted = (nr, Ok(()));
        // `FOLL_WRITE` needs no look: a writable entry of an anonymous page means that it is exclusive
        // (`mm/internal.h:1361`).
        if K::PINS && !rules.access.is_write() && !writable {
            admitted = self.check_exclusive(sighting.page, nr, mapped_by, rules)?;
        }
        if K::PINS && mapped_by == MappedBy::Page && !self.folios.make_accessible(self.folio) {
            return Err(Stop::Inaccessible);
        }
        // C sets the flag each time. Setting it where it is set costs a locked operation for nothing.
        if !self.folios.state(self.folio).is_referenced() {
            self.folios.set_referenced(self.folio);
        }
        Ok(admitted)
    }

    /// Refuses secret memory, and what is file-backed and wanted for writing for long.
    #[doc(alias = "gup_fast_folio_allowed")]
    #[inline(always)]
    fn check_allowed(&self, rules: &Rules) -> Result<(), Stop> {
        let reject_file_backed = K::PINS && rules.longterm && rules.access.is_write();
        // Secret memory comes in folios of one page only.
        if !reject_file_backed && S::LARGE {
            return Ok(());
        }
        // Most memory is; the others are told apart out of line.
        if self.folios.is_anon(self.folio) {
            return Ok(());
        }
        match self.folios.owner(self.folio) {
            Owner::Anon | Owner::Hugetlb | Owner::Shmem => Ok(()),
            Owner::File if !reject_file_backed => Ok(()),
            Owner::None if !reject_file_backed && self.folios.admits_unowned() => Ok(()),
            owner => Err(why_not_allowed(owner)),
        }
    }

    /// Refuses an R/O pin of a page that others may share: its owner's next write would go to a copy, unseen by who
    /// pinned it.
    #[doc(alias("gup_must_unshare", "PageAnonExclusive"))]
    fn check_exclusive(
        &self,
        first: M::Page,
        nr: u32,
        mapped_by: MappedBy,
        rules: &Rules,
    ) -> Result<(u32, Result<(), Stop>), Stop> {
        let folios = self.folios;
        if !folios.is_anon(self.folio) {
            // Only the VMA could tell whether this is a private mapping whose pages must be copied first.
            return if rules.longterm {
                Err(Stop::Unshare)
            } else {
                Ok((nr, Ok(())))
            };
        }
        // The flags after the entries: pairs with `smp_mb__after_atomic()` in `__folio_try_share_anon_rmap()`
        // (`include/linux/rmap.h`), between clearing the flag and restoring the entry.
        folios.read_barrier();
        if mapped_by == MappedBy::Leaf {
            // `mm/gup.c:2954` asks for `&folio->page`.
            let head = folios.nth(first, 0usize.wrapping_sub(folios.index(self.folio, first)));
            return if folios.is_anon_exclusive(head) {
                Ok((nr, Ok(())))
            } else {
                Err(Stop::Unshare)
            };
        }
        for i in 0..nr {
            if !folios.is_anon_exclusive(folios.nth(first, i as usize)) {
                return match i {
                    0 => Err(Stop::Unshare),
                    _ => Ok((i, Err(Stop::Unshare))),
                };
            }
        }
        Ok((nr, Ok(())))
    }

    /// Writes the run of the first `nr` pages, `first` and those behind it, for the caller. Returns whether there is
    /// room.
    #[inline(always)]
    pub(super) fn write(
        &self,
        zone: impl Zone<M>,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr: u32,
    ) -> Result<bool, Stop> {
        zone.push(self.folios, self.folio, out, first, nr)
    }

    /// Hands the references on the first `nr` pages over to the caller, and gives back the rest.
    #[inline(always)]
    pub(super) fn keep(self, nr: u32) {
        let surplus = self.nr.wrapping_sub(nr);
        if surplus != 0 {
            self.give_back(surplus);
        }
        // The references on `nr` pages are the caller's now.
        core::mem::forget(self);
    }

    #[cold]
    fn give_back(&self, nr: u32) {
        let (refs, pincount) = if self.pincount != 0 {
            (nr, nr)
        } else if K::PINS {
            (nr.wrapping_mul(PIN_BIAS), 0)
        } else {
            (nr, 0)
        };
        self.folios.put(self.folio, refs, pincount);
    }

    /// Makes pins of the references on a large folio without a pin count.
    #[cold]
    fn add_bias(&mut self) -> Result<(), Stop> {
        let refs = self.nr.wrapping_mul(PIN_BIAS.wrapping_sub(1));
        if !self.folios.try_add_refs(self.folio, refs) {
            return Err(why_not_referenced(self.folios.refcount(self.folio)));
        }
        self.refs = self.refs.wrapping_add(refs);
        Ok(())
    }
}

impl<M: Folios, K: RefKind, S: SizeClass> Drop for Held<M, K, S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.folios.put(self.folio, self.refs, self.pincount);
    }
}
