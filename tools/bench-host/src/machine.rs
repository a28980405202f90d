// SPDX-License-Identifier: GPL-2.0

//! The emulated machine: page tables and a memory map, as the kernel's code finds them.

use anyhow::Result;
use rand::{
    rngs::SmallRng,
    seq::SliceRandom,
    SeedableRng, //
};

use crate::{
    engine::Range,
    image::Image,
    memory::{
        Area,
        HUGE, //
    },
};

/// Size of a base page, as a power of two.
pub(crate) const PAGE_SHIFT: u32 = 12;

/// Size of a base page, in bytes.
pub(crate) const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Size of a `struct page`, in bytes.
pub(crate) const STRUCT_PAGE: usize = 64;

/// The first frame of the folios. The frames below it belong to the tables and to the zero page.
const FIRST_PFN: u64 = 1 << 18;

/// Room for tables, in bytes: enough for those of 8 GiB.
const TABLE_BYTES: usize = 32 << 20;

/// The first address that is mapped.
const START: u64 = 1 << 36;

/// The entries of a window, as a module that is loaded without parameters has it.
const WINDOW_ENTRIES: u32 = 512;

/// The folios of a range, and how they are mapped. The names are those of `gupctl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Anonymous folios of one page.
    Anon4K,
    /// Pages of a file.
    File4K,
    /// Anonymous folios of 64 KiB, mapped by entries of base pages.
    Mthp64K,
    /// Anonymous folios of 2 MiB, mapped by entries of base pages.
    Thp2MSplit,
    /// Anonymous folios of 2 MiB, mapped by leaves.
    Thp2M,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anon4K => "anon-4k",
            Self::File4K => "file-4k",
            Self::Mthp64K => "mthp-64k",
            Self::Thp2MSplit => "thp-2m-split",
            Self::Thp2M => "thp-2m",
        }
    }

    /// Returns the order of the folios.
    fn order(self) -> u32 {
        match self {
            Self::Anon4K | Self::File4K => 0,
            Self::Mthp64K => 4,
            Self::Thp2MSplit | Self::Thp2M => 9,
        }
    }
}

/// How the folios follow each other in physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Ascending,
    /// This is how most allocators hand out pages.
    Descending,
    Scattered,
}

impl Order {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
            Self::Scattered => "scattered",
        }
    }
}

/// User memory that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    pub(crate) nr_pages: u64,
}

/// The functions of `rust_gup/bench_host/`.
#[derive(Clone, Copy)]
struct Functions {
    make: unsafe extern "C" fn(usize, usize),
    enter: unsafe extern "C" fn(),
    make_folio: unsafe extern "C" fn(u64, u32, bool),
    reset_folio: unsafe extern "C" fn(u64, u32),
    refs: unsafe extern "C" fn(u64) -> i32,
    map_page: unsafe extern "C" fn(u64, u64),
    map_leaf: unsafe extern "C" fn(u64, u64),
    floor: unsafe extern "C" fn(*const u64, u64, u32),
}

/// The machine, with one range of user memory.
pub(crate) struct Machine {
    functions: Functions,
    tables: Area,
    memory_map: Area,
    /// The first frame of each folio, in the order of the addresses.
    pfns: Vec<u64>,
    order: u32,
}

impl Machine {
    /// Makes a machine with room for `nr_pages_max` pages of user memory, on the CPU of the calling thread.
    pub(crate) fn new(image: &Image, nr_pages_max: u64) -> Result<Self> {
        let memory_map_bytes = (FIRST_PFN + nr_pages_max) as usize * STRUCT_PAGE;
        // SAFETY: These are the types of `rust_gup/bench_host/machine.h`.
        let functions = unsafe {
            Functions {
                make: image.function("rust_gup_bench_host_make")?,
                enter: image.function("rust_gup_bench_host_enter")?,
                make_folio: image.function("rust_gup_bench_host_make_folio")?,
                reset_folio: image.function("rust_gup_bench_host_reset_folio")?,
                refs: image.function("rust_gup_bench_host_refs")?,
                map_page: image.function("rust_gup_bench_host_map_page")?,
                map_leaf: image.function("rust_gup_bench_host_map_leaf")?,
                floor: image.function("rust_gup_bench_host_floor")?,
            }
        };
        let machine = Self {
            functions,
            tables: Area::aligned(TABLE_BYTES, HUGE)?,
            // Heads of folios are found by masks, so the memory map is aligned like vmemmap.
            memory_map: Area::aligned(memory_map_bytes.next_multiple_of(HUGE), 1 << 30)?,
            pfns: Vec::new(),
            order: 0,
        };
        machine.make();
        machine.enter();
        // SAFETY: This is the type of `rust_gup/bench_host/mod.rs`. The machine is there, so the module finds its memory
        // map and its direct map.
        unsafe {
            let init: unsafe extern "C" fn(u32) = image.function("rust_gup_bench_host_init")?;
            init(WINDOW_ENTRIES);
        }
        Ok(machine)
    }

