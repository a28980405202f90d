// SPDX-License-Identifier: GPL-2.0

//! Takes references on folios, and decides about pages once they are referenced.

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

/// The number that a pin adds to the reference count of a folio of one page, which has no pin count
/// (`GUP_PIN_COUNTING_BIAS`, `include/linux/mm.h:2262`).
#[doc(alias = "GUP_PIN_COUNTING_BIAS")]
pub(super) const PIN_BIAS: u32 = 1024;

/// The most references that a folio may have if the walk is to take more.
///
/// A count has 32 bits and is signed. At 2^31 it would be negative, and the kernel would then refuse the folio to
/// everybody (`try_get_folio()`), for as long as the references are held. `mm/gup.c` takes pages up to that point. The
/// walk stops at a quarter of it, and leaves the other three quarters to other code. A quarter still allows 524288 pins
/// of a small folio, or 2048 pins of a whole folio of 1 GiB. It is also far more than the mappings of a page add,
/// because each mapping needs a process or a VMA. One grab adds 2^18 at most.
pub const MAX_REFS: u32 = 1 << 29;

/// Returns whether the walk may take references on a folio that has `refcount` of them: at least one, at most
/// [`MAX_REFS`]. If the count is zero, the folio is being freed, split or migrated. If it is negative, it has
/// overflowed; C then warns and refuses, too.
#[doc(alias("try_get_folio", "folio_ref_try_add"))]
#[inline(always)]
pub const fn may_be_referenced(refcount: i32) -> bool {
    // One comparison is enough: 0 becomes the highest number, and negative numbers are high already.
    (refcount as u32).wrapping_sub(1) < MAX_REFS
}

/// The size class of a folio: one page, or more. It is a type, so that the common case of one page is compiled on its
/// own.
pub(super) trait SizeClass {
    /// Whether the folio has more than one page.
    const LARGE: bool;
}

/// A folio of one page.
pub(super) enum Small {}

impl SizeClass for Small {
    const LARGE: bool = false;
}

/// A folio of more than one page.
pub(super) enum Large {}

impl SizeClass for Large {
    const LARGE: bool = true;
}

/// The checks that the zone of a folio requires. It is a type, so that ordinary memory pays for no check.
pub(super) trait Zone<M: Folios>: Copy {
    /// Refuses a folio that may not be taken.
    ///
    /// The walk calls this twice: before it tries to take a reference, as C does, and with the reference in hand, when
    /// the answer is about the folio that is held. Ordinary memory is never refused.
    #[inline(always)]
    fn check(self, _folios: M, _folio: M::Folio) -> Result<(), Stop> {
        Ok(())
    }

    /// Writes the run of `nr_pages` pages from `first` on. The folio must be referenced. Returns whether there was
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

/// Ordinary memory, in any zone but `ZONE_DEVICE`.
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

/// Ordinary memory, behind a run that was written before.
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

/// Device memory, in `ZONE_DEVICE`.
#[derive(Clone, Copy)]
pub(super) struct Device {
    /// Whether the caller accepts PCI peer-to-peer memory.
    pub(super) admits_p2pdma: bool,
}

impl<M: Folios> Zone<M> for Device {
    /// Refuses peer-to-peer memory that the caller does not accept, and a folio without a page map.
    ///
    /// C dereferences `folio->pgmap` in `is_pci_p2pdma_page()`. The pointer is NULL while `dax_folio_put()` takes an
    /// fsdax folio apart (`dax_folio_reset_order()`, `fs/dax.c:423`). Here NULL means that the folio is changing.
    #[doc(alias("is_pci_p2pdma_page", "FOLL_PCI_P2PDMA"))]
    #[inline(always)]
    fn check(self, folios: M, folio: M::Folio) -> Result<(), Stop> {
        match folios.is_pci_p2pdma(folio) {
            None => Err(split()),
            Some(true) if !self.admits_p2pdma => Err(Stop::Device),
            Some(_) => Ok(()),
        }
    }

    /// Takes a reference on the page map for each page, and writes the run.
    ///
    /// The references on the pages do not keep the page map: device DAX removes its memory map while the pages are
    /// referenced (`kill_dev_dax()`, `drivers/dax/bus.c`; `memunmap_pages()`).
    #[inline(always)]
    fn push(
        self,
        folios: M,
        folio: M::Folio,
        out: &mut RunWriter<'_>,
        first: Pfn,
        nr_pages: u32,
    ) -> Result<bool, Stop> {
        // Check for room first: giving back the last reference on a page map wakes the task that waits for it, which
        // takes a lock.
        if !out.has_room() {
            return Ok(false);
        }
        if !folios.try_hold_page_map(folio, nr_pages) {
            return Err(split());
        }
        Ok(out.push_device(first, nr_pages.into(), M::PAGES_PER_SUBSECTION))
    }
}

/// A page and its folio while the walk holds no reference on them. They are only a hint about what to try.
pub(super) struct Sighting<M: Folios> {
    pub(super) page: M::Page,
    folio: M::Folio,
    /// Number of pages from this one to the end of the folio, at least 1.
    pub(super) nr_left: usize,
}

impl<M: Folios> Sighting<M> {
    /// Makes the sighting of a page that appears to be a folio of its own.
    #[inline(always)]
    pub(super) fn of_single(page: M::Page, folio: M::Folio) -> Self {
        Self {
            page,
            folio,
            nr_left: 1,
        }
    }

