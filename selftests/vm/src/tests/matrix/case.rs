// SPDX-License-Identifier: GPL-2.0

//! One range of a scene, taken in one way, and the expectations for that.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Access,
    Compared,
    Device,
    Engine,
    How,
    Pinned,
    Request, //
};

use super::situation::{
    word_at,
    words,
    Page,
    Parity,
    Scene,
    Walk,
    Way, //
};
use crate::harness::fixture::{
    errno,
    store, //
};

/// How often the comparisons of this test tried again, because only reference counts differed.
pub(super) static NR_RETRIES: AtomicU64 = AtomicU64::new(0);

/// A range as offset and length in bytes. It may begin before the scene and end behind it.
pub(super) type Bytes = (isize, usize);

/// Whether the kernel's function has taken the memory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    First,
    Rest,
}

/// The expectations for a range.
pub(super) struct Outlook {
    /// The expectation for each page of the range.
    pages: Vec<Page>,
    state: State,
}

impl Outlook {
    pub(super) fn of(scene: &Scene, way: Way, (at, len): Bytes, state: State) -> Self {
        let page = page_bytes() as isize;
        let (first, last) = (
            at.div_euclid(page),
            (at + len as isize - 1).div_euclid(page),
        );
        Self {
            pages: (first..=last).map(|i| scene.page(way, i)).collect(),
            state,
        }
    }

    fn walks(&self) -> impl Iterator<Item = Walk> + '_ {
        self.pages.iter().map(|page| match self.state {
            State::First => page.first,
            State::Rest => page.rest,
        })
    }

    /// Returns how many pages an engine takes in the end, and the error if it takes none. The fast walk takes pages
    /// from the beginning, and the slow path takes the following ones up to the first page that it refuses.
    pub(super) fn taken(&self, engine: Engine) -> (u64, i32) {
        let nr_fast = match engine {
            Engine::Kernel => self.nr_fast_kernel(),
            _ => self.nr_fast(),
        };
        let mut pages = self.pages.iter().enumerate();
        let refused = pages.find(|(i, page)| *i as u64 >= nr_fast && page.errno != 0);
        match refused {
            None => (self.pages.len() as u64, 0),
            Some((0, page)) => (0, page.errno),
            Some((nr, _)) => (nr as u64, 0),
        }
    }

    /// Whether the engines take different pages because of a documented difference.
    pub(super) fn differs(&self) -> bool {
        let is_one = |walk: Walk| {
            let Walk::Stricter(_, why) = walk else {
                return false;
            };
            matches!(why, Parity::OffUnreadable | Parity::ProtNone)
        };
        self.walks().any(is_one) && self.taken(Engine::Kernel) != self.taken(Engine::Rust)
    }

    /// Returns how many pages the kernel's fast walk takes on its own.
    pub(super) fn nr_fast_kernel(&self) -> u64 {
        self.walks().take_while(|walk| walk.is_kernels()).count() as u64
    }

    /// Returns how many pages the module's fast walk takes on its own.
    pub(super) fn nr_fast(&self) -> u64 {
        let taken = self.walks().take_while(|walk| walk.stop().is_none());
        taken.count() as u64
    }

    /// Whether the kernel's fast walk takes pages of the range that the module leaves to the slow path.
    pub(super) fn is_stricter(&self) -> bool {
        self.walks().any(|walk| matches!(walk, Walk::Stricter(..)))
    }

    /// Returns the first stop reason of the module's walk, if it stops.
    fn stop(&self) -> Option<u32> {
        self.walks().find_map(Walk::stop)
    }

    /// Counts the pages by the level of their leaf, up to the first stop.
    pub(super) fn by_level(&self) -> [u64; 5] {
        let mut nr = [0; 5];
        for walk in self.walks() {
            match walk {
                Walk::Takes(level) => nr[level] += 1,
                _ => break,
            }
        }
        nr
    }
}

/// Returns the name of a stop reason, for messages.
fn reason(stop: u32) -> &'static str {
    rust_gup_uapi::Stop::from_number(stop).name()
}

/// A comparison of one range.
pub(super) struct Case<'a> {
    pub(super) scene: &'a Scene,
    pub(super) way: Way,
    pub(super) bytes: Bytes,
}

