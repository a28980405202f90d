// SPDX-License-Identifier: GPL-2.0

//! The events that can happen. Each function returns the steps of one event as a program. Comments name the C that goes
//! this way.

use rust_gup_host::{
    encode::{Encode, Page},
    machine::{Build, Machine},
    rival::{
        Next::{BackOff, Step},
        Program,
    },
    walk::{Level, Owner, Pfn},
};

use super::FIRST_PFN;

/// Returns the address at which the setup maps page `nr`.
pub(in super::super) fn addr<F: Encode>(nr: usize) -> u64 {
    (nr as u64) << F::LEVELS[0].shift
}

/// Returns an entry of a base page.
pub(in super::super) fn leaf<F: Encode>(nr: usize, writable: bool) -> u64 {
    let first = Pfn::new(FIRST_PFN + nr as u64);
    F::leaf(Level::PTE, Page { first, writable })
}

/// Returns a huge leaf.
pub(in super::super) fn huge_leaf<F: Encode>(nr: usize, writable: bool) -> u64 {
    let first = Pfn::new(FIRST_PFN + nr as u64);
    F::leaf(Level::PMD, Page { first, writable })
}

pub(in super::super) fn clear<F: Encode>(machine: &Machine<F>, nr: usize) {
    machine.install(addr::<F>(nr), Level::PTE, F::empty(Level::PTE));
}

/// Clears the entry of a page, then drops the reference of the mapping (`zap_present_ptes()`).
pub(in super::super) fn zap<F: Encode>(nr: usize) -> Program<F> {
    Program::default()
        .then(move |m| clear(m, nr))
        .then(move |m| m.memmap().drop_owned(nr, 1))
}

/// Puts a page that is free by now to another use.
pub(in super::super) fn reuse<F: Encode>(nr: usize, build: Build) -> Program<F> {
    Program::default().then_if(move |m| {
        let mut memmap = m.memmap();
        let is_free = (nr..nr + build.nr_pages).all(|nr| memmap.folio(nr).refs == 0);
        if !is_free {
            return BackOff;
        }
        memmap.build(nr, build);
        Step
    })
}

/// Maps a page again, with the entry that it had.
pub(in super::super) fn map_again<F: Encode>(nr: usize, writable: bool) -> Program<F> {
    Program::default().then(move |m| {
        m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
    })
}

/// Replaces the entry of a page by that of another page (`wp_page_copy()`).
pub(in super::super) fn replace<F: Encode>(nr: usize, by: usize) -> Program<F> {
    Program::default().then(move |m| {
        m.install(addr::<F>(nr), Level::PTE, leaf::<F>(by, true));
    })
}

/// Clears the entry, then reads the count. If nobody else has the folio, the rival takes it (`try_to_migrate_one()` and
/// `folio_ref_freeze()`, `shrink_folio_list()`, `wp_can_reuse_anon_folio()`). Otherwise it restores the entry.
pub(in super::super) fn unmap_and_look<F: Encode>(nr: usize, writable: bool) -> Program<F> {
    Program::default()
        .then(move |m| clear(m, nr))
        .then_if(move |m| {
            if m.memmap().is_unshared(nr) {
                m.memmap().seal(nr);
                return Step;
            }
            m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
            BackOff
        })
}

/// Makes a page not exclusive, unless it is pinned (`folio_try_share_anon_rmap_pte()`: KSM, swapping out, migrating).
/// The entry that is restored then is read-only and maps the same page.
pub(in super::super) fn share<F: Encode>(nr: usize, writable: bool) -> Program<F> {
    Program::default()
        .then(move |m| clear(m, nr))
        .then_if(move |m| {
            if m.memmap().is_maybe_pinned(nr) {
                m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
                return BackOff;
            }
            Step
        })
        .then(move |m| m.memmap().page_mut(nr).exclusive = false)
        .then(move |m| {
            m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, false));
        })
}