    /// Makes the sighting of a page, if it appears to lie in a large folio.
    #[inline(always)]
    pub(super) fn of_large(folios: M, page: M::Page) -> Option<Self> {
        let folio = folios.folio(page);
        // Only a large folio has a number of pages: it lies in the second `struct page`.
        if !folios.state(folio).is_large() {
            return None;
        }
        let nr_left = folios
            .nr_pages(folio)
            .wrapping_sub(folios.index(folio, page));
        Some(Self {
            page,
            folio,
            // The number is nonsense if the folio is being torn down right now; the grab detects that.
            nr_left: nr_left.max(1),
        })
    }

    /// Returns the number of pages of the folio, which appears to be of size class `S`. The number is nonsense if the folio
    /// is being torn down right now.
    #[inline(always)]
    pub(super) fn nr_folio_pages<S: SizeClass>(&self, folios: M) -> usize {
        if S::LARGE {
            folios.nr_pages(self.folio)
        } else {
            1
        }
    }

    /// Returns the flags of the folio.
    #[inline(always)]
    pub(super) fn state(&self, folios: M) -> M::State {
        folios.state(self.folio)
    }

    /// Takes references on `nr` pages from this one on. They must appear to lie in its folio, and the folio must appear
    /// to be of size class `S`.
    ///
    /// On success the folio cannot be freed, split or migrated while the references of the [`Held`] exist, because each
    /// of these freezes the reference count at the value that it expects (`folio_ref_freeze()`).
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
        // C adds 1 and, once it knows that the folio is small, 1023 more. Here the walk guesses the size class, adds
        // both at once, and checks the guess below with the reference in hand.
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

        // The folio may have been split, or freed and built anew, before the grab. From here on its extent is fixed, so
        // the walk checks what it is now (`mm/gup.c:95`).
        if S::LARGE {
            if folios.folio(self.page) != self.folio || !folios.state(self.folio).is_large() {
                return Err(split());
            }
            // Without this check, a folio that was split into smaller ones and kept its head would hand out pages on
            // which no reference was taken.
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

        // Add to the pin count after the reference, and before the re-read of the entries: this pairs with `smp_mb()`
        // in `__folio_try_share_anon_rmap()` (`include/linux/rmap.h:765`).
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

/// Defines an out-of-line function for each reason. `black_box()` hides the value, otherwise the compiler would load
/// the constants in the hot loop, before each test.
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

/// Returns the stop reason for a folio whose count the walk refused. `refcount` was read later, and may be valid by
/// then.
#[cold]
#[inline(never)]
fn why_not_referenced(refcount: i32) -> Stop {
    if refcount != 0 && !may_be_referenced(refcount) {
        Stop::TooManyRefs
    } else {
        Stop::Unreferenced
    }
}

/// Returns the stop reason for a folio whose owner the walk refused.
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

/// Returns the number of references that hold `nr` pages.
const fn nr_refs<K: RefKind, S: SizeClass>(nr: u32) -> u32 {
    if K::PINS && !S::LARGE {
        nr.wrapping_mul(PIN_BIAS)
    } else {
        nr
    }
}

/// References that the walk has taken and not yet handed over. Dropping the value gives them back.
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

/// The kind of entry that maps a page. It decides where an anonymous page keeps its exclusive flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MappedBy {
    /// An entry of a table of base pages: each page has its own flag.
    Page,
    /// A huge leaf: the flag of the folio's first page holds for all pages.
    Leaf,
}

impl<M: Folios, K: RefKind, S: SizeClass> Held<M, K, S> {
    /// Decides about the first `nr` pages, from the sighted one on. The walk has just found their entries unchanged.
    ///
    /// Returns how many of them the walk may take, at least one, and, if that is not all, the stop reason.
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
        // `FOLL_WRITE` needs no check: a writable entry of an anonymous page means that the page is exclusive
        // (`mm/internal.h:1361`).
        if K::PINS && !rules.access.is_write() && !writable {
            admitted = self.check_exclusive(sighting.page, nr, mapped_by, rules)?;
        }
        if K::PINS && mapped_by == MappedBy::Page && !self.folios.make_accessible(self.folio) {
            return Err(Stop::Inaccessible);
        }
        // C sets the flag each time. Setting a flag that is already set would waste a locked operation.
        if !self.folios.state(self.folio).is_referenced() {
            self.folios.set_referenced(self.folio);
        }
        Ok(admitted)
    }

    /// Refuses secret memory, and long-term pins for writing of file-backed memory.
    #[doc(alias = "gup_fast_folio_allowed")]
    #[inline(always)]
    fn check_allowed(&self, rules: &Rules) -> Result<(), Stop> {
        let reject_file_backed = K::PINS && rules.longterm && rules.access.is_write();
        // Secret memory comes in folios of one page only.
        if !reject_file_backed && S::LARGE {
            return Ok(());
        }
        // Most memory is anonymous. The other owners are told apart out of line.
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

    /// Refuses a read-only pin of a page that others may share: the owner's next write would go to a copy that the
    /// holder of the pin does not see.
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
        // Read the flags after the entries: this pairs with `smp_mb__after_atomic()` in `__folio_try_share_anon_rmap()`
        // (`include/linux/rmap.h`), between clearing the flag and restoring the entry.
        folios.read_barrier();
        if mapped_by == MappedBy::Leaf {
            // `mm/gup.c:2954` checks `&folio->page`.
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

    /// Writes the run of the first `nr` pages, from `first` on, to `out`. Returns whether there was room.
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
        // The references on `nr` pages belong to the caller now, so do not drop them.
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

    /// Turns the references on a large folio without a pin count into pins.
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
