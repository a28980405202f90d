// SPDX-License-Identifier: GPL-2.0

//! Both engines on one range.
//!
//! The Rust engine goes first, on memory as it is found: what it does wrong there, such as to take a page that had to
//! be copied or unshared before, nobody has put right for it. Then the kernel's function takes the range, whose slow
//! path is the one that the Rust engine falls back to: it has to get the very pages, or the same error. What was done
//! to counts and flags is compared afterwards, on memory that is ready: a slow path does more to them than take a
//! reference.

use kernel::prelude::*;

use super::{
    pinned::take_with_kernel,
    request::{
        Fallback,
        How,
        Request, //
    },
    take::{
        take,
        Taken, //
    },
};
use crate::{
    sys::{
        check::inspect,
        errno::operation_not_supported,
        machine,
        mm::CurrentMm,
        Contents,
        HeldPages,
        LockedPages, //
    },
    walk::{
        Get,
        Pfn,
        Pin,
        RefKind, //
    },
};

/// What the engines did, and where they differ.
pub(crate) struct Comparison {
    /// What the Rust engine returned, of memory as it was found.
    pub(crate) first: Outcome,
    /// How it did that.
    pub(crate) first_taken: Taken,
    /// The kernel's function did not get the same then.
    pub(crate) first_differs: bool,
    /// What the Rust engine returned, of memory that was ready.
    pub(crate) rust: Outcome,
    /// How it did that.
    pub(crate) taken: Taken,
    /// What the kernel's functions returned, of memory that was ready.
    pub(crate) kernel: Outcome,
    /// In how many runs.
    pub(crate) nr_runs: usize,
    /// Pages that agree in everything.
    pub(crate) nr_equal: u64,
    /// They took different pages.
    pub(crate) page_differs: bool,
    /// They added different amounts to a reference count, or took different amounts back.
    pub(crate) refcount_differs: bool,
    /// They added different amounts to a pin count, or took different amounts back.
    pub(crate) pincount_differs: bool,
    /// They left a referenced flag different.
    pub(crate) referenced_differs: bool,
    /// Address of the first page that differs.
    pub(crate) first_difference: Option<u64>,
    /// How often reference counts alone differed and all was compared once more.
    pub(crate) nr_retries: u64,
}

/// What an engine returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How many pages.
    pub(crate) nr_pages: u64,
    /// Which error.
    pub(crate) error: Option<Error>,
}

/// How often is compared before reference counts that alone differ are believed. Each CPU gathers pages for the LRU
/// lists, with a reference on each, and lets go of them whenever it has enough (`folio_batch_add_and_move()`). What an
/// engine forgets to give back, it forgets each time.
const NR_TRIES: u64 = 4;

/// Lets both engines take the range of `request`, and compares.
///
/// # Errors
///
/// `ENOMEM`, for the records or by `RLIMIT_MEMLOCK`; `EOPNOTSUPP` for what the kernel does not export. What the engines
/// return is part of the comparison.
pub(crate) fn compare(mm: CurrentMm<'_>, request: &Request) -> Result<Comparison> {
    let _charge = LockedPages::charge(mm, usize::try_from(request.range.nr_pages())?)?;
    match request.how {
        How::Get => compare_kind::<Get>(mm, request),
        How::Pin | How::PinLongterm => compare_kind::<Pin>(mm, request),
    }
}

fn compare_kind<K: RefKind>(mm: CurrentMm<'_>, request: &Request) -> Result<Comparison> {
    // The kernel exports no such function. Said before it is asked: the slow path has the same error for what it may
    // not pin for long (`mm/gup.c:1217`), and that one is to be compared.
    if K::PINS && request.fallback == Fallback::None {
        return Err(operation_not_supported());
    }
    let mut engines = Engines::<K> {
        mm,
        request,
        pages: HeldPages::new(),
        records: Records(KVVec::new()),
    };
    let mut comparison = engines.first()?;
    loop {
        engines.at_rest(&mut comparison)?;
        if !comparison.differs_in_refcount_alone()
            || comparison.nr_retries == const { NR_TRIES - 1 }
        {
            return Ok(comparison);
        }
        comparison.forget_differences();
        comparison.nr_retries = comparison.nr_retries.wrapping_add(1);
    }
}