impl<'a> Case<'a> {
    pub(super) fn request(&self) -> Request {
        let (at, len) = self.bytes;
        Request::new(self.scene.map.addr.wrapping_add_signed(at), len)
            .how(self.way.how)
            .access(self.way.access)
    }

    pub(super) fn outlook(&self, state: State) -> Outlook {
        Outlook::of(self.scene, self.way, self.bytes, state)
    }

    pub(super) fn what(&self, doing: &str) -> String {
        let (at, len) = self.bytes;
        let Way { how, access } = self.way;
        format!("{doing}, {how:?}, {access:?}, {len:#x} bytes at {at:#x}")
    }

    /// Takes the range by `engine`. Returns the pages, or the error number.
    pub(super) fn take<'d>(
        &self,
        device: &'d Device,
        request: &Request,
        engine: Engine,
    ) -> Result<Pinned<'d>, i32> {
        self.scene.within(|| match device.pin(request, engine) {
            Ok(pinned) => Ok(pinned),
            Err(e) => Err(errno::<()>(Err(e))),
        })
    }

    /// Compares the engines on the range.
    pub(super) fn compare(&self, device: &Device, request: &Request) -> Compared {
        let compared = self.scene.within(|| device.compare(request));
        let compared = compared.expect("COMPARE");
        NR_RETRIES.fetch_add(compared.raw.nr_retries, Ordering::Relaxed);
        compared
    }

    /// Fails unless the module's walk stopped at the expected page for the expected reason.
    pub(super) fn stopped(&self, raw_stop: u32, addr: u64, outlook: &Outlook, what: &str) {
        let found = (raw_stop != raw::RUST_GUP_STOP_NONE).then(|| reason(raw_stop));
        assert_eq!(found, outlook.stop().map(reason), "{what}: why it stopped");
        if found.is_some() {
            let first = self.request().addr / page_bytes() * page_bytes();
            let page = (addr as usize - first) / page_bytes();
            assert_eq!(page as u64, outlook.nr_fast(), "{what}: where it stopped");
        }
    }

    /// Checks the contents through the taken pages, and writes to them if they were pinned for writing. Updates
    /// `known`, the words at the beginning of the pages. The memory is mapped, so the owner's view is checked as well.
    pub(super) fn contents(&self, pinned: &Pinned<'_>, known: &mut [u64], what: &str) {
        if !self.scene.is_steady {
            return;
        }
        let (at, len) = self.bytes;
        let map = &self.scene.map;
        let Ok(begin) = usize::try_from(at) else {
            unreachable!("{what}: taken from before the beginning")
        };
        let end = (begin + len)
            .min(begin / page_bytes() * page_bytes() + pinned.nr_pages() as usize * page_bytes());

        // The words at the beginning of pages, which are known.
        let whole = begin.div_ceil(page_bytes())..(end.saturating_sub(7)).div_ceil(page_bytes());
        let sample = sample(whole.clone());
        let new = words(2 + at as u64, map.nr_pages());
        for &page in &sample {
            let offset = page * page_bytes() - begin;
            let mut seen = [0; 8];
            pinned
                .read(offset as u64, &mut seen)
                .expect("the handle can be read");
            assert_eq!(
                u64::from_ne_bytes(seen),
                known[page],
                "{what}: page {page} through the handle"
            );
            if self.way.access == Access::Write && self.way.how != How::Get {
                store(pinned, offset, &new[page].to_ne_bytes());
                known[page] = new[page];
            }
            assert_eq!(
                word_at(map, page),
                known[page],
                "{what}: page {page}, as its owner sees it"
            );
        }
        // A few bytes at both ends.
        let nr = (end - begin).min(100);
        for offset in [0, end - begin - nr] {
            let mut seen = vec![0; nr];
            pinned
                .read(offset as u64, &mut seen)
                .expect("the handle can be read");
            assert!(
                seen == map.load(begin + offset, nr),
                "{what}: bytes at {offset:#x}"
            );
        }
    }
}

/// Selects some of many pages: at both ends and in the middle.
fn sample(pages: Range<usize>) -> BTreeSet<usize> {
    let (begin, end) = (pages.start, pages.end.max(pages.start));
    let middle = begin + (end - begin) / 2;
    (begin..end.min(begin + 8))
        .chain(middle..end.min(middle + 4))
        .chain(end.saturating_sub(8).max(begin)..end)
        .collect()
}
