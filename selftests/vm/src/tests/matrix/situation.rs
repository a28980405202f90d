// SPDX-License-Identifier: GPL-2.0

//! Situations, and what to expect of them.

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

/// A kind of memory, in a certain state.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    /// Makes the memory and proves that it is in this situation. Skips the test if the machine lacks something, and
    /// fails if the kernel did not give the right memory.
    pub(crate) make: fn() -> Scene,
    pub(crate) effort: Effort,
    /// What the kernel logs while the memory is made.
    pub(crate) log: &'static [&'static str],
    /// Sets up something once for all times that the memory is made.
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

    /// A situation whose memory takes long to make. It is made once for all ways of taking it.
    pub(crate) const fn dear(name: &'static str, make: fn() -> Scene) -> Self {
        Self {
            effort: Effort::Large,
            ..Self::new(name, make)
        }
    }

    /// Makes the memory, and lets it come to rest.
    pub(crate) fn scene(&self) -> Scene {
        let scene = (self.make)();
        settle_lists();
        scene
    }

    /// Keeps the result of `setup` while the situation is tested.
    pub(crate) const fn with(self, setup: fn() -> Box<dyn Any>) -> Self {
        Self {
            setup: Some(setup),
            ..self
        }
    }

    /// Allows log records of the kernel that contain one of `log`.
    pub(crate) const fn logs(self, log: &'static [&'static str]) -> Self {
        Self { log, ..self }
    }
}

/// How much time it takes to make the memory of a situation.
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

/// An intended difference between the engines: a row of `Documentation/parity.rst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parity {
    /// Small folios of unevictable files other than secret memory, such as ramfs. The kernel's fast walk takes them.
    /// The module cannot tell them from secret memory and leaves them to the slow path, which does not set the
    /// referenced flag of unevictable folios.
    Unevictable,
    /// The module's walk is off. On a paravirtualized Xen guest, entries hold the machine's frame numbers, and the
    /// kernel's fast walk calls Xen's functions for each entry. On PowerPC with hash tables, the kernel's walk knows
    /// another format.
    Off,
    /// The same, for memory that may be written or executed but not read. No entry says so. The module asks the slow
    /// path, and that refuses to read the memory.
    OffUnreadable,
    /// Memory without access rights, where the kernel's fast walk takes it for readable (`prot_none_is_fast()`). The slow
    /// path refuses it.
    ProtNone,
}

/// What a fast walk does with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Both walks take the page, under a leaf of this level (0: base pages).
    Takes(usize),
    /// Both walks stop, and the module's for this reason.
    Stops(u32),
    /// The kernel's walk takes the page and the module's stops for this reason, as documented.
    Stricter(u32, Parity),
}

impl Walk {
    /// Whether the kernel's walk takes the page.
    pub(crate) fn is_kernels(self) -> bool {
        !matches!(self, Self::Stops(_))
    }

    /// Returns the stop reason of the module's walk, if it does not take the page.
    pub(crate) fn stop(self) -> Option<u32> {
        match self {
            Self::Takes(_) => None,
            Self::Stops(stop) | Self::Stricter(stop, _) => Some(stop),
        }
    }
}

/// The expectations for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The fast walks, while nobody has taken the page yet.
    pub(crate) first: Walk,
    /// The fast walks, once the kernel's function has taken the page in the same way.
    pub(crate) rest: Walk,
    /// The error number of the slow path, or 0 if it takes the page.
    pub(crate) errno: i32,
}

impl Page {
    /// The fast walks take the page from a leaf of that level.
    pub(crate) const fn fast(level: usize) -> Self {
        Self {
            first: Walk::Takes(level),
            rest: Walk::Takes(level),
            errno: 0,
        }
    }

    /// The slow path makes the page ready, and from then on the fast walks take it from a leaf of that level.
    pub(crate) const fn readied(stop: u32, level: usize) -> Self {
        Self {
            first: Walk::Stops(stop),
            rest: Walk::Takes(level),
            errno: 0,
        }
    }

    /// Only the slow path takes the page.
    pub(crate) const fn slow(stop: u32) -> Self {
        Self {
            first: Walk::Stops(stop),
            rest: Walk::Stops(stop),
            errno: 0,
        }
    }

