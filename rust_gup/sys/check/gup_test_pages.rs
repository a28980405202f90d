// SPDX-License-Identifier: GPL-2.0

//! Questions to the kernel about held pages, for the assertions of `gup_test/`.

use core::marker::PhantomData;

use kernel::{
    bindings,
    prelude::*, //
};

use crate::{
    sys::{
        held::HeldPages,
        live::{
            with_irqs_off_by_kernel,
            LiveFolios,
            Scratch, //
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
    /// Returns the pages one by one.
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
    /// Returns whether this is a zero page. Its pins are not counted (`mm/gup.c:540`).
    pub(crate) fn is_zero(&self) -> bool {
        ZeroPages::get().has(self.page.folio())
    }

    /// Returns whether the kernel takes the folio of the page for pinned.
    #[doc(alias = "folio_maybe_dma_pinned")]
    pub(crate) fn maybe_dma_pinned(&self) -> bool {
        // SAFETY: The folio is held.
        unsafe { raw::rust_gup_folio_maybe_dma_pinned(self.page.folio().as_ptr()) }
    }

    /// Returns whether the page may stay pinned for long where it lies.
    #[doc(alias = "folio_is_longterm_pinnable")]
    pub(crate) fn is_longterm_pinnable(&self) -> bool {
        with_irqs_off_by_kernel(|irqs_off| {
            let scratch = Scratch::default();
            LiveFolios::new(irqs_off, &scratch).is_longterm_pinnable(self.page.folio())
        })
    }

    /// Writes the state of the page to the kernel's log.
    #[doc(alias = "dump_page")]
    pub(crate) fn dump(&self, why: &'static CStr) {
        // SAFETY: The page is held, and the text ends in a zero byte.
        unsafe { bindings::dump_page(self.page.as_ptr(), why.as_char_ptr()) };
    }
}

/// Warns: writes a stack trace to the kernel's log, and taints the kernel.
#[doc(alias = "WARN")]
pub(crate) fn warn(text: &'static CStr) {
    // SAFETY: The text ends in a zero byte.
    unsafe { raw::rust_gup_warn(text.as_char_ptr()) };
}