/// The address of a page of the range.
fn addr_of(request: &Request, index: u64) -> u64 {
    let first = request.range.first();
    first.wrapping_add(index << machine::PAGE_SHIFT)
}

/// Both engines, and what they have done so far.
struct Engines<'a, K: RefKind> {
    mm: CurrentMm<'a>,
    request: &'a Request,
    pages: HeldPages<K>,
    records: Records,
}

impl<K: RefKind> Engines<'_, K> {
    /// The Rust engine, then the kernel's function, on memory that nobody has made ready.
    fn first(&mut self) -> Result<Comparison> {
        let (first, first_taken, _) = self.rust(|_, _| ())?;
        let mut nr_same = 0;
        let then = self.kernel(|_, change| nr_same += u64::from(!change.is_other_page))?;
        let first_differs = first != then || nr_same != then.nr_pages;
        Ok(Comparison {
            first,
            first_taken,
            first_differs,
            rust: first,
            taken: first_taken,
            kernel: then,
            nr_runs: 0,
            nr_equal: 0,
            page_differs: false,
            refcount_differs: false,
            pincount_differs: false,
            referenced_differs: false,
            first_difference: first_differs
                .then(|| addr_of(self.request, nr_same.min(first.nr_pages))),
            nr_retries: 0,
        })
    }

    /// The kernel's function, then the Rust engine, on memory that is ready.
    fn at_rest(&mut self, comparison: &mut Comparison) -> Result {
        comparison.kernel = self.kernel(|_, _| ())?;
        let request = self.request;
        let nr_by_kernel = comparison.kernel.nr_pages;
        let (rust, taken, nr_runs) = self.rust(|index, change| {
            if index < nr_by_kernel {
                comparison.add(addr_of(request, index), change);
            }
        })?;
        comparison.rust = rust;
        comparison.taken = taken;
        comparison.nr_runs = nr_runs;
        if rust != comparison.kernel {
            let nr_both = rust.nr_pages.min(nr_by_kernel);
            comparison.differs_at(addr_of(request, nr_both));
        }
        Ok(())
    }

    /// The kernel's function takes the range, and releases it; `see` is told what that did to each page.
    fn kernel(&mut self, see: impl FnMut(u64, &Change)) -> Result<Outcome> {
        let result = take_with_kernel(self.mm, self.request, &mut self.pages);
        let outcome = Outcome::new(&self.pages, result);
        self.records
            .see(&mut self.pages, HeldPages::release_with_kernel, see)?;
        Ok(outcome)
    }

    /// The same by the Rust engine; how it did that, and in how many runs.
    fn rust(&mut self, see: impl FnMut(u64, &Change)) -> Result<(Outcome, Taken, usize)> {
        let mut taken = Taken::new(&self.request.range);
        let result = take(self.mm, self.request, &mut self.pages, &mut taken);
        let outcome = Outcome::new(&self.pages, result);
        let nr_runs = self.pages.nr_runs();
        self.records
            .see(&mut self.pages, |p| p.release(Contents::Unchanged), see)?;
        Ok((outcome, taken, nr_runs))
    }
}

impl Comparison {
    /// Adds a page, of which both engines took one.
    fn add(&mut self, addr: u64, change: &Change) {
        let Change { before, now, .. } = change;
        // Two pages have nothing more to be compared.
        let refcount_differs = !change.is_other_page && before.refs != now.refs;
        let pincount_differs = !change.is_other_page && before.pins != now.pins;
        let referenced_differs = !change.is_other_page && before.referenced != now.referenced;
        self.page_differs |= change.is_other_page;
        self.refcount_differs |= refcount_differs;
        self.pincount_differs |= pincount_differs;
        self.referenced_differs |= referenced_differs;
        if change.is_other_page || refcount_differs || pincount_differs || referenced_differs {
            self.differs_at(addr);
        } else {
            self.nr_equal = self.nr_equal.wrapping_add(1);
        }
    }

    fn differs_at(&mut self, addr: u64) {
        self.first_difference.get_or_insert(addr);
    }

    fn differs_in_refcount_alone(&self) -> bool {
        self.refcount_differs
            && !(self.first_differs
                || self.page_differs
                || self.pincount_differs
                || self.referenced_differs)
            && self.rust == self.kernel
    }

    /// For another try, where reference counts alone differed.
    fn forget_differences(&mut self) {
        self.nr_equal = 0;
        self.refcount_differs = false;
        self.first_difference = None;
    }
}

