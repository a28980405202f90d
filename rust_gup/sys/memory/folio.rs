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
        arch::{
            Arch,
            Live, //
        },
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
/// As for [`PagePtr`]. The page was the head of some folio when the pointer was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolioPtr(*mut bindings::folio);

/// The flags word of a folio.
#[derive(Clone, Copy)]
pub(crate) struct State(usize);

impl PagePtr {
    /// Returns the `struct page` at an address.
    #[inline(always)]
    pub(super) fn at(addr: usize) -> Self {
        // INVARIANT: The callers compute an address of the memory map.
        Self(addr as *mut bindings::page)
    }

    /// Returns the page of a pointer from the kernel.
    ///
    /// # Safety
    ///
    /// `page` must point to a `struct page` of the memory map.
    pub(in crate::sys) unsafe fn from_raw(page: *mut bindings::page) -> Self {
        // INVARIANT: By the contract of this function.
        Self(page)
    }

    /// Returns the pointer.
    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *mut bindings::page {
        self.0
    }

    /// Asks the CPU to fetch the `struct page` that is `nr_pages` places on, or back, if there is one.
    #[inline(always)]
    pub(in crate::sys) fn prefetch_beside(self, nr_pages: isize) {
        let nr_bytes = nr_pages.wrapping_mul(raw::SIZEOF_PAGE as isize);
        Live::prefetch((self.0 as usize).wrapping_add_signed(nr_bytes));
    }

    /// Returns the page `n` pages after this one.
    #[doc(alias("nth_page", "folio_page"))]
    #[inline(always)]
    pub(in crate::sys) fn nth(self, n: usize) -> Self {
        // INVARIANT: The callers read no page that lies beyond the folio or the run they are in.
        Self::at((self.0 as usize).wrapping_add(n.wrapping_mul(raw::SIZEOF_PAGE)))
    }

    /// Returns how many pages this page comes after `other`. The number is negative if this page comes before `other`.
    #[inline(always)]
    fn after(self, other: Self) -> isize {
        let nr_bytes = (self.0 as isize).wrapping_sub(other.0 as isize);
        nr_bytes / raw::SIZEOF_PAGE as isize
    }

    #[inline(always)]
    fn field<T>(self, offset: usize) -> *mut T {
        (self.0 as usize).wrapping_add(offset) as *mut T
    }

    /// Returns whether the page is a tail now, so that its folio begins with another page.
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

    /// Returns the folio that consists of this page alone, if there is one now.
    #[inline(always)]
    pub(in crate::sys) fn as_single(self) -> Option<FolioPtr> {
        (!self.is_tail() && !self.as_head().state().is_large()).then_some(self.as_head())
    }

    /// Returns the folio that begins with this page. The page should not be a tail.
    #[inline(always)]
    pub(in crate::sys) fn as_head(self) -> FolioPtr {
        // INVARIANT: For a tail, the callers read nothing but the flags, and use them only after a check that the page
        // is no tail.
        FolioPtr(self.0.cast())
    }

    /// Returns the folio that the page belongs to now.
    #[doc(alias("page_folio", "_compound_head", "compound_info"))]
    #[inline(always)]
    pub(in crate::sys) fn folio(self) -> FolioPtr {
        // SAFETY: By the invariant; other CPUs may change the field.
        let info = unsafe { self.field::<usize>(raw::PAGE_COMPOUND_INFO).read_volatile() };
        let head = words::head(self.0 as usize, info, raw::COMPOUND_INFO_HAS_MASK != 0);
        // INVARIANT: By the meaning of the field.
        FolioPtr(head as *mut bindings::folio)
    }

    /// Returns whether this page of an anonymous folio is exclusive. A hugetlb folio has one flag for all its pages, on
    /// the head.
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

/// The offset of the lowest byte of a word. That byte has the flags that are kept in a pointer.
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

    /// Returns the NUMA node.
    #[doc(alias = "folio_nid")]
    #[inline(always)]
    pub(in crate::sys) fn node(self) -> usize {
        Self::node_of(self.0)
    }

    /// Returns the node in a result of [`FolioState::node_and_zone()`].
    #[inline(always)]
    pub(in crate::sys) fn node_of(node_and_zone: usize) -> usize {
        node_and_zone >> raw::NODES_SHIFT & raw::NODES_MASK
    }

    /// Returns whether the folio has one page, and lies in this node and zone.
    #[inline(always)]
    pub(in crate::sys) fn is_small_in(self, node_and_zone: usize) -> bool {
        self.0 & (NODE_AND_ZONE | HEAD) == node_and_zone
    }

    /// Returns whether the folio lies neither in `ZONE_MOVABLE` nor in `ZONE_DEVICE`.
    #[inline(always)]
    pub(in crate::sys) fn may_stay(self) -> bool {
        const { assert!(raw::ZONE_DEVICE > raw::ZONE_MOVABLE) };
        self.zone() < raw::ZONE_MOVABLE
    }
}

impl FolioPtr {
    /// Returns the pointer.
    #[inline(always)]
    pub(in crate::sys) fn as_ptr(self) -> *mut bindings::folio {
        self.0
    }

    /// Returns the first page of the folio.
    #[inline(always)]
    pub(in crate::sys) fn head(self) -> PagePtr {
        // INVARIANT: As for the folio.
        PagePtr(self.0.cast())
    }

    #[inline(always)]
    fn field<T>(self, offset: usize) -> *mut T {
        (self.0 as usize).wrapping_add(offset) as *mut T
    }