/// Does the same with a huge leaf, which is invalidated and not cleared (`__split_huge_pmd_locked()` with
/// `folio_try_share_anon_rmap_pmd()`).
pub(in super::super) fn share_leaf<F: Encode>(writable: bool) -> Program<F> {
    let invalid = F::invalidated(Level::PMD, huge_leaf::<F>(0, writable));
    Program::default()
        .then(move |m| {
            m.install(0, Level::PMD, invalid);
        })
        .then_if(move |m| {
            if m.memmap().is_maybe_pinned(0) {
                m.install(0, Level::PMD, huge_leaf::<F>(0, writable));
                return BackOff;
            }
            Step
        })
        .then(|m| m.memmap().page_mut(0).exclusive = false)
        .then(|m| {
            m.install(0, Level::PMD, huge_leaf::<F>(0, false));
        })
}

/// Replaces a huge leaf by a table with the same pages (`__split_huge_pmd_locked()` without freezing).
pub(in super::super) fn split_leaf<F: Encode>(writable: bool) -> Program<F> {
    let invalid = F::invalidated(Level::PMD, huge_leaf::<F>(0, writable));
    Program::default()
        .then(move |m| {
            m.install(0, Level::PMD, invalid);
        })
        .then(move |m| {
            let table = m.memory().add_table::<F>(Level::PTE);
            for nr in 0..F::LEVELS[0].nr_entries() {
                let raw = leaf::<F>(nr, writable);
                m.memory().set(table, nr, raw);
            }
            m.install(0, Level::PMD, F::link(Level::PMD, table.at()));
        })
}

/// Splits a folio: unmaps its pages, freezes its count, makes new folios of its pages, thaws their counts, and maps the
/// pages again with the entries that they had (`__folio_split()`).
pub(in super::super) fn split_folio<F: Encode>(
    nr_pages: usize,
    into: usize,
    writable: bool,
) -> Program<F> {
    Program::default()
        .then(move |m| (0..nr_pages).for_each(|nr| clear(m, nr)))
        .then_if(move |m| {
            if m.memmap().freeze(0) {
                return Step;
            }
            (0..nr_pages).for_each(|nr| {
                m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
            });
            BackOff
        })
        .then(move |m| {
            let mut memmap = m.memmap();
            memmap.split(0, into);
            (0..nr_pages)
                .step_by(into)
                .for_each(|nr| memmap.unfreeze(nr));
        })
        .then(move |m| {
            (0..nr_pages).for_each(|nr| {
                m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
            });
        })
}

/// Splits a folio in fewer steps, so that nobody sees it frozen.
pub(in super::super) fn split_folio_at_once<F: Encode>(
    nr_pages: usize,
    into: usize,
    writable: bool,
) -> Program<F> {
    Program::default()
        .then_if(move |m| {
            let mut memmap = m.memmap();
            if !memmap.freeze(0) {
                return BackOff;
            }
            memmap.split(0, into);
            (0..nr_pages)
                .step_by(into)
                .for_each(|nr| memmap.unfreeze(nr));
            drop(memmap);
            (0..nr_pages).for_each(|nr| clear(m, nr));
            Step
        })
        .then(move |m| {
            (0..nr_pages).for_each(|nr| {
                m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, writable));
            });
        })
}

/// Takes the table of the first pages out of the tree while its entries still stand. The pages are freed if nobody else
/// has them (`collapse_huge_page()`, on a machine whose page-table locks do not wait for the walk).
pub(in super::super) fn collapse<F: Encode>(nr_pages: usize) -> Program<F> {
    take_table_away::<F>(nr_pages)
        .then(move |m| {
            (0..nr_pages).for_each(|nr| m.memmap().drop_owned(nr, 1));
        })
        .and(reuse(0, Build::anon(nr_pages)))
        .then(|m| {
            m.install(0, Level::PMD, huge_leaf::<F>(0, true));
        })
}

