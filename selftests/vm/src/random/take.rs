// SPDX-License-Identifier: GPL-2.0

//! Takes ranges with each engine, and checks what was taken.
//!
//! The reference is what the kernel's own function does with the same range in the same state. In addition,
//!
//! - the pages taken are those in /proc/self/pagemap, from the first page of the range, without a gap;
//! - where a count is short, the kernel does not take the next page alone either;
//! - the owner and the holder of the pages read the same contents, and the owner reads what is written through the
//!   pages;
//! - what the owner writes can be read through the pages, where GUP promises that.

use std::{
    rc::Rc,
    sync::OnceLock, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    errno_of,
    raw,
    Access,
    Compared,
    Device,
    Engine,
    Fallback,
    How,
    Pinned,
    Request,
    Stop,
    StopAt, //
};

use super::{
    coverage::why_not_reachable,
    kernel::{
        has_flag,
        is_only_fast,
        is_under_huge_leaf, //
    },
    place::Place,
    step::{
        By,
        Take, //
    },
    world::{
        at,
        World, //
    }, //
};
use crate::harness::{
    fixture::{
        errno,
        frames_of,
        store,
        user_limit, //
    },
    memory::{
        frames,
        has_movable_memory,
        prot_none_is_fast, //
    },
    proof::{
        kpageflags,
        kpf, //
    }, //
};

/// Number of bytes that are checked at either end of a range.
const LOOK: usize = 8;

/// Differences in the results if one engine gets further than the other.
const SHORTER: u32 = raw::RUST_GUP_DIFF_RESULT
    | raw::RUST_GUP_DIFF_NR_PAGES
    | raw::RUST_GUP_DIFF_REFERENCED
    | raw::RUST_GUP_DIFF_FIRST;

impl World {
    /// Runs one case.
    pub(super) fn take(&mut self, take: &Take) {
        at(take);
        let engines = match take.by {
            By::Compare => "Compare",
            By::Pin { .. } => "Pin",
        };
        let fast = if take.fallback == Fallback::Never {
            " FastOnly"
        } else {
            ""
        };
        let way = format!("{engines} {:?} {:?}{fast}", take.how, take.access);
        self.coverage.case(&way);
        match take.by {
            By::Compare => self.compare(take),
            By::Pin {
                first,
                overlap,
                keep,
            } => self.pin_by_both(take, first, overlap, keep),
        }
    }

    fn compare(&mut self, take: &Take) {
        let request = take.request();
        let compared = match (self.device.compare(&request), refusal(&request, true)) {
            (Ok(compared), None) => compared,
            (result, expected) => return self.refused(take, errno(result), expected),
        };
        let c = &compared.raw;
        self.coverage.answer(c.errno_rust);
        self.walked(take, compared.stop(), &c.nr_by_level);
        let is_shorter = !compared.is_equal()
            && c.differences & !SHORTER == 0
            && self.ends_at_only_fast(take, c.nr_pages_rust.min(c.nr_pages_kernel));
        if !compared.is_equal() && !is_shorter && !self.is_of_slow_path(take, &compared) {
            panic!("take {take:?}\n{}", in_words(&request, &compared));
        }
    }

    fn refused(&mut self, take: &Take, errno: i32, expected: Option<i32>) {
        self.coverage.answer(errno);
        assert_eq!(errno, expected.unwrap_or(0), "take {take:?}: errno");
    }

