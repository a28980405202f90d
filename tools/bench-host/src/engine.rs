// SPDX-License-Identifier: GPL-2.0

//! What is measured: the kernel's functions, the module's, and the least that any taker must do.

use anyhow::{
    ensure,
    Result, //
};

use crate::{image::Image, machine::PAGE_SHIFT};

const FOLL_WRITE: u32 = 1 << 0;

/// The kind of reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    Get,
    Pin,
}

impl How {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Pin => "pin",
        }
    }
}

/// A part of user memory, and how many pages a call takes of it.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) addr: u64,
    pub(crate) nr_pages: u64,
    /// A divisor of `nr_pages`.
    pub(crate) pages_per_call: u64,
}

impl Range {
    /// Returns the address of each call.
    fn calls(self) -> impl Iterator<Item = u64> {
        (0..self.nr_pages / self.pages_per_call)
            .map(move |i| self.addr + ((i * self.pages_per_call) << PAGE_SHIFT))
    }

    pub(crate) fn nr_calls(self) -> usize {
        (self.nr_pages / self.pages_per_call) as usize
    }
}

/// A taker of pages. Each thread has its own.
pub(crate) trait Engine: Send {
    /// Takes all pages of a range, and keeps nothing but their counts.
    fn take(&mut self, range: Range) -> Result<()>;

    /// Takes all pages of a range, for [`release()`](Self::release).
    fn hold(&mut self, range: Range) -> Result<()>;

    /// Releases the pages that [`hold()`](Self::hold) has taken, in the same calls.
    fn release(&mut self);
}

/// How a caller of the kernel's functions releases its pages.
enum ReleaseKernel {
    /// With an array of pages.
    Array(unsafe extern "C" fn(*mut usize, u64)),
    /// In ranges of pages that follow each other: the first page, and their number.
    GetRanges(unsafe extern "C" fn(usize, u64)),
    /// The same, and false for pages that were not written to.
    PinRanges(unsafe extern "C" fn(usize, u64, bool)),
}

/// `get_user_pages_fast()` and `pin_user_pages_fast()`.
pub(crate) struct Kernel {
    take: unsafe extern "C" fn(u64, i32, u32, *mut usize) -> i32,
    release: ReleaseKernel,
    pages: Vec<usize>,
    /// The runs of each call: the first page, and the number of pages.
    runs: Vec<(usize, u64)>,
    pages_per_call: usize,
}

impl Kernel {
    /// Makes an engine that releases its pages as an array.
    pub(crate) fn new(image: &Image, how: How) -> Result<Self> {
        let (take, release) = match how {
            How::Get => ("get_user_pages_fast", "rust_gup_put_pages"),
            How::Pin => ("pin_user_pages_fast", "unpin_user_pages"),
        };
        // SAFETY: These are the types of `include/linux/mm.h`, and of `sys/kernel_api.h` of the module.
        let (take, release) = unsafe { (image.function(take)?, image.function(release)?) };
        Ok(Self {
            take,
            release: ReleaseKernel::Array(release),
            pages: Vec::new(),
            runs: Vec::new(),
            pages_per_call: 1,
        })
    }

    /// Makes an engine that releases its pages by ranges.
    pub(crate) fn by_ranges(image: &Image, how: How) -> Result<Self> {
        // SAFETY: As above.
        let release = unsafe {
            match how {
                How::Get => ReleaseKernel::GetRanges(image.function("rust_gup_put_page_range")?),
                How::Pin => {
                    ReleaseKernel::PinRanges(image.function("unpin_user_page_range_dirty_lock")?)
                }
            }
        };
        Ok(Self {
            release,
            ..Self::new(image, how)?
        })
    }

    fn call(&self, addr: u64, pages: *mut usize, pages_per_call: u64) -> Result<()> {
        // SAFETY: The range is mapped, and the array has room for a call.
        let nr = unsafe { (self.take)(addr, pages_per_call as i32, FOLL_WRITE, pages) };
        ensure!(
            nr == pages_per_call as i32,
            "the kernel took {nr} pages and not {pages_per_call}"
        );
        Ok(())
    }
}

