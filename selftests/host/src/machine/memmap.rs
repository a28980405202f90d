// SPDX-License-Identifier: GPL-2.0

//! The pages of the machine: a `struct page` for each frame, and the folios that they form.

use crate::{
    walk::{
        Owner,
        Pfn, //
    },
    words, //
};

/// The number of a page, counted from the first frame.
pub type PageNr = usize;

/// The state of a page. The state of a folio is in its first page, as in the kernel.
#[derive(Clone, Debug)]
pub struct StructPage {
    /// The first page of its folio.
    pub head: PageNr,
    /// The folio has more than one page.
    pub large: bool,
    /// The number of pages of the folio.
    pub nr_pages: usize,
    /// The reference count. 0 means free or frozen.
    pub refs: i32,
    /// The references of everyone but the walker.
    pub owned: i32,
    /// The pin count. Only large folios have one.
    pub pincount: i32,
    /// The kind of owner.
    pub owner: Owner,
    /// `ZONE_DEVICE`.
    pub device: bool,
    /// For device memory, whether its page map is one of peer-to-peer memory. `None` while the memory is taken apart.
    pub p2pdma: Option<bool>,
    /// The folio is of hugetlbfs: its first page has the exclusive flag of all its pages.
    pub hugetlb: bool,
    /// The folio can stay where it is.
    pub longterm_pinnable: bool,
    /// The folio can be made accessible.
    pub accessible: bool,
    /// The folio was accessed lately.
    pub referenced: bool,
    /// The page belongs to one process alone. Each page has its own flag.
    pub exclusive: bool,
    /// The contents of the page. Each use of a page gets another number.
    pub contents: u32,
    /// Somebody found that nobody else has the page, and relies on that.
    pub sealed: bool,
}

/// A folio to be made.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Number of pages.
    pub nr_pages: usize,
    /// The references that its users have.
    pub refs: i32,
    /// The kind of owner.
    pub owner: Owner,
    /// The exclusive flag of all its pages.
    pub exclusive: bool,
}

impl Build {
    /// Returns anonymous memory of one process, mapped once for each page.
    pub const fn anon(nr_pages: usize) -> Self {
        Self {
            nr_pages,
            refs: nr_pages as i32,
            owner: Owner::Anon,
            exclusive: true,
        }
    }

    /// Gives the folio to another owner.
    pub const fn owned_by(self, owner: Owner) -> Self {
        Self {
            owner,
            exclusive: false,
            ..self
        }
    }

    /// Makes the folio not exclusive.
    pub const fn shared(self) -> Self {
        Self {
            exclusive: false,
            ..self
        }
    }

    /// Sets the number of references.
    pub const fn with_refs(self, refs: i32) -> Self {
        Self { refs, ..self }
    }
}

/// The pages of the machine.
#[derive(Debug)]
pub struct Memmap {
    first: Pfn,
    pages: Vec<StructPage>,
    flags_seen: Vec<bool>,
    nr_contents: u32,
    /// The device gives up its page map, so no references on it can be taken.
    pub device_goes: bool,
    /// The references on page maps that the walker has.
    pub nr_map_refs: u64,
    /// The number of pages that were counted as pinned.
    pub nr_pinned: u64,
    /// The number of times the referenced flag was set.
    pub nr_flags_set: u64,
    /// The number of times references were given back.
    pub nr_puts: u64,
    /// The kernel admits small folios without an owner.
    pub admits_unowned: bool,
    /// The number of bits of a word of the machine.
    pub word_bits: u32,
}

impl Memmap {
    /// Makes the pages of `nr_frames` frames, all free.
    pub fn new(first: Pfn, nr_frames: usize) -> Self {
        let free = StructPage {
            head: 0,
            large: false,
            nr_pages: 1,
            refs: 0,
            owned: 0,
            pincount: 0,
            owner: Owner::None,
            device: false,
            p2pdma: Some(false),
            hugetlb: false,
            longterm_pinnable: true,
            accessible: true,
            referenced: false,
            exclusive: false,
            contents: 0,
            sealed: false,
        };
        let mut pages = vec![free; nr_frames];
        for (nr, page) in pages.iter_mut().enumerate() {
            page.head = nr;
        }
        Self {
            first,
            flags_seen: vec![false; nr_frames],
            pages,
            nr_contents: 0,
            device_goes: false,
            nr_map_refs: 0,
            nr_pinned: 0,
            nr_flags_set: 0,
            nr_puts: 0,
            admits_unowned: false,
            word_bits: 64,
        }
    }

    /// Returns the frame of the first page.
    pub fn first(&self) -> Pfn {
        self.first
    }

    /// Returns the page of a frame. Panics if the frame has none.
    pub fn nr(&self, pfn: Pfn) -> PageNr {
        self.lookup(pfn)
            .unwrap_or_else(|| panic!("frame {:#x} has no struct page", pfn.as_u64()))
    }

    /// Returns the page of a frame, if it has one.
    pub fn lookup(&self, pfn: Pfn) -> Option<PageNr> {
        let nr = pfn.as_u64().checked_sub(self.first.as_u64())? as usize;
        (nr < self.pages.len()).then_some(nr)
    }

    /// Returns the number of pages.
    pub fn nr_pages(&self) -> usize {
        self.pages.len()
    }

    /// Returns the state of a page.
    pub fn page(&self, nr: PageNr) -> &StructPage {
        &self.pages[nr]
    }

    /// Returns the state of a page, to change it.
    pub fn page_mut(&mut self, nr: PageNr) -> &mut StructPage {
        &mut self.pages[nr]
    }

    /// Returns the folio of a page.
    pub fn folio(&self, nr: PageNr) -> &StructPage {
        &self.pages[self.pages[nr].head]
    }