    /// Neither the fast walks nor the slow path take the page.
    pub(crate) const fn refused(stop: u32, errno: i32) -> Self {
        Self {
            errno,
            ..Self::slow(stop)
        }
    }

    /// The slow path takes the page, also if it was taken before. The fast walk then stops for the reason `rest`.
    pub(crate) const fn readied_slow(stop: u32, rest: u32) -> Self {
        Self {
            rest: Walk::Stops(rest),
            ..Self::slow(stop)
        }
    }

    /// The fast walks take the page from a table of base pages, but the slow path would refuse it.
    pub(crate) const fn only_fast() -> Self {
        Self {
            errno: libc::EFAULT,
            ..Self::fast(0)
        }
    }

    /// Changes the expectations to those on a machine where the module's fast walk is off.
    fn with_walk_off(self) -> Self {
        let off = |walk: Walk| match walk {
            Walk::Stops(_) => Walk::Stops(raw::RUST_GUP_STOP_OFF),
            _ if self.errno != 0 => Walk::Stricter(raw::RUST_GUP_STOP_OFF, Parity::OffUnreadable),
            _ => Walk::Stricter(raw::RUST_GUP_STOP_OFF, Parity::Off),
        };
        Self {
            first: off(self.first),
            rest: off(self.rest),
            ..self
        }
    }

    /// The kernel's fast walk takes the page. The module leaves it to the slow path, which refuses it.
    pub(crate) const fn only_kernel(stop: u32, why: Parity) -> Self {
        Self {
            errno: libc::EFAULT,
            ..Self::stricter(stop, why)
        }
    }

    /// The kernel's fast walk takes the page, and the module leaves it to the slow path.
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
    /// Called with true before a call to an engine, and with false after it.
    around: Option<Box<dyn Fn(bool)>>,
    /// Whether nothing is mapped directly before and behind the memory.
    pub(crate) is_guarded: bool,
    /// Whether the contents do not change on their own.
    pub(crate) is_steady: bool,
    /// Whether /proc/self/pagemap may be read.
    pub(crate) is_visible: bool,
    /// Values that have to live as long as the memory.
    _keep: Vec<Box<dyn Any>>,
}

impl Scene {
    /// `words` are the first words of the pages. `expect` returns the expectations for each page.
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

    /// Calls `around` with true before a call to an engine, and with false after it.
    pub(crate) fn around(mut self, around: impl Fn(bool) + 'static) -> Self {
        self.around = Some(Box::new(around));
        self
    }

    /// The test does not know what lies before and behind the memory.
    pub(crate) fn unguarded(mut self) -> Self {
        self.is_guarded = false;
        self
    }

    /// The contents change on their own.
    pub(crate) fn unsteady(mut self) -> Self {
        self.is_steady = false;
        self
    }

    /// The kernel removes the entries when /proc/self/pagemap is read.
    pub(crate) fn invisible(mut self) -> Self {
        self.is_visible = false;
        self
    }

    /// Runs `call`, which calls an engine, and calls `around` before and after it.
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

    /// Whether the fast walks take all pages from the beginning.
    pub(crate) fn is_fast(&self, way: Way) -> bool {
        let mut pages = (0..self.words.len()).map(|i| self.page(way, i as isize));
        pages.all(|page| matches!(page.first, Walk::Takes(_)))
    }

    /// Returns the expectations for the page with that index, which may lie outside the memory.
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

/// Returns words that differ from page to page and from seed to seed, and are not zero.
pub(crate) fn words(seed: u64, nr_pages: usize) -> Vec<u64> {
    let first = seed << 32;
    (first..).take(nr_pages).map(word).collect()
}

/// Writes a word to the beginning of each page, as the owner. Returns the words.
pub(crate) fn fill(map: &Map) -> Vec<u64> {
    let words = words(1, map.nr_pages());
    for (page, word) in words.iter().enumerate() {
        // SAFETY: The word lies in the mapping, and no reference to the mapping exists.
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

/// Returns the word at the beginning of a page, as the owner sees it.
pub(crate) fn word_at(map: &Map, page: usize) -> u64 {
    assert!(page < map.nr_pages());
    // SAFETY: The word lies in the mapping.
    unsafe { with_exposed_provenance::<u64>(map.addr + page * page_bytes()).read_volatile() }
}
