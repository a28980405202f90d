// SPDX-License-Identifier: GPL-2.0

//! The folios of the running kernel, as the walk uses them.

use core::{
    cell::Cell,
    marker::PhantomData,
    sync::atomic::{
        AtomicI32,
        Ordering, //
    },
};

use kernel::bindings;

use super::{
    irq::IrqsOff,
    tables::Slot, //
};
use crate::{
    sys::{
        arch::{
            Arch,
            Live, //
        },
        memory::{
            pageblock,
            put_counts,
            FolioPtr,
            MemoryMap,
            PageMap,
            PagePtr,
            State,
            ZeroPages,
            PAGES_PER_SUBSECTION, //
        },
        raw, //
    },
    walk::{
        may_be_referenced,
        FolioState,
        Folios,
        Mapped,
        Owner,
        Pfn, //
    },
};

/// What the folios keep for one section with interrupts off.
#[derive(Default)]
pub(in crate::sys) struct Scratch {
    /// Surplus references, which are given back after the section.
    ///
    /// Giving back the last reference frees the folio, which takes locks; on a kernel with `PREEMPT_RT` these locks
    /// sleep. Holding a reference a little longer harms nobody. A window gives back at most one run, because the walk
    /// stops when it has something to give back.
    ///
    /// Once interrupts are on, references on device memory do not keep the device and its `struct page`s from going
    /// away (`memunmap_pages()`). Therefore device memory is parked together with a reference on its page map.
    parked: Cell<Option<Surplus>>,
    /// The file that owned the last folio that was asked for: the next folio mostly belongs to it, too.
    ///
    /// What a mapping is never changes, and no other one can come to lie at its address: inodes are freed through RCU,
    /// and interrupts are off (`mm/gup.c:2764`).
    known_file: Cell<Option<KnownFile>>,
}

#[derive(Clone, Copy)]
struct KnownFile {
    mapping: usize,
    owner: Owner,
}

#[derive(Clone, Copy)]
struct Surplus {
    folio: FolioPtr,
    refs: u32,
    pincount: u32,
    /// The page map of device memory, with a reference that belongs to this value.
    map: Option<PageMap>,
}

impl Surplus {
    fn give_back(self) {
        // SAFETY: `try_add_refs()` took the references, and `Folios::put()` is called with them once.
        unsafe { put_counts(self.folio, self.refs, self.pincount) };
        if let Some(map) = self.map {
            // SAFETY: `Folios::put()` took the reference.
            unsafe { map.let_go(1) };
        }
    }
}

impl Scratch {
    /// Gives back the parked references. Must be called with interrupts on, in process context. The value is used up, so
    /// that the next section does not begin with a file that may have been freed.
    #[inline(always)]
    pub(in crate::sys) fn give_back_surplus(self) {
        if self.parked.get().is_some() {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(&self) {
        if let Some(surplus) = self.parked.take() {
            surplus.give_back();
        }
    }
}

/// The folios of the running kernel, while interrupts are off.
#[derive(Clone, Copy)]
pub(in crate::sys) struct LiveFolios<'irq> {
    memory_map: MemoryMap,
    scratch: &'irq Scratch,
    irqs_off: PhantomData<&'irq IrqsOff>,
}

impl<'irq> LiveFolios<'irq> {
    /// Returns the folios for one section, for which `scratch` was made.
    #[inline(always)]
    pub(in crate::sys) fn new(_irqs_off: &'irq IrqsOff, scratch: &'irq Scratch) -> Self {
        Self {
            memory_map: MemoryMap::get(),
            scratch,
            irqs_off: PhantomData,
        }
    }
}

/// Waits for up to two milliseconds, in one of 32 calls.
#[cfg(RACE_DELAY)]
fn wait_for_a_race() {
    // SAFETY: Always safe to call.
    unsafe { raw::rust_gup_wait_for_a_race() };
}

impl<'irq> Folios for LiveFolios<'irq> {
    type Slot = Slot<'irq>;
    type Page = PagePtr;
    type Folio = FolioPtr;
    type State = State;

    const PAGES_PER_SUBSECTION: u64 = PAGES_PER_SUBSECTION;

    #[inline(always)]
    fn page(self, mapped: Mapped<Slot<'irq>>) -> PagePtr {
        self.memory_map.page(mapped.frame())
    }

    #[inline(always)]
    fn prefetch(self, pfn: Pfn) {
        self.memory_map.prefetch(pfn);
    }

