// SPDX-License-Identifier: GPL-2.0

//! What a situation is, and what is to be expected of it.

use std::{
    any::Any,
    ptr::{
        with_exposed_provenance,
        with_exposed_provenance_mut, //
    }, //
};

use rust_gup_memory::{
    size::page_bytes,
    word, //
};
use rust_gup_uapi::{
    raw,
    Access,
    How, //
};

use crate::harness::{
    fixture::walk_is_off,
    memory::Map,
    proof::settle_lists, //
};

/// A kind of memory, in a state.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    /// Makes it and proves that it is what it says: what the machine lacks skips the test, what the kernel did not give
    /// fails it.
    pub(crate) make: fn() -> Scene,
    pub(crate) effort: Effort,
    /// What the kernel logs when it is made.
    pub(crate) log: &'static [&'static str],
    /// What is set up once for all the times that it is made.
    pub(crate) setup: Option<fn() -> Box<dyn Any>>,
}

impl Situation {
    pub(crate) const fn new(name: &'static str, make: fn() -> Scene) -> Self {
        Self {
            name,
            make,
            effort: Effort::Small,
            log: &[],
            setup: None,
        }
    }

    /// One that takes long to make: it is made for a few ways of taking it only.
    pub(crate) const fn dear(name: &'static str, make: fn() -> Scene) -> Self {
        Self {
            effort: Effort::Large,
            ..Self::new(name, make)
        }
    }

    /// Makes it, and lets it come to rest.
    pub(crate) fn scene(&self) -> Scene {
        let scene = (self.make)();
        settle_lists();
        scene
    }

    /// It is made while what `setup` returns lives.
    pub(crate) const fn with(self, setup: fn() -> Box<dyn Any>) -> Self {
        Self {
            setup: Some(setup),
            ..self
        }
    }

    /// The kernel logs records that hold one of `log`.
    pub(crate) const fn logs(self, log: &'static [&'static str]) -> Self {
        Self { log, ..self }
    }
}

/// What it costs to make a situation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Small,
    Large,
}

/// How pages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) how: How,
    pub(crate) access: Access,
}

impl Way {
    pub(crate) fn is_write(self) -> bool {
        self.access == Access::Write
    }

    pub(crate) fn is_pin(self) -> bool {
        self.how != How::Get
    }
}

/// A difference between the engines that is meant to be: a row of `Documentation/parity.rst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parity {
    /// Small folios of unevictable files that are no secret memory, like those of ramfs: the kernel's fast walk takes
    /// them, and the module, which cannot tell them from secret memory, leaves them to the slow path, which does not
    /// set the referenced flag of unevictable folios.
    Unevictable,
    /// Under Xen, paravirtualized, entries hold frames of the machine. The kernel's fast walk asks Xen's functions for
    /// each entry; the module's is off.
    Xen,
    /// The same, of memory that may be written or executed and not read: no entry says so, and the slow path, which is
    /// asked here, refuses to read it.
    XenUnreadable,
}

/// What a fast walk does with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Both take it, under a leaf of this level (0: base pages).
    Takes(usize),
    /// Both stop, the module's for this reason.
    Stops(u32),
    /// The kernel's takes it and the module's stops, for this reason, as is documented.
    Stricter(u32, Parity),
}

impl Walk {
    /// Whether the kernel's walk takes it.
    pub(crate) fn is_kernels(self) -> bool {
        !matches!(self, Self::Stops(_))
    }

    /// Why the module's walk does not take it.
    pub(crate) fn stop(self) -> Option<u32> {
        match self {
            Self::Takes(_) => None,
            Self::Stops(stop) | Self::Stricter(stop, _) => Some(stop),
        }
    }
}

/// What is to be expected of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Of the fast walk, as long as nobody has taken the page.
    pub(crate) first: Walk,
    /// Of the fast walk, when the kernel's function has taken it in the same way before.
    pub(crate) rest: Walk,
    /// Of the slow path: what it answers.
    pub(crate) errno: i32,
}

impl Page {
    /// The fast walk takes it from a leaf of that level.
    pub(crate) const fn fast(level: usize) -> Self {
        Self {
            first: Walk::Takes(level),
            rest: Walk::Takes(level),
            errno: 0,
        }
    }

    /// The slow path makes it ready, and from then on the fast walk takes it from a leaf of that level.
    pub(crate) const fn readied(stop: u32, level: usize) -> Self {
        Self {
            first: Walk::Stops(stop),
            rest: Walk::Takes(level),
            errno: 0,
        }
    }

    /// Only the slow path takes it.
    pub(crate) const fn slow(stop: u32) -> Self {
        Self {
            first: Walk::Stops(stop),
            rest: Walk::Stops(stop),
            errno: 0,
        }
    }

    /// Nobody may take it.
    pub(crate) const fn refused(stop: u32, errno: i32) -> Self {
        Self {
            errno,
            ..Self::slow(stop)
        }
    }

    /// The slow path takes it, and still does so when it was taken before.
    pub(crate) const fn readied_slow(stop: u32, rest: u32) -> Self {
        Self {
            rest: Walk::Stops(rest),
            ..Self::slow(stop)
        }
    }

    /// The fast walk takes it from a table of base pages, and the slow path would not.
    pub(crate) const fn only_fast() -> Self {
        Self {
            errno: libc::EFAULT,
            ..Self::fast(0)
        }
    }