impl Outcome {
    fn new<K: RefKind>(pages: &HeldPages<K>, result: Result) -> Self {
        Self {
            nr_pages: pages.nr_pages(),
            error: result.err(),
        }
    }
}

/// What an engine did to a count: what it added when it took the page, and what is left of that after the release.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Added {
    taken: i32,
    left: i32,
}

impl Added {
    const NONE: Self = Self { taken: 0, left: 0 };

    fn new(before: i32, held: i32, after: i32) -> Self {
        Self {
            taken: held.wrapping_sub(before),
            left: after.wrapping_sub(before),
        }
    }
}

/// What an engine did to the folio of a page.
struct Effect {
    refs: Added,
    pins: Added,
    referenced: bool,
}

/// What an engine did, and the one before it in the same place of the range.
struct Change {
    /// That one had another page, or none.
    is_other_page: bool,
    before: Effect,
    now: Effect,
}

/// A page in its place in the range.
#[derive(Clone, Copy)]
struct Record {
    /// Which one an engine last took.
    pfn: Pfn,
    /// Its counts as long as it is held.
    held: inspect::Counts,
    /// Its counts when nobody held it, after the last release. The owner's mappings keep them, as the range is at rest.
    at_rest: inspect::Counts,
    /// What the last engine did.
    refs: Added,
    pins: Added,
    referenced: bool,
    /// The same of the engine before, as long as the page is held.
    was_referenced: bool,
    /// It is not the page that the engine before took.
    is_other_page: bool,
}

/// What a page costs here, once; `Documentation/uapi.rst` says so. The list of runs needs up to eight bytes more.
const _: () = assert!(core::mem::size_of::<Record>() == 48);

impl Record {
    /// No page.
    const NONE: Self = Self {
        pfn: Pfn::new(u64::MAX),
        held: inspect::Counts::NONE,
        at_rest: inspect::Counts::NONE,
        refs: Added::NONE,
        pins: Added::NONE,
        referenced: false,
        was_referenced: false,
        is_other_page: true,
    };

    /// An engine has taken the page.
    fn hold(&mut self, pfn: Pfn, (counts, is_referenced): (inspect::Counts, bool)) {
        self.is_other_page = self.pfn != pfn;
        self.pfn = pfn;
        self.held = counts;
        self.was_referenced = self.referenced;
        self.referenced = is_referenced;
    }

    /// It has released it.
    fn let_go(&mut self, after: inspect::Counts) -> Change {
        let effect = Effect {
            refs: self.refs,
            pins: self.pins,
            referenced: self.was_referenced,
        };
        // Of another page it is not known.
        let before = if self.is_other_page {
            after
        } else {
            self.at_rest
        };
        self.refs = Added::new(before.refs, self.held.refs, after.refs);
        self.pins = Added::new(before.pins, self.held.pins, after.pins);
        self.at_rest = after;
        Change {
            is_other_page: self.is_other_page,
            before: effect,
            now: Effect {
                refs: self.refs,
                pins: self.pins,
                referenced: self.referenced,
            },
        }
    }
}

/// The pages of the range, as far as they were taken.
struct Records(KVVec<Record>);

impl Records {
    /// Looks at what an engine has taken, and releases it; `see` is told what that did to each page.
    fn see<K: RefKind>(
        &mut self,
        pages: &mut HeldPages<K>,
        release: impl FnOnce(&mut HeldPages<K>),
        mut see: impl FnMut(u64, &Change),
    ) -> Result {
        let nr_pages = pages.nr_pages() as usize;
        self.0.resize(nr_pages, Record::NONE, GFP_KERNEL_ACCOUNT)?;
        let mut inspector = inspect::Inspector::new();
        let mut records = self.0.iter_mut();
        for run in pages.runs() {
            for (i, record) in (0..run.nr_pages()).zip(records.by_ref()) {
                let pfn = run.first().add(i);
                record.hold(pfn, inspector.look(pfn));
            }
        }
        inspect::clear_referenced(pages);
        release(pages);
        let mut inspector = inspect::Inspector::new();
        for (index, record) in (0..).zip(self.0.iter_mut()) {
            let (after, _) = inspector.look(record.pfn);
            see(index, &record.let_go(after));
        }
        Ok(())
    }
}