    #[inline(always)]
    fn prefetch_beside(self, page: PagePtr, nr_pages: isize) {
        page.prefetch_beside(nr_pages);
    }

    #[inline(always)]
    fn nth(self, page: PagePtr, n: usize) -> PagePtr {
        page.nth(n)
    }

    #[inline(always)]
    fn folio(self, page: PagePtr) -> FolioPtr {
        page.folio()
    }

    #[inline(always)]
    fn state(self, folio: FolioPtr) -> State {
        folio.state()
    }

    #[inline(always)]
    fn single(self, page: PagePtr) -> Option<FolioPtr> {
        page.as_single()
    }

    #[inline(always)]
    fn single_in(self, node_and_zone: usize, page: PagePtr) -> Option<FolioPtr> {
        let state = page.as_head().state();
        (!page.is_tail() && state.is_small_in(node_and_zone)).then_some(page.as_head())
    }

    #[inline(always)]
    fn nr_pages(self, folio: FolioPtr) -> usize {
        folio.nr_pages()
    }

    #[inline(always)]
    fn index(self, folio: FolioPtr, page: PagePtr) -> usize {
        folio.index(page)
    }

    #[inline(always)]
    fn refcount(self, folio: FolioPtr) -> i32 {
        folio.refcount().load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn try_add_refs(self, folio: FolioPtr, n: u32) -> bool {
        #[cfg(RACE_DELAY)]
        wait_for_a_race();
        let refcount = folio.refcount();
        let now = refcount.load(Ordering::Relaxed);
        let added = may_be_referenced(now)
            && (refcount
                .compare_exchange(
                    now,
                    now.wrapping_add(n as i32),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                )
                .is_ok()
                || try_add_contended(refcount, n));
        if added {
            Live::after_atomic();
            #[cfg(RACE_DELAY)]
            wait_for_a_race();
        }
        added
    }

    #[inline(always)]
    fn has_pincount(self, folio: FolioPtr) -> bool {
        folio.has_pincount()
    }

    #[inline(always)]
    fn add_pincount(self, folio: FolioPtr, n: u32) {
        folio.pincount().fetch_add(n as i32, Ordering::SeqCst);
        Live::after_atomic();
    }

    #[cold]
    fn put(self, folio: FolioPtr, refs: u32, pincount: u32) {
        let mut surplus = Surplus {
            folio,
            refs,
            pincount,
            map: None,
        };
        if folio.state().is_device() {
            surplus.map = folio.page_map().filter(|map| map.try_hold(1));
            if surplus.map.is_none() {
                // The device is going away, but its pages stay until interrupts are on. So the references are given
                // back at once, as C always does.
                surplus.give_back();
                return;
            }
        }
        if let Some(earlier) = self.scratch.parked.replace(Some(surplus)) {
            // This does not happen, see `Scratch`. `mm/gup.c` always gives back at once.
            earlier.give_back();
        }
    }

    #[cold]
    fn is_pci_p2pdma(self, folio: FolioPtr) -> Option<bool> {
        Some(folio.page_map()?.memory_type() == raw::MEMORY_DEVICE_PCI_P2PDMA)
    }

    #[cold]
    fn try_hold_page_map(self, folio: FolioPtr, nr_pages: u32) -> bool {
        let map = folio.page_map();
        map.is_some_and(|map| map.try_hold(nr_pages as usize))
    }

    #[doc(alias = "get_pfnblock_migratetype")]
    #[inline(never)]
    fn is_longterm_pinnable(self, folio: FolioPtr) -> bool {
        let pfn = self.memory_map.pfn(folio.head()).as_u64() as usize;
        // SAFETY: The folio is referenced, which keeps its `struct page`s. For device memory that holds only while
        // interrupts are off, as they are here.
        let flags = unsafe { pageblock::flags(pfn) };
        let is_isolated = flags & raw::PAGEBLOCK_ISO_MASK != 0;
        let migratetype = flags & raw::PAGEBLOCK_MIGRATETYPE_MASK;
        if is_isolated || migratetype == raw::MIGRATE_CMA {
            return false;
        }
        let state = folio.state();
        state.may_stay() || (state.is_device() && is_device_pinnable(folio))
    }

    #[inline(always)]
    fn owner(self, folio: FolioPtr) -> Owner {
        match self.scratch.known_file.get() {
            Some(known) if !folio.is_slab() && folio.mapping() == known.mapping => known.owner,
            _ => self.look_up_owner(folio),
        }
    }

    #[inline(always)]
    fn admits_unowned(self) -> bool {
        raw::ADMITS_UNOWNED != 0
    }

    #[inline(always)]
    fn is_anon(self, folio: FolioPtr) -> bool {
        !folio.is_slab() && folio.has_anon_mapping()
    }

    #[inline(always)]
    fn read_barrier(self) {
        Live::read_barrier();
    }

    #[inline(always)]
    fn is_anon_exclusive(self, page: PagePtr) -> bool {
        if Live::HUGETLB_IN_PARTS {
            let folio = page.folio();
            if folio.is_hugetlb() {
                return folio.head().is_anon_exclusive();
            }
        }
        page.is_anon_exclusive()
    }

    #[inline(always)]
    fn make_accessible(self, folio: FolioPtr) -> bool {
        if raw::HAS_MAKE_FOLIO_ACCESSIBLE == 0 {
            return true;
        }
        // SAFETY: The folio is referenced.
        unsafe { raw::rust_gup_make_folio_accessible(folio.as_ptr()) == 0 }
    }

    #[inline(always)]
    fn set_referenced(self, folio: FolioPtr) {
        folio.set_referenced();
    }

    #[inline(always)]
    fn count_pinned(self, node_and_zone: usize, nr_pages: u32) {
        let (node, nr_pages) = (State::node_of(node_and_zone) as i32, nr_pages as isize);
        // SAFETY: The node number comes from a folio, so the node exists.
        unsafe {
            if nr_pages > CPU_SHARE_MAX {
                raw::rust_gup_count_many_pinned(node, nr_pages);
            } else {
                raw::rust_gup_count_pinned(node, nr_pages);
            }
        }
    }
}

/// How much a CPU counts for itself before it adds to the counter of the node (`calculate_normal_threshold()`,
/// `mm/vmstat.c`). A greater number goes to the node's counter at once.
const CPU_SHARE_MAX: isize = 125;

impl LiveFolios<'_> {
    #[cold]
    #[inline(never)]
    fn look_up_owner(self, folio: FolioPtr) -> Owner {
        if folio.is_slab() {
            return Owner::Other;
        }
        let mapping = folio.mapping();
        if mapping & raw::MAPPING_ANON != 0 {
            return Owner::Anon;
        }
        if mapping & raw::MAPPING_FLAGS != 0 {
            return Owner::Other;
        }
        let owner = file_owner(folio, mapping);
        if matches!(owner, Owner::File | Owner::Shmem) {
            self.scratch
                .known_file
                .set(Some(KnownFile { mapping, owner }));
        }
        owner
    }
}

/// Adds references when somebody else changes the count at the same time.
#[cold]
#[inline(never)]
fn try_add_contended(refcount: &AtomicI32, n: u32) -> bool {
    refcount
        .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |now| {
            may_be_referenced(now).then(|| now.wrapping_add(n as i32))
        })
        .is_ok()
}