    fn make(&self) {
        // SAFETY: The areas are zeroed, and large enough.
        unsafe { (self.functions.make)(self.tables.addr(), self.memory_map.addr()) };
    }

    /// Makes the machine's process the current one on the CPU of the calling thread.
    pub(crate) fn enter(&self) {
        // SAFETY: The thread has the memory of a CPU.
        unsafe { (self.functions.enter)() };
    }

    /// Maps memory of this shape, instead of what was mapped before.
    pub(crate) fn map(&mut self, shape: Shape) -> Result<()> {
        self.tables.clear()?;
        self.memory_map.clear()?;
        self.make();
        self.order = shape.kind.order();
        let nr_folio = 1 << self.order;
        self.pfns = (0..shape.nr_pages / nr_folio)
            .map(|i| FIRST_PFN + i * nr_folio)
            .collect();
        match shape.order {
            Order::Ascending => {}
            Order::Descending => self.pfns.reverse(),
            // The same order in each run.
            Order::Scattered => self.pfns.shuffle(&mut SmallRng::seed_from_u64(1)),
        }
        let mut addr = START;
        for pfn in self.pfns.iter().copied() {
            // SAFETY: The frames have their `struct page`, and the tables have room.
            unsafe {
                (self.functions.make_folio)(pfn, self.order, shape.kind == Kind::File4K);
                if shape.kind == Kind::Thp2M {
                    (self.functions.map_leaf)(addr, pfn);
                } else {
                    for i in 0..nr_folio {
                        (self.functions.map_page)(addr + (i << PAGE_SHIFT), pfn + i);
                    }
                }
            }
            addr += nr_folio << PAGE_SHIFT;
        }
        let begin = FIRST_PFN as usize * STRUCT_PAGE / HUGE * HUGE;
        let end = (FIRST_PFN + shape.nr_pages) as usize * STRUCT_PAGE;
        self.memory_map.require_huge_pages(end - begin)
    }

    /// Returns part `part` of `nr_parts` equal parts of the mapped memory.
    pub(crate) fn part(&self, part: u64, nr_parts: u64, pages_per_call: u64) -> Range {
        let nr_pages = ((self.pfns.len() as u64) << self.order) / nr_parts;
        Range {
            addr: START + ((part * nr_pages) << PAGE_SHIFT),
            nr_pages,
            pages_per_call,
        }
    }

    /// Sets all counts back to those of memory that nobody has taken.
    pub(crate) fn reset(&self) {
        for pfn in self.pfns.iter().copied() {
            // SAFETY: The folios exist.
            unsafe { (self.functions.reset_folio)(pfn, self.order) };
        }
    }

    /// Returns the number of references on each folio.
    pub(crate) fn refs(&self) -> Vec<i32> {
        // SAFETY: The folios exist.
        let refs = |pfn: &u64| unsafe { (self.functions.refs)(*pfn) };
        self.pfns.iter().map(refs).collect()
    }

    /// Does one locked operation for each folio of a part, and prefetches the folio `ahead` places on, if that is not 0.
    pub(crate) fn floor(&self, range: Range, ahead: u32) {
        let first = ((range.addr - START) >> PAGE_SHIFT >> self.order) as usize;
        let nr = (range.nr_pages >> self.order) as usize;
        let pfns = &self.pfns[first..first + nr];
        // SAFETY: The folios exist.
        unsafe { (self.functions.floor)(pfns.as_ptr(), pfns.len() as u64, ahead) };
    }
}
