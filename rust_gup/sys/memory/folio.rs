// SPDX-License-Identifier: GPL-2.0

//! `struct page` and `struct folio`, field by field.

use core::mem::size_of;
use core::sync::atomic::{
    AtomicI32,
    AtomicUsize,
    Ordering, //
};

use kernel::bindings;

use super::{
    words::{
        self,
        ByteOrder,
        TAIL, //
    },
    MemoryMap, //
};
use crate::{
    sys::{
        machine,
        raw, //
    },
    walk::{
        FolioState,
        Pfn, //
    },
};

/// A `struct page`, which may or may not be referenced.
///
/// # Invariants
///
/// Points into the memory map, which is always readable for frames that page tables map as ordinary memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PagePtr(*mut bindings::page);

/// A `struct folio`, which may or may not be referenced.
///
/// # Invariants
///
/// As for [`PagePtr`]; was the head of some folio when it was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolioPtr(*mut bindings::folio);

/// The flags word.
#[derive(Clone, Copy)]
pub(crate) struct State(usize);

impl PagePtr {
    /// The `struct page` at an address.
    #[inline(always)]
    pub(super) fn at(addr: usize) -> Self {
        // INVARIANT: The callers compute an address of the memory map.
        Self(addr as *mut bindings::page)
    }

    /// The page that the kernel knows by this pointer.
    ///
    /// # Safety
    ///
    /// It must point to a `struct page` of the memory map.
    pub(in crate::sys) unsafe fn from_raw(page: *mut bindings::page) -> Self {
        // INVARIANT: By the contract of this function.
        Self(page)
    }

    /// The pointer.
    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut bindings::page {
        self.0
    }

    /// The `n`th page from this one.
    #[doc(alias("nth_page", "folio_page"))]
    #[inline(always)]
    pub(in crate::sys) fn nth(self, n: usize) -> Self {
        // INVARIANT: The callers read no page that lies beyond the folio or the run they are in.
        Self::at((self.0 as usize).wrapping_add(n.wrapping_mul(raw::SIZEOF_PAGE)))
    }

    /// How many pages it comes after another one; before it, if that is negative.
    #[inline(always)]
    fn after(self, other: Self) -> isize {
        let nr_bytes = (self.0 as isize).wrapping_sub(other.0 as isize);
        nr_bytes / raw::SIZEOF_PAGE as isize
    }

    #[inline(always)]
    fn field<T>(self, offset: usize) -> *mut T {
        (self.0 as usize).wrapping_add(offset) as *mut T
    }

    /// Whether the page is a tail now, of a folio that begins with another page.
    #[doc(alias = "PageTail")]
    #[inline(always)]
    pub(in crate::sys) fn is_tail(self) -> bool {
        // SAFETY: By the invariant; other CPUs may change the field.
        let lowest_byte = unsafe {
            self.field::<u8>(raw::PAGE_COMPOUND_INFO + LOWEST_BYTE)
                .read_volatile()
        };
        usize::from(lowest_byte) & TAIL != 0
    }

    /// The folio that consists of this page alone, if that is so now.
    #[inline(always)]
    pub(in crate::sys) fn as_single(self) -> Option<FolioPtr> {
        (!self.is_tail() && !self.as_head().state().is_large()).then_some(self.as_head())
    }

    /// The folio that begins with this page, which is no tail.
    #[inline(always)]
    pub(in crate::sys) fn as_head(self) -> FolioPtr {
        // INVARIANT: The callers ask the flags of a tail for nothing but what is checked afterwards.
        FolioPtr(self.0.cast())
    }

    /// The folio that the page belongs to now.
    #[doc(alias("page_folio", "_compound_head", "compound_info"))]
    #[inline(always)]
    pub(in crate::sys) fn folio(self) -> FolioPtr {
        // SAFETY: By the invariant; other CPUs may change the field.
        let info = unsafe { self.field::<usize>(raw::PAGE_COMPOUND_INFO).read_volatile() };
        let head = words::head(self.0 as usize, info, raw::COMPOUND_INFO_HAS_MASK != 0);
        // INVARIANT: By what the field means.
        FolioPtr(head as *mut bindings::folio)
    }

    /// Whether this page of an anonymous folio is exclusive. hugetlb has one flag for all pages, on the head.
    #[doc(alias = "PageAnonExclusive")]
    #[inline(always)]
    pub(in crate::sys) fn is_anon_exclusive(self) -> bool {
        // SAFETY: By the invariant; other CPUs may change the field.
        let flags = unsafe { self.field::<usize>(raw::PAGE_FLAGS).read_volatile() };
        flags >> raw::PG_ANON_EXCLUSIVE & 1 != 0
    }
}