/// Returns whether a referenced folio of `ZONE_DEVICE` may be pinned for long. Coherent device memory may not, because
/// it has to be migrated at any time. DAX memory may not, because a file system must be able to truncate it.
#[doc(alias("folio_is_device_coherent", "folio_is_fsdax"))]
#[cold]
#[inline(never)]
fn is_device_pinnable(folio: FolioPtr) -> bool {
    !matches!(
        folio.page_map().map(PageMap::memory_type),
        None | Some(raw::MEMORY_DEVICE_COHERENT | raw::MEMORY_DEVICE_FS_DAX)
    )
}

/// Returns the owner of a folio that is not anonymous.
///
/// The mapping is not freed here: inodes are freed through RCU, and interrupts are off (`mm/gup.c:2764`).
fn file_owner(folio: FolioPtr, mapping: usize) -> Owner {
    if folio.is_hugetlb() {
        return Owner::Hugetlb;
    }
    if mapping == 0 {
        return if ZeroPages::get().has(folio) {
            Owner::ZeroPage
        } else {
            Owner::None
        };
    }
    let mapping = mapping as *mut bindings::address_space;
    // SAFETY: The folio is referenced and its entry was unchanged at the re-read, so `mapping` belonged to the folio's
    // file when it was read. It cannot have been freed since, because interrupts are off.
    unsafe {
        if raw::shmem_mapping(mapping) {
            Owner::Shmem
        } else if raw::HAS_SECRETMEM != 0 && raw::rust_gup_mapping_unevictable(mapping) {
            Owner::Unevictable
        } else {
            Owner::File
        }
    }
}