/// Does the first two steps of `collapse()`: takes the table out, and reads the counts.
pub(in super::super) fn take_table_away<F: Encode>(nr_pages: usize) -> Program<F> {
    let link = move |m: &Machine<F>| m.entry(0, Level::PMD);
    let before = std::rc::Rc::new(std::cell::Cell::new(0));
    let (put, get) = (before.clone(), before);
    Program::default()
        .then(move |m| {
            put.set(link(m));
            m.install(0, Level::PMD, F::empty(Level::PMD));
        })
        .then_if(move |m| {
            if (0..nr_pages).all(|nr| m.memmap().is_unshared(nr)) {
                (0..nr_pages).for_each(|nr| m.memmap().seal(nr));
                return Step;
            }
            m.install(0, Level::PMD, get.get());
            BackOff
        })
}

/// Changes the accessed bit of a page's entry.
pub(in super::super) fn touch<F: Encode>(nr: usize) -> Program<F> {
    Program::default().then(move |m| {
        let raw = F::touched(m.entry(addr::<F>(nr), Level::PTE));
        m.install(addr::<F>(nr), Level::PTE, raw);
    })
}

/// Makes a page read-only (`mprotect()`, userfaultfd, the cleaning of a file's pages).
pub(in super::super) fn write_protect<F: Encode>(nr: usize) -> Program<F> {
    Program::default().then(move |m| {
        m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, false));
    })
}

/// Unmaps a folio of a file in device memory, and takes it apart page by page once nobody has it. Each page loses its
/// head, and then gets a page map of its own (`dax_folio_put()`, `dax_folio_reset_order()`). The file gets the pages
/// again, one by one, at the same place.
pub(in super::super) fn take_apart<F: Encode>(nr_pages: usize) -> Program<F> {
    let unmap = move |m: &Machine<F>| (0..nr_pages).for_each(|nr| clear(m, nr));
    take_device_folio_apart(nr_pages, unmap).then(move |m| {
        for nr in 0..nr_pages {
            let build = Build::anon(1).owned_by(Owner::File);
            m.memmap().build(nr, build);
            m.install(addr::<F>(nr), Level::PTE, leaf::<F>(nr, true));
        }
    })
}

/// Does the same with a folio that a huge leaf maps, and that becomes one folio again.
pub(in super::super) fn take_leaf_apart<F: Encode>(nr_pages: usize) -> Program<F> {
    let unmap = |m: &Machine<F>| {
        m.install(0, Level::PMD, F::empty(Level::PMD));
    };
    take_device_folio_apart(nr_pages, unmap).then(move |m| {
        let build = Build::anon(nr_pages).owned_by(Owner::File);
        m.memmap().build(0, build);
        m.install(0, Level::PMD, huge_leaf::<F>(0, true));
    })
}

fn take_device_folio_apart<F: Encode>(
    nr_pages: usize,
    unmap: impl Fn(&Machine<F>) + 'static,
) -> Program<F> {
    Program::default()
        .then(move |m| {
            unmap(m);
            m.memmap().drop_owned(0, nr_pages as i32);
        })
        .then_if(|m| {
            let mut memmap = m.memmap();
            // `dax_busy_page()`: the file system waits.
            if memmap.page(0).refs != 0 {
                return BackOff;
            }
            let head = memmap.page_mut(0);
            (head.large, head.nr_pages, head.p2pdma) = (false, 1, None);
            Step
        })
        .then(move |m| {
            let mut memmap = m.memmap();
            for nr in 1..nr_pages {
                memmap.page_mut(nr - 1).p2pdma = Some(false);
                let page = memmap.page_mut(nr);
                (page.head, page.p2pdma) = (nr, None);
            }
        })
        .then(move |m| m.memmap().page_mut(nr_pages - 1).p2pdma = Some(false))
}

/// Unmaps a page of device memory. When the page is free, it is mapped again at the same place as peer-to-peer memory
/// of a PCI device.
pub(in super::super) fn become_p2pdma<F: Encode>(nr: usize) -> Program<F> {
    zap(nr)
        .then_if(move |m| {
            let mut memmap = m.memmap();
            if memmap.page(nr).refs != 0 {
                return BackOff;
            }
            memmap.build(nr, Build::anon(1).owned_by(Owner::File));
            memmap.page_mut(nr).p2pdma = Some(true);
            Step
        })
        .and(map_again(nr, true))
}