impl FolioState for State {
    #[inline(always)]
    fn is_large(&self) -> bool {
        self.0 & HEAD != 0
    }

    #[inline(always)]
    fn is_device(&self) -> bool {
        self.zone() == raw::ZONE_DEVICE
    }

    #[inline(always)]
    fn is_referenced(&self) -> bool {
        self.0 >> raw::PG_REFERENCED & 1 != 0
    }

    #[inline(always)]
    fn node_and_zone(&self) -> usize {
        self.0 & NODE_AND_ZONE
    }
}

/// Where the lowest byte of a word lies, which has the flags that are kept in a pointer.
const LOWEST_BYTE: usize = ByteOrder::NATIVE.lowest(size_of::<usize>());

/// The bits that say in which node and zone a folio lies.
const NODE_AND_ZONE: usize =
    raw::NODES_MASK << raw::NODES_SHIFT | raw::ZONES_MASK << raw::ZONES_SHIFT;

const HEAD: usize = 1 << raw::PG_HEAD;
const _: () = assert!(NODE_AND_ZONE & HEAD == 0);

impl State {
    #[inline(always)]
    fn zone(self) -> usize {
        self.0 >> raw::ZONES_SHIFT & raw::ZONES_MASK
    }

    /// The NUMA node.
    #[doc(alias = "folio_nid")]
    #[inline(always)]
    pub(in crate::sys) fn node(self) -> usize {
        Self::node_of(self.0)
    }

    /// The node in what [`FolioState::node_and_zone()`] says.
    #[inline(always)]
    pub(in crate::sys) fn node_of(node_and_zone: usize) -> usize {
        node_and_zone >> raw::NODES_SHIFT & raw::NODES_MASK
    }

    /// Whether the folio has one page, and lies in this node and zone.
    #[inline(always)]
    pub(in crate::sys) fn is_small_in(self, node_and_zone: usize) -> bool {
        self.0 & (NODE_AND_ZONE | HEAD) == node_and_zone
    }

    /// Whether the folio lies neither in `ZONE_MOVABLE` nor in `ZONE_DEVICE`.
    #[inline(always)]
    pub(in crate::sys) fn may_stay(self) -> bool {
        const { assert!(raw::ZONE_DEVICE > raw::ZONE_MOVABLE) };
        self.zone() < raw::ZONE_MOVABLE
    }
}

impl FolioPtr {
    /// The pointer.
    #[inline(always)]
    pub(in crate::sys) fn as_ptr(self) -> *mut bindings::folio {
        self.0
    }

    /// Its first page.
    #[inline(always)]
    pub(in crate::sys) fn head(self) -> PagePtr {
        // INVARIANT: As for the folio.
        PagePtr(self.0.cast())
    }

    #[inline(always)]
    fn field<T>(self, offset: usize) -> *mut T {
        (self.0 as usize).wrapping_add(offset) as *mut T
    }

    /// Its flags now.
    #[inline(always)]
    pub(in crate::sys) fn state(self) -> State {
        // SAFETY: By the invariant; other CPUs may change the field.
        State(unsafe { self.field::<usize>(raw::PAGE_FLAGS).read_volatile() })
    }

    /// Sets its referenced flag. It is referenced; others change other flags at the same time.
    #[doc(alias = "folio_set_referenced")]
    #[inline(always)]
    pub(in crate::sys) fn set_referenced(self) {
        // SAFETY: By the invariant, the field is accessible and aligned; the kernel changes it with atomic operations.
        let flags = unsafe { AtomicUsize::from_ptr(self.field(raw::PAGE_FLAGS)) };
        flags.fetch_or(1 << raw::PG_REFERENCED, Ordering::Relaxed);
    }

    /// Its order, if it is large.
    #[doc(alias = "folio_large_order")]
    #[inline(always)]
    fn order(self) -> u32 {
        // SAFETY: By the invariant; the callers have seen that it is large, so a second `struct page` is there. Other
        // CPUs may change the field.
        words::order(unsafe { self.field::<usize>(raw::FOLIO_FLAGS_1).read_volatile() })
    }

    /// Number of pages, if it is large.
    #[doc(alias("folio_large_nr_pages", "_nr_pages"))]
    #[inline(always)]
    pub(in crate::sys) fn nr_pages(self) -> usize {
        if raw::HAS_NR_PAGES == 0 {
            return words::nr_pages(self.order());
        }
        // SAFETY: As above.
        unsafe { self.field::<u32>(raw::FOLIO_NR_PAGES).read_volatile() as usize }
    }

    /// Whether it has a pin count, if it is large.
    #[doc(alias = "folio_has_pincount")]
    #[inline(always)]
    pub(in crate::sys) fn has_pincount(self) -> bool {
        // Of most machines the answer is the same for each order, and this one is not read.
        words::has_pincount(usize::BITS, 0) || words::has_pincount(usize::BITS, self.order())
    }