impl Engine for Kernel {
    fn take(&mut self, range: Range) -> Result<()> {
        self.pages.resize(range.pages_per_call as usize, 0);
        let pages = self.pages.as_mut_ptr();
        range
            .calls()
            .try_for_each(|addr| self.call(addr, pages, range.pages_per_call))
    }

    fn hold(&mut self, range: Range) -> Result<()> {
        let per_call = range.pages_per_call as usize;
        let mut pages = vec![0; range.nr_pages as usize];
        for (addr, pages) in range.calls().zip(pages.chunks_mut(per_call)) {
            self.call(addr, pages.as_mut_ptr(), range.pages_per_call)?;
        }
        self.runs.clear();
        if !matches!(self.release, ReleaseKernel::Array(_)) {
            for pages in pages.chunks(per_call) {
                let runs = pages.chunk_by(|a, b| b.wrapping_sub(*a) == crate::machine::STRUCT_PAGE);
                self.runs.extend(runs.map(|run| (run[0], run.len() as u64)));
            }
        }
        self.pages = pages;
        self.pages_per_call = per_call;
        Ok(())
    }

    fn release(&mut self) {
        match self.release {
            ReleaseKernel::Array(release) => {
                for pages in self.pages.chunks_mut(self.pages_per_call) {
                    // SAFETY: `hold()` has taken these pages.
                    unsafe { release(pages.as_mut_ptr(), pages.len() as u64) };
                }
            }
            ReleaseKernel::GetRanges(release) => {
                for (first, nr_pages) in self.runs.iter().copied() {
                    // SAFETY: As above.
                    unsafe { release(first, nr_pages) };
                }
            }
            ReleaseKernel::PinRanges(release) => {
                for (first, nr_pages) in self.runs.iter().copied() {
                    // SAFETY: As above.
                    unsafe { release(first, nr_pages, false) };
                }
            }
        }
    }
}

/// The module's walk, which fills a list of runs.
pub(crate) struct Rust {
    new: unsafe extern "C" fn() -> usize,
    take: unsafe extern "C" fn(usize, u64, u64, u32) -> u64,
    release: unsafe extern "C" fn(usize),
    /// The addresses of lists. They live as long as the program.
    lists: Vec<usize>,
    nr_held: usize,
}

impl Rust {
    pub(crate) fn new(image: &Image, how: How) -> Result<Self> {
        let name = |what: &str| format!("rust_gup_bench_host_{what}_{}", how.name());
        // SAFETY: These are the types of `rust_gup/bench_host/mod.rs`.
        let (new, take, release) = unsafe {
            (
                image.function(&name("new"))?,
                image.function(&name("take"))?,
                image.function(&name("release"))?,
            )
        };
        Ok(Self {
            new,
            take,
            release,
            lists: Vec::new(),
            nr_held: 0,
        })
    }

    fn make_lists(&mut self, nr: usize) -> Result<()> {
        while self.lists.len() < nr {
            // SAFETY: Always safe to call.
            let list = unsafe { (self.new)() };
            ensure!(list != 0, "no memory for a list");
            self.lists.push(list);
        }
        Ok(())
    }

    fn call(&self, list: usize, addr: u64, pages_per_call: u64) -> Result<()> {
        // SAFETY: The list is this engine's own, and the range is mapped.
        let nr = unsafe { (self.take)(list, addr, pages_per_call, FOLL_WRITE) };
        ensure!(
            nr == pages_per_call,
            "the module took {nr} pages and not {pages_per_call}"
        );
        Ok(())
    }
}

impl Engine for Rust {
    fn take(&mut self, range: Range) -> Result<()> {
        self.make_lists(1)?;
        let list = self.lists[0];
        range
            .calls()
            .try_for_each(|addr| self.call(list, addr, range.pages_per_call))
    }

    fn hold(&mut self, range: Range) -> Result<()> {
        self.make_lists(range.nr_calls())?;
        self.nr_held = range.nr_calls();
        let mut calls = range.calls().zip(&self.lists);
        calls.try_for_each(|(addr, list)| self.call(*list, addr, range.pages_per_call))
    }

    fn release(&mut self) {
        for list in &self.lists[..self.nr_held] {
            // SAFETY: The list is this engine's own.
            unsafe { (self.release)(*list) };
        }
    }
}