    /// Returns whether all differences are expected ones: in the referenced flag, where the slow path took part.
    ///
    /// The fast path marks every folio as referenced. The slow path does not mark a folio that is unevictable
    /// (`lru_gen_inc_refs()`) or mapped by a huge leaf (only base pages get `folio_mark_accessed()`, `mm/gup.c:886`).
    /// The engines give different pages to the slow path: the kernel lets it take the rest of a call, which asks for at
    /// most 512 pages, and the walk in Rust goes on with the fast path.
    fn is_of_slow_path(&mut self, take: &Take, compared: &Compared) -> bool {
        let c = &compared.raw;
        if c.nr_fast == c.nr_pages_rust || c.differences != raw::RUST_GUP_DIFF_REFERENCED {
            return false;
        }
        let request = take.request();
        let [by_kernel, by_rust] =
            [Engine::Kernel, Engine::Rust].map(|engine| self.marked(&request, engine));
        let first = request.addr / page_bytes() * page_bytes();
        let mut nr_different = 0;
        for (page, (kernel, rust)) in by_kernel.into_iter().zip(by_rust).enumerate() {
            if kernel == rust {
                continue;
            }
            nr_different += 1;
            let addr = first + page * page_bytes();
            let is_meant =
                has_flag(frames(addr, 1)[0], kpf::UNEVICTABLE) || is_under_huge_leaf(addr);
            if !is_meant {
                return false;
            }
        }
        assert_eq!(
            nr_different,
            c.nr_pages_rust - c.nr_equal,
            "take {take:?}: pages whose referenced flag differs, and that COMPARE finds"
        );
        self.coverage.met("referenced flag, not by the slow path");
        true
    }

    /// Returns for each page whether an engine marks it as referenced.
    fn marked(&self, request: &Request, engine: Engine) -> Vec<bool> {
        // COMPARE clears the marks at its end.
        self.device.compare(request).expect("COMPARE");
        let pinned = self.device.pin(request, engine).expect("PIN");
        let runs = pinned.runs().expect("RUNS");
        runs.iter()
            .flat_map(|run| kpageflags(run.pfn.expect("root may see it"), run.nr_pages))
            .map(|flags| flags & kpf::REFERENCED != 0)
            .collect()
    }

    /// Counts what the fast walk met. Fails if it stopped for a reason that needs a race.
    fn walked(&mut self, take: &Take, stop: Option<StopAt>, nr_by_level: &[u64]) {
        self.coverage.walk(stop, nr_by_level);
        if let Some(stop) = stop {
            if let Some(why) = why_not_reachable(stop.reason) {
                let (name, addr) = (stop.reason.name(), stop.addr);
                panic!("take {take:?}: stopped by {name} at {addr:#x}, which cannot be: {why}");
            }
        }
    }

    fn pin_by_both(&mut self, take: &Take, first: Engine, overlap: bool, keep: bool) {
        let device = Rc::clone(&self.device);
        let second = match first {
            Engine::Kernel => Engine::Rust,
            _ => Engine::Kernel,
        };
        let one = self.pin(&device, take, first);
        let nr_one = one.as_ref().map(Pinned::nr_pages).map_err(|e| *e);
        let held = one.ok().filter(|p| p.handle() != 0);
        let frames_before = held.as_ref().map(frames_of);
        let held = held.filter(|_| overlap || keep);

        let two = self.pin(&device, take, second);
        let nr_two = two.as_ref().map(Pinned::nr_pages).map_err(|e| *e);
        let (rust, kernel) = match second {
            Engine::Kernel => (nr_one, nr_two),
            _ => (nr_two, nr_one),
        };
        self.both_the_same(take, rust, kernel);
        let Some(held) = held else { return };
        assert_eq!(
            Some(frames_of(&held)),
            frames_before,
            "take {take:?}: frames that {first:?} holds, after {second:?} took the same"
        );
        if keep && may_keep(take.how) {
            self.keep(held.into_handle());
        }
    }