    /// The same where the module's fast walk is off.
    fn with_walk_off(self) -> Self {
        let off = |walk: Walk| match walk {
            Walk::Stops(_) => Walk::Stops(raw::RUST_GUP_STOP_OFF),
            _ if self.errno != 0 => Walk::Stricter(raw::RUST_GUP_STOP_OFF, Parity::XenUnreadable),
            _ => Walk::Stricter(raw::RUST_GUP_STOP_OFF, Parity::Xen),
        };
        Self {
            first: off(self.first),
            rest: off(self.rest),
            ..self
        }
    }

    /// Taken by the kernel's fast walk, and here by the slow path.
    pub(crate) const fn stricter(stop: u32, why: Parity) -> Self {
        Self {
            first: Walk::Stricter(stop, why),
            rest: Walk::Stricter(stop, why),
            errno: 0,
        }
    }
}

/// Memory in a situation. Nobody has taken it yet.
pub(crate) struct Scene {
    pub(crate) map: Map,
    /// The first eight bytes of each page.
    pub(crate) words: Vec<u64>,
    expect: Box<dyn Fn(Way, usize) -> Page>,
    /// Called with true before an engine is, and with false when it has returned.
    around: Option<Box<dyn Fn(bool)>>,
    /// Whether there is nothing to be taken before it and after it.
    pub(crate) is_guarded: bool,
    /// Whether it keeps its contents.
    pub(crate) is_steady: bool,
    /// Whether /proc/self/pagemap may be read.
    pub(crate) is_visible: bool,
    /// What has to stay as long as the memory does.
    _keep: Vec<Box<dyn Any>>,
}

impl Scene {
    /// `words` are what the pages begin with; `expect` says what to expect of each page.
    pub(crate) fn new(
        map: Map,
        words: Vec<u64>,
        expect: impl Fn(Way, usize) -> Page + 'static,
    ) -> Self {
        assert_eq!(words.len(), map.nr_pages(), "one word a page");
        Self {
            map,
            words,
            expect: Box::new(expect),
            around: None,
            is_guarded: true,
            is_steady: true,
            is_visible: true,
            _keep: Vec::new(),
        }
    }

    /// Keeps `thing` as long as the memory.
    pub(crate) fn keep(mut self, thing: impl Any) -> Self {
        self._keep.push(Box::new(thing));
        self
    }

    /// Calls `around` with true before an engine is called, and with false afterwards.
    pub(crate) fn around(mut self, around: impl Fn(bool) + 'static) -> Self {
        self.around = Some(Box::new(around));
        self
    }

    /// What lies before and after it is not known.
    pub(crate) fn unguarded(mut self) -> Self {
        self.is_guarded = false;
        self
    }

    /// Its contents change by themselves.
    pub(crate) fn unsteady(mut self) -> Self {
        self.is_steady = false;
        self
    }

    /// The kernel takes its entries away when they are looked at.
    pub(crate) fn invisible(mut self) -> Self {
        self.is_visible = false;
        self
    }

    /// Runs `call`, which calls an engine, in the situation.
    pub(crate) fn within<T>(&self, call: impl FnOnce() -> T) -> T {
        if let Some(around) = &self.around {
            around(true);
        }
        let result = call();
        if let Some(around) = &self.around {
            around(false);
        }
        result
    }

    /// Whether the fast walks take all of it from the beginning.
    pub(crate) fn is_fast(&self, way: Way) -> bool {
        let mut pages = (0..self.words.len()).map(|i| self.page(way, i as isize));
        pages.all(|page| matches!(page.first, Walk::Takes(_)))
    }

    /// What to expect of the page with that index, which may lie outside.
    pub(crate) fn page(&self, way: Way, index: isize) -> Page {
        let page = match usize::try_from(index) {
            Ok(index) if index < self.words.len() => (self.expect)(way, index),
            _ => Page::refused(raw::RUST_GUP_STOP_ABSENT, libc::EFAULT),
        };
        if walk_is_off() {
            page.with_walk_off()
        } else {
            page
        }
    }
}

/// Words that differ from page to page and from seed to seed, and are not zero.
pub(crate) fn words(seed: u64, nr_pages: usize) -> Vec<u64> {
    let first = seed << 32;
    (first..).take(nr_pages).map(word).collect()
}

/// Writes a word to the beginning of each page, as the owner; which.
pub(crate) fn fill(map: &Map) -> Vec<u64> {
    let words = words(1, map.nr_pages());
    for (page, word) in words.iter().enumerate() {
        // SAFETY: The word lies in the mapping, of which no reference exists.
        unsafe {
            with_exposed_provenance_mut::<u64>(map.addr + page * page_bytes())
                .write_volatile(*word);
        }
    }
    words
}

/// Reads the word at the beginning of each page, as the owner.
pub(crate) fn touch(map: &Map) -> Vec<u64> {
    (0..map.nr_pages()).map(|page| word_at(map, page)).collect()
}

/// The word at the beginning of a page, as the owner sees it.
pub(crate) fn word_at(map: &Map, page: usize) -> u64 {
    assert!(page < map.nr_pages());
    // SAFETY: The word lies in the mapping.
    unsafe { with_exposed_provenance::<u64>(map.addr + page * page_bytes()).read_volatile() }
}