    /// Which of its pages `page` is.
    #[doc(alias = "folio_page_idx")]
    #[inline(always)]
    pub(in crate::sys) fn index(self, page: PagePtr) -> usize {
        (page.0 as usize).wrapping_sub(self.0 as usize) / raw::SIZEOF_PAGE
    }

    /// Its reference count.
    ///
    /// Rust's atomics and not the kernel crate's: those are calls into C. To be fully ordered in the sense of the
    /// kernel's memory model, an operation is followed by
    /// [`Arch::after_atomic()`](crate::sys::arch::Arch::after_atomic).
    #[doc(alias = "_refcount")]
    #[inline(always)]
    pub(in crate::sys) fn refcount(&self) -> &AtomicI32 {
        // SAFETY: By the invariant, the field is readable and aligned; the kernel accesses it with atomic operations.
        unsafe { AtomicI32::from_ptr(self.field(raw::FOLIO_REFCOUNT)) }
    }

    /// The pin count of a large folio.
    #[doc(alias = "_pincount")]
    #[inline(always)]
    pub(in crate::sys) fn pincount(&self) -> &AtomicI32 {
        // SAFETY: As above.
        unsafe { AtomicI32::from_ptr(self.field(raw::FOLIO_PINCOUNT)) }
    }

    /// The word that holds the page map of device memory, or the head if the page is a tail.
    #[doc(alias = "pgmap")]
    #[inline(always)]
    pub(in crate::sys) fn pgmap_word(self) -> usize {
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe { self.field::<usize>(raw::FOLIO_PGMAP).read_volatile() }
    }

    /// The type of a page that has one, the highest byte of the word; of a page that is mapped, the word counts its
    /// mappings.
    #[inline(always)]
    fn page_type(self) -> u8 {
        const HIGHEST_BYTE: usize = ByteOrder::NATIVE.highest(size_of::<u32>());
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe {
            self.field::<u8>(raw::PAGE_TYPE + HIGHEST_BYTE)
                .read_volatile()
        }
    }

    /// Belongs to the slab allocator, so that other fields mean something else.
    #[doc(alias = "folio_test_slab")]
    #[inline(always)]
    pub(in crate::sys) fn is_slab(self) -> bool {
        self.page_type() == raw::PAGE_TYPE_SLAB as u8
    }

    /// Belongs to hugetlbfs.
    #[doc(alias = "folio_test_hugetlb")]
    #[inline(always)]
    pub(in crate::sys) fn is_hugetlb(self) -> bool {
        self.page_type() == raw::PAGE_TYPE_HUGETLB as u8
    }

    /// `folio->mapping`, flags in the low bits included: a `READ_ONCE()`.
    #[inline(always)]
    pub(in crate::sys) fn mapping(self) -> usize {
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe { self.field::<usize>(raw::FOLIO_MAPPING).read_volatile() }
    }

    /// Whether it is anonymous, if it is not of the slab allocator. As `mapping()`, but of the one byte that has the
    /// flag.
    #[doc(alias = "folio_test_anon")]
    #[inline(always)]
    pub(in crate::sys) fn has_anon_mapping(self) -> bool {
        const { assert!(raw::MAPPING_ANON < 256) };
        // SAFETY: By the invariant; other CPUs may change the field.
        let lowest_byte = unsafe {
            self.field::<u8>(raw::FOLIO_MAPPING + LOWEST_BYTE)
                .read_volatile()
        };
        usize::from(lowest_byte) & raw::MAPPING_ANON != 0
    }
}

/// The zero pages: one, or one for each colour of the caches, in frames that follow each other.
#[derive(Clone, Copy)]
pub(in crate::sys) struct ZeroPages {
    first: FolioPtr,
}

impl ZeroPages {
    /// The kernel's.
    #[doc(alias = "zero_page_pfn")]
    #[inline(always)]
    pub(in crate::sys) fn get() -> Self {
        // SAFETY: The variable is written at boot only.
        let pfn = unsafe { core::ptr::addr_of!(raw::zero_page_pfn).read() };
        Self {
            // INVARIANT: A zero page is a folio of its own.
            first: MemoryMap::get().page(Pfn::new(pfn as u64)).as_head(),
        }
    }

    /// Whether a folio is one of them.
    #[doc(alias = "is_zero_folio")]
    #[inline(always)]
    pub(in crate::sys) fn has(self, folio: FolioPtr) -> bool {
        if raw::HAS_COLOR_ZERO_PAGE == 0 {
            folio == self.first
        } else {
            words::is_zero_page(
                folio.head().after(self.first.head()),
                machine::nr_zero_pages(),
            )
        }
    }
}