    /// Takes a range with one engine and checks it. Returns the pages, or the error number.
    fn pin<'d>(
        &mut self,
        device: &'d Device,
        take: &Take,
        engine: Engine,
    ) -> Result<Pinned<'d>, i32> {
        let request = take.request();
        let result = device.pin(&request, engine);
        if let Some(expected) = refusal(&request, engine == Engine::Kernel) {
            self.refused(take, errno(result), Some(expected));
            return Err(expected);
        }
        let pinned = match result {
            Ok(pinned) => pinned,
            Err(e) => {
                let errno = errno_of(&e).expect("an error of the system");
                self.coverage.answer(errno);
                return Err(errno);
            }
        };
        self.coverage.answer(0);
        self.walked(take, pinned.stop(), &pinned.nr_by_level());
        let nr_pages = pinned.nr_pages() as usize;
        if nr_pages < nr_pages_of(&request) && request.fallback == Fallback::Slow {
            self.nothing_follows(device, take, engine, nr_pages);
        }
        if nr_pages != 0 {
            let first = request.addr / page_bytes() * page_bytes();
            let expected = frames(first, nr_pages);
            let found = frames_of(&pinned);
            if let Some(page) = (0..nr_pages).find(|&i| found.get(i) != expected.get(i)) {
                panic!(
                    "take {take:?}: {engine:?} took frame {:x?} as page {page} of {nr_pages}, and {:#x} is mapped",
                    found.get(page),
                    expected[page]
                );
            }
            assert_eq!(found.len(), nr_pages, "take {take:?}: pages in the runs");
            // The kernel's data beside the vDSO changes with time.
            if take.place != Place::Vdso {
                self.look(take, engine, &pinned, &expected);
            }
        }
        Ok(pinned)
    }

    fn both_the_same(&mut self, take: &Take, rust: Result<u64, i32>, kernel: Result<u64, i32>) {
        // The kernel has no fast-only pins to compare with.
        if kernel == Err(libc::EOPNOTSUPP) && take.fallback == Fallback::Never {
            return;
        }
        let nr_both = rust.unwrap_or(0).min(kernel.unwrap_or(0));
        if rust != kernel && !self.ends_at_only_fast(take, nr_both) {
            panic!("take {take:?}: pages or errno, Rust: {rust:?}, kernel: {kernel:?}");
        }
    }

    /// Returns whether a range to be read has only `nr_pages` pages because memory follows that only the fast path takes
    /// (`is_only_fast()`).
    ///
    /// The slow path refuses it for what its VMA says (`check_vma_flags()`, `mm/gup.c`); no entry says that. Whether the
    /// slow path is asked depends on the pages before: the kernel lets it take all pages that follow, and the walk in
    /// Rust goes on with the fast path.
    fn ends_at_only_fast(&mut self, take: &Take, nr_pages: u64) -> bool {
        let request = take.request();
        let addr = request.addr / page_bytes() * page_bytes() + nr_pages as usize * page_bytes();
        // Where the kernel's fast path takes what nobody may read, the walk in Rust does not.
        let ends = take.access == Access::Read
            && (take.fallback == Fallback::Slow || prot_none_is_fast())
            && (nr_pages as usize) < nr_pages_of(&request)
            && is_only_fast(addr);
        if ends {
            self.coverage.met("memory that only the fast path takes");
        }
        ends
    }

    /// Checks that a short count ends where the kernel takes nothing.
    fn nothing_follows(&mut self, device: &Device, take: &Take, engine: Engine, nr_pages: usize) {
        let request = take.request();
        let addr = request.addr / page_bytes() * page_bytes() + nr_pages * page_bytes();
        let next = Request {
            addr,
            len_bytes: 1,
            ..request
        };
        assert!(
            device.pin(&next, Engine::Kernel).is_err()
                || self.ends_at_only_fast(take, nr_pages as u64),
            "take {take:?}: {engine:?} took {nr_pages} pages and no more, and the next can be had"
        );
        self.coverage.met("short count");
    }

    /// Checks the contents at both ends of the pages taken, as the owner and through the pages.
    fn look(&mut self, take: &Take, engine: Engine, pinned: &Pinned<'_>, frames: &[u64]) {
        let request = take.request();
        let offset = request.addr % page_bytes();
        let nr_bytes = (frames.len() * page_bytes() - offset).min(request.len_bytes);
        for at in [0, nr_bytes.saturating_sub(LOOK)] {
            let page = (offset + at) / page_bytes();
            // Stop at the end of the page.
            let len = LOOK
                .min(nr_bytes - at)
                .min(page_bytes() - (offset + at) % page_bytes());
            let addr = request.addr + at;
            let what = format!("take {take:?} by {engine:?}, byte {at}");
            if let Some(data) = self.owner.read(addr, len) {
                self.coverage.met("contents, as the owner");
                assert_eq!(through(pinned, at, len), data, "{what}: as the owner reads");
            }
            if take.access == Access::Write && take.how != How::Get {
                let tag = (self.salt() as u64).to_le_bytes();
                store(pinned, at, &tag[..len]);
                assert_eq!(through(pinned, at, len), tag[..len], "{what}: read back");
                if let Some(data) = self.owner.read(addr, len) {
                    self.coverage.met("contents, written through pages");
                    assert_eq!(data, tag[..len], "{what}: the owner reads what was written");
                }
            }
            if len == LOOK && is_promised(take, frames[page]) {
                let salt = self.salt();
                if let Some(word) = self.owner.write(addr, salt) {
                    self.coverage.met("contents, written by the owner");
                    assert_eq!(
                        through(pinned, at, len),
                        word,
                        "{what}: what the owner wrote is read through the pages"
                    );
                }
            }
        }
    }
}