    /// Reads the flags as they are now.
    #[inline(always)]
    pub(in crate::sys) fn state(self) -> State {
        // SAFETY: By the invariant; other CPUs may change the field.
        State(unsafe { self.field::<usize>(raw::PAGE_FLAGS).read_volatile() })
    }

    /// Sets the referenced flag. The caller holds a reference. Others may change other flags at the same time.
    #[doc(alias = "folio_set_referenced")]
    #[inline(always)]
    pub(in crate::sys) fn set_referenced(self) {
        // SAFETY: By the invariant, the field is accessible and aligned; the kernel changes it with atomic operations.
        let flags = unsafe { AtomicUsize::from_ptr(self.field(raw::PAGE_FLAGS)) };
        flags.fetch_or(1 << raw::PG_REFERENCED, Ordering::Relaxed);
    }

    /// Reads the order. The folio must be large.
    #[doc(alias = "folio_large_order")]
    #[inline(always)]
    fn order(self) -> u32 {
        // SAFETY: By the invariant; the callers have seen that the folio is large, so a second `struct page` is there.
        // Other CPUs may change the field.
        words::order(unsafe { self.field::<usize>(raw::FOLIO_FLAGS_1).read_volatile() })
    }

    /// Reads the number of pages. The folio must be large.
    #[doc(alias("folio_large_nr_pages", "_nr_pages"))]
    #[inline(always)]
    pub(in crate::sys) fn nr_pages(self) -> usize {
        if raw::HAS_NR_PAGES == 0 {
            return words::nr_pages(self.order());
        }
        // SAFETY: As above.
        unsafe { self.field::<u32>(raw::FOLIO_NR_PAGES).read_volatile() as usize }
    }

    /// Returns whether the folio has a pin count. The folio must be large.
    #[doc(alias = "folio_has_pincount")]
    #[inline(always)]
    pub(in crate::sys) fn has_pincount(self) -> bool {
        // On most machines the answer is the same for each order, so the order is not read.
        words::has_pincount(usize::BITS, 0) || words::has_pincount(usize::BITS, self.order())
    }

    /// Returns the index of `page` in the folio.
    #[doc(alias = "folio_page_idx")]
    #[inline(always)]
    pub(in crate::sys) fn index(self, page: PagePtr) -> usize {
        (page.0 as usize).wrapping_sub(self.0 as usize) / raw::SIZEOF_PAGE
    }

    /// Returns the reference count.
    ///
    /// Uses Rust's atomics and not those of the kernel crate, which are calls into C. An operation is fully ordered in
    /// the sense of the kernel's memory model only if [`Arch::after_atomic()`](crate::sys::arch::Arch::after_atomic)
    /// follows it.
    #[doc(alias = "_refcount")]
    #[inline(always)]
    pub(in crate::sys) fn refcount(&self) -> &AtomicI32 {
        // SAFETY: By the invariant, the field is readable and aligned; the kernel accesses it with atomic operations.
        unsafe { AtomicI32::from_ptr(self.field(raw::FOLIO_REFCOUNT)) }
    }

    /// Returns the pin count of a large folio.
    #[doc(alias = "_pincount")]
    #[inline(always)]
    pub(in crate::sys) fn pincount(&self) -> &AtomicI32 {
        // SAFETY: As above.
        unsafe { AtomicI32::from_ptr(self.field(raw::FOLIO_PINCOUNT)) }
    }

    /// Reads the word that holds the page map of device memory, or the head if the page is a tail.
    #[doc(alias = "pgmap")]
    #[inline(always)]
    pub(in crate::sys) fn pgmap_word(self) -> usize {
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe { self.field::<usize>(raw::FOLIO_PGMAP).read_volatile() }
    }

    /// Reads the type of a page that has one, which is the highest byte of the word. For a page that is mapped, the
    /// word counts its mappings instead.
    #[inline(always)]
    fn page_type(self) -> u8 {
        const HIGHEST_BYTE: usize = ByteOrder::NATIVE.highest(size_of::<u32>());
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe {
            self.field::<u8>(raw::PAGE_TYPE + HIGHEST_BYTE)
                .read_volatile()
        }
    }

    /// Returns whether the folio belongs to the slab allocator, so that other fields mean something else.
    #[doc(alias = "folio_test_slab")]
    #[inline(always)]
    pub(in crate::sys) fn is_slab(self) -> bool {
        self.page_type() == raw::PAGE_TYPE_SLAB as u8
    }

    /// Returns whether the folio belongs to hugetlbfs.
    #[doc(alias = "folio_test_hugetlb")]
    #[inline(always)]
    pub(in crate::sys) fn is_hugetlb(self) -> bool {
        self.page_type() == raw::PAGE_TYPE_HUGETLB as u8
    }

    /// Reads `folio->mapping`, with the flags in its low bits: a `READ_ONCE()`.
    #[inline(always)]
    pub(in crate::sys) fn mapping(self) -> usize {
        // SAFETY: By the invariant; other CPUs may change the field.
        unsafe { self.field::<usize>(raw::FOLIO_MAPPING).read_volatile() }
    }

    /// Returns whether the folio is anonymous. It must not belong to the slab allocator. Like `mapping()`, but reads
    /// only the byte that has the flag.
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
    /// Returns the zero pages of the kernel.
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

    /// Returns whether a folio is one of the zero pages.
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
