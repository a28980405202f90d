// SPDX-License-Identifier: GPL-2.0

//! What the kernel says about pages that are held.

use core::marker::PhantomData;

use kernel::{
    bindings,
    prelude::*, //
};

use crate::{
    sys::{
        held::HeldPages,
        live::{
            with_irqs_off,
            LiveFolios,
            Parking, //
        },
        memory::{
            MemoryMap,
            PagePtr,
            ZeroPages, //
        },
        raw, //
    },
    walk::{
        Folios,
        RefKind, //
    },
};

/// A page that is held for `'a`.
pub(crate) struct HeldPage<'a> {
    page: PagePtr,
    held: PhantomData<&'a ()>,
}

impl<K: RefKind> HeldPages<K> {
    /// The pages one by one.
    pub(crate) fn pages(&self) -> impl Iterator<Item = HeldPage<'_>> {
        let memory_map = MemoryMap::get();
        self.runs().flat_map(move |run| {
            let first = memory_map.page(run.first());
            (0..run.nr_pages() as usize).map(move |i| HeldPage {
                page: first.nth(i),
                held: PhantomData,
            })
        })
    }
}

impl HeldPage<'_> {
    /// Whether it is the zero page, which is not counted when it is pinned (`mm/gup.c:540`).
    pub(crate) fn is_zero(&self) -> bool {
        ZeroPages::get().has(self.page.folio())
    }

    /// Whether it counts as pinned.
    #[doc(alias = "folio_maybe_dma_pinned")]
    pub(crate) fn maybe_dma_pinned(&self) -> bool {
        // SAFETY: The folio is held.
        unsafe { raw::rust_gup_folio_maybe_dma_pinned(self.page.folio().as_ptr()) }
    }

    /// Whether it may stay pinned for long where it lies.
    #[doc(alias = "folio_is_longterm_pinnable")]
    pub(crate) fn is_longterm_pinnable(&self) -> bool {
        with_irqs_off(|irqs_off| {
            let parking = Parking::default();
            LiveFolios::new(irqs_off, &parking).is_longterm_pinnable(self.page.folio())
        })
    }

    /// Writes what is known about it to the kernel's log.
    #[doc(alias = "dump_page")]
    pub(crate) fn dump(&self, why: &'static CStr) {
        // SAFETY: The page is held, and the text ends in a zero byte.
        unsafe { bindings::dump_page(self.page.as_ptr(), why.as_char_ptr()) };
    }
}

/// Warns: with a stack in the kernel's log, and by the taint of the kernel.
#[doc(alias = "WARN")]
pub(crate) fn warn(text: &'static CStr) {
    // SAFETY: The text ends in a zero byte.
    unsafe { raw::rust_gup_warn(text.as_char_ptr()) };
}