/// Returns whether pages that were taken in this way may stay held while other ranges are taken.
///
/// A page in movable memory that somebody holds cannot be moved for a long-term pin. Then the slow path gives up all
/// pages of that call (`migrate_longterm_unpinnable_folios()`, `mm/gup.c`). The module asks it for fewer pages at a
/// time than `gup_fast_fallback()` does, so the counts would differ.
fn may_keep(how: How) -> bool {
    static NO_MOVABLE_MEMORY: OnceLock<bool> = OnceLock::new();
    how == How::LongTerm || *NO_MOVABLE_MEMORY.get_or_init(|| !has_movable_memory())
}

fn through(pinned: &Pinned<'_>, at: usize, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    pinned.read(at as u64, &mut data).expect("READ");
    data
}

/// Returns whether the owner's writes go to the page that was taken, and not to a copy of it.
///
/// They do if the page was taken for writing and nothing else happens meanwhile. For a pin for reading, GUP promises it
/// for anonymous pages, which it unshares first; for a long-term pin, for all pages (`gup_must_unshare()`,
/// `mm/internal.h:1356`).
fn is_promised(take: &Take, frame: u64) -> bool {
    take.access == Access::Write
        || take.how == How::LongTerm
        || take.how == How::Pin && has_flag(frame, kpf::ANON)
}

fn nr_pages_of(request: &Request) -> usize {
    (request.addr % page_bytes() + request.len_bytes).div_ceil(page_bytes())
}

/// Returns the error with which a call is refused before it takes any page.
fn refusal(request: &Request, with_kernel: bool) -> Option<i32> {
    let end = request.addr + request.len_bytes;
    if end > user_limit() {
        Some(libc::EFAULT)
    } else if with_kernel && request.fallback == Fallback::Never && request.how != How::Get {
        Some(libc::EOPNOTSUPP)
    } else {
        None
    }
}

/// Describes how the engines differ.
fn in_words(request: &Request, compared: &Compared) -> String {
    let c = &compared.raw;
    let page = c.diff_addr as usize;
    let place = Place::of(page).map_or_else(String::new, |(place, nr)| {
        let of_range = (page - request.addr / page_bytes() * page_bytes()) / page_bytes();
        format!(", {place:?}[{nr}], page {of_range} of the range")
    });
    let stop = Stop::from_number(c.stop).name();
    format!(
        "the engines differ in {}, first at {page:#x}{place}\n\
         rust:   errno {}, {} pages, {} of them fast ({:?} by level), first stop: {stop} at {:#x}\n\
         kernel: errno {}, {} pages; {} pages are equal in all",
        compared.differences().join(", "),
        c.errno_rust,
        c.nr_pages_rust,
        c.nr_fast,
        c.nr_by_level,
        c.stop_addr,
        c.errno_kernel,
        c.nr_pages_kernel,
        c.nr_equal,
    )
}