    /// Returns the folio of a page, to change it.
    pub fn folio_mut(&mut self, nr: PageNr) -> &mut StructPage {
        let head = self.pages[nr].head;
        &mut self.pages[head]
    }

    fn next_contents(&mut self) -> u32 {
        self.nr_contents += 1;
        self.nr_contents
    }

    /// Makes a folio of free pages. Its flags are visible at once, because a page that is reused has passed barriers.
    pub fn build(&mut self, head: PageNr, build: Build) {
        for nr in head..head + build.nr_pages {
            assert_eq!(self.folio(nr).refs, 0, "page {nr} is in use");
            let contents = self.next_contents();
            let page = &mut self.pages[nr];
            page.head = head;
            page.large = false;
            page.refs = 0;
            page.exclusive = build.exclusive;
            page.contents = contents;
            page.sealed = false;
            self.flags_seen[nr] = build.exclusive;
        }
        let folio = &mut self.pages[head];
        folio.large = build.nr_pages > 1;
        folio.nr_pages = build.nr_pages;
        folio.refs = build.refs;
        folio.owned = build.refs;
        folio.pincount = 0;
        folio.owner = build.owner;
        folio.referenced = false;
    }

    /// Drops references of somebody other than the walker. The last one frees the folio.
    pub fn drop_owned(&mut self, nr: PageNr, refs: i32) {
        let folio = self.folio_mut(nr);
        assert!(folio.owned >= refs, "the rival drops what it has not");
        folio.owned -= refs;
        folio.refs -= refs;
        if folio.refs == 0 {
            self.free(nr);
        }
    }

    /// Drops references of the walker. The last one frees the folio.
    pub(super) fn put(&mut self, head: PageNr, refs: u32, pincount: u32) {
        let folio = &mut self.pages[head];
        assert_eq!(folio.head, head, "put to what is no folio any more");
        assert!(
            folio.refs - folio.owned >= refs as i32 && folio.pincount >= pincount as i32,
            "more is given back than was taken"
        );
        folio.pincount -= pincount as i32;
        folio.refs -= refs as i32;
        self.nr_puts += 1;
        if self.pages[head].refs == 0 {
            self.free(head);
        }
    }

    /// Makes free pages of the folio. Their contents are gone. Device memory stays a folio until its driver takes it
    /// apart (`free_zone_device_folio()`).
    fn free(&mut self, nr: PageNr) {
        let head = self.pages[nr].head;
        for nr in head..head + self.pages[head].nr_pages {
            let contents = self.next_contents();
            let page = &mut self.pages[nr];
            if page.device {
                page.contents = contents;
                continue;
            }
            page.head = nr;
            page.large = false;
            page.nr_pages = 1;
            page.owner = Owner::None;
            page.exclusive = false;
            page.contents = contents;
            page.sealed = false;
        }
    }

    /// Tells whether a folio has only the references of its users, as everyone checks before taking it away.
    pub fn is_unshared(&self, nr: PageNr) -> bool {
        self.folio(nr).refs == self.folio(nr).owned
    }

    /// Tells whether the folio that begins with this page has a pin count.
    pub fn has_pincount(&self, head: PageNr) -> bool {
        let folio = self.page(head);
        folio.large && words::has_pincount(self.word_bits, folio.nr_pages.ilog2())
    }

    /// `folio_maybe_dma_pinned()`.
    pub fn is_maybe_pinned(&self, nr: PageNr) -> bool {
        let folio = self.folio(nr);
        if self.has_pincount(folio.head) {
            folio.pincount > 0
        } else {
            folio.refs >= 1024
        }
    }

    /// Records that somebody found that nobody else has the page, and relies on that.
    pub fn seal(&mut self, nr: PageNr) {
        self.pages[nr].sealed = true;
    }

    /// `folio_ref_freeze()`: makes the count zero, if it has the value that the owner expects.
    pub fn freeze(&mut self, nr: PageNr) -> bool {
        let unshared = self.is_unshared(nr);
        if unshared {
            self.folio_mut(nr).refs = 0;
        }
        unshared
    }

    /// Restores the count of a frozen folio to the references of its users.
    pub fn unfreeze(&mut self, nr: PageNr) {
        let folio = self.folio_mut(nr);
        assert_eq!(folio.refs, 0, "not frozen");
        folio.refs = folio.owned;
    }

    /// Splits a frozen folio into folios of `nr_pages` pages, frozen too, with a reference for each page.
    pub fn split(&mut self, nr: PageNr, nr_pages: usize) {
        let head = self.pages[nr].head;
        let old = self.pages[head].clone();
        assert_eq!(old.refs, 0, "not frozen");
        for new_head in (head..head + old.nr_pages).step_by(nr_pages) {
            for nr in new_head..new_head + nr_pages {
                self.pages[nr].head = new_head;
                self.pages[nr].large = false;
            }
            let page = &mut self.pages[new_head];
            page.large = nr_pages > 1;
            page.nr_pages = nr_pages;
            page.refs = 0;
            page.owned = nr_pages as i32;
            page.pincount = 0;
            page.owner = old.owner;
            page.referenced = old.referenced;
        }
    }

    /// Returns the exclusive flag as a walker sees it if its loads may come early.
    pub(super) fn flag_seen(&self, nr: PageNr) -> bool {
        self.flags_seen[nr]
    }

    /// Makes the current flags visible, as a barrier of the walker does.
    pub(super) fn see_flags(&mut self) {
        for (seen, page) in self.flags_seen.iter_mut().zip(&self.pages) {
            *seen = page.exclusive;
        }
    }
}
