// SPDX-License-Identifier: GPL-2.0

//! The checks after every walk, whatever the rival did.

use super::{
    Machine,
    Table, //
};
use crate::{
    drive::{
        Ask,
        Got,
        Kind, //
    },
    encode::Encode,
    walk::{
        Interior,
        Leaf,
        Level,
        Owner,
        Pfn, //
    },
};

/// The translation of an address at some moment: a page, as long as it has these contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    addr: u64,
    first: Pfn,
    contents: u32,
}

impl<F: Encode> Machine<F> {
    /// Looks an address up in the tables, for the access of the context.
    pub fn translate(&self, addr: u64) -> Option<Leaf> {
        let context = self.context.get();
        let (mut table, mut level) = self.root.get();
        let memory = self.memory.borrow();
        loop {
            let index = F::LEVELS[level.index()].index(addr);
            let raw = memory.get(table, index.get());
            if level == Level::PTE {
                let nr_before = F::group(raw, index).map_or(0, |group| group.nr_before);
                return F::page(raw, &context).ok().map(|leaf| Leaf {
                    first: leaf.first.add(nr_before),
                    ..leaf
                });
            }
            match F::interior(raw, level, &context).ok()? {
                Interior::Table => {
                    table = Table::found_at(F::table(raw, level, &context)?)?;
                    level = level.below()?;
                }
                Interior::Leaf(leaf) => {
                    let offset = addr & ((1 << F::LEVELS[level.index()].shift) - 1);
                    return Some(Leaf {
                        first: leaf.first.add(offset >> F::LEVELS[0].shift),
                        ..leaf
                    });
                }
            }
        }
    }

    /// Records the translations of the range at this moment.
    pub fn record(&self, first: u64, nr_pages: u64) {
        for i in 0..nr_pages {
            let addr = first.wrapping_add(i << F::LEVELS[0].shift);
            let Some(leaf) = self.translate(addr) else {
                continue;
            };
            let memmap = self.memmap.borrow();
            let Some(nr) = memmap.lookup(leaf.first) else {
                continue;
            };
            let now = Translation {
                addr,
                first: leaf.first,
                contents: memmap.page(nr).contents,
            };
            let mut legitimate = self.legitimate.borrow_mut();
            if !legitimate.contains(&now) {
                legitimate.push(now);
            }
        }
    }

    /// Checks the pages that were handed out, and gives them back:
    ///
    /// - each folio has the references of its users and those that were handed out, and no others;
    /// - each page handed out was mapped at its address during the walk, and has not been free since;
    /// - nobody else relies on having the page alone;
    /// - a pinned anonymous page is exclusive;
    /// - device memory has a page map, and each page holds it. The page map is one of peer-to-peer memory only if the
    ///   request admits that;
    /// - no table stays mapped.
    ///
    /// # Panics
    ///
    /// If one of these does not hold.
    pub fn audit(&self, ask: &Ask, got: &Got) {
        for &(addr, pfn) in &got.pages {
            let memmap = self.memmap.borrow();
            let nr = memmap.nr(pfn);
            let (page, folio) = (memmap.page(nr), memmap.folio(nr));
            let handed = Translation {
                addr,
                first: pfn,
                contents: page.contents,
            };
            assert!(
                self.legitimate.borrow().contains(&handed),
                "page {nr} is not what {addr:#x} was mapped to"
            );
            assert!(!page.sealed, "page {nr} was found to be unshared");
            if folio.device {
                let is_wanted = |p2pdma: bool| !p2pdma || ask.admits_p2pdma;
                assert!(folio.p2pdma.is_some_and(is_wanted), "page {nr}: {folio:?}");
            }
            if ask.kind == Kind::Pin && folio.owner == Owner::Anon && !ask.rules.access.is_write() {
                assert!(page.exclusive, "page {nr} is pinned and shared");
            }
            if ask.kind == Kind::Pin && folio.owner == Owner::Anon && ask.was_exclusive {
                assert!(page.exclusive, "page {nr} was made shared and is pinned");
            }
        }
        let nr_mapped = self.mapped.borrow().len();
        assert_eq!(nr_mapped, 0, "tables that stay mapped");
        self.audit_counts(ask.kind, &self.count_by_folio(got));
        let nr_device = self.nr_device(got);
        assert_eq!(got.progress.nr_device, nr_device, "pages of device memory");
        let nr_map_refs = self.memmap.borrow().nr_map_refs;
        assert_eq!(nr_map_refs, nr_device, "references on page maps");
        let nr_pinned = if ask.kind == Kind::Pin {
            got.pages.len()
        } else {
            0
        };
        let counted = std::mem::take(&mut self.memmap.borrow_mut().nr_pinned);
        assert_eq!(counted, nr_pinned as u64, "counted as pinned");
        self.give_back(ask.kind, got);
        let nothing = vec![0; self.memmap.borrow().nr_pages()];
        self.audit_counts(ask.kind, &nothing);
    }

    /// Gives back the pages that were handed out.
    pub fn give_back(&self, kind: Kind, got: &Got) {
        let nr_handed = self.count_by_folio(got);
        let mut memmap = self.memmap.borrow_mut();
        for (head, &nr) in nr_handed.iter().enumerate().filter(|(_, nr)| **nr != 0) {
            let (refs, pincount) = kind.cost(memmap.has_pincount(head), nr);
            memmap.put(head, refs, pincount);
        }
        memmap.nr_pinned = 0;
        memmap.nr_map_refs = 0;
    }

    /// Returns the number of pages of device memory that were handed out.
    fn nr_device(&self, got: &Got) -> u64 {
        let memmap = self.memmap.borrow();
        let pages = got.pages.iter();
        pages
            .filter(|(_, pfn)| memmap.page(memmap.nr(*pfn)).device)
            .count() as u64
    }

    /// Returns the number of pages of each folio that were handed out, indexed by its first page.
    fn count_by_folio(&self, got: &Got) -> Vec<u32> {
        let memmap = self.memmap.borrow();
        let mut nr_handed = vec![0; memmap.nr_pages()];
        for &(_, pfn) in &got.pages {
            nr_handed[memmap.page(memmap.nr(pfn)).head] += 1;
        }
        nr_handed
    }

    fn audit_counts(&self, kind: Kind, nr_handed: &[u32]) {
        let memmap = self.memmap.borrow();
        for (head, &nr) in nr_handed.iter().enumerate() {
            let page = memmap.page(head);
            if page.head != head {
                continue;
            }
            let (refs, pincount) = kind.cost(memmap.has_pincount(head), nr);
            assert_eq!(page.refs, page.owned + refs as i32, "references of {head}");
            assert_eq!(page.pincount, pincount as i32, "pins of {head}");
        }
    }
}
