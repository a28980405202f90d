// SPDX-License-Identifier: GPL-2.0

//! Compares both engines on one range.
//!
//! The Rust engine goes first, on memory as it is: nobody has corrected its mistakes there, such as taking a page that
//! had to be copied or unshared first. Then the kernel's function takes the range. Its slow path is the one to which
//! the Rust engine falls back, so it has to get the same pages, or the same error. Counts and flags are compared
//! afterwards, on memory that is ready, because a slow path does more to them than take a reference.

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
    /// Outcome of the Rust engine, on memory as it was found.
    pub(crate) first: Outcome,
    /// How the Rust engine served that request.
    pub(crate) first_taken: Taken,
    /// Whether the outcome or the pages of the kernel's function differed from that.
    pub(crate) first_differs: bool,
    /// Outcome of the Rust engine, on memory that was ready.
    pub(crate) rust: Outcome,
    /// How the Rust engine served that request.
    pub(crate) taken: Taken,
    /// Outcome of the kernel's functions, on memory that was ready.
    pub(crate) kernel: Outcome,
    /// Number of runs in the list of the Rust engine, on memory that was ready.
    pub(crate) nr_runs: usize,
    /// Number of pages that agree in everything.
    pub(crate) nr_equal: u64,
    /// Whether the engines took different pages.
    pub(crate) page_differs: bool,
    /// Whether the engines added different amounts to a reference count, or took different amounts back.
    pub(crate) refcount_differs: bool,
    /// Whether the engines added different amounts to a pin count, or took different amounts back.
    pub(crate) pincount_differs: bool,
    /// Whether the engines left a referenced flag different.
    pub(crate) referenced_differs: bool,
    /// Address of the first page that differs.
    pub(crate) first_difference: Option<u64>,
    /// How often the comparison was repeated because reference counts alone differed.
    pub(crate) nr_retries: u64,
}

/// The outcome of an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Number of pages.
    pub(crate) nr_pages: u64,
    /// The error, if any.
    pub(crate) error: Option<Error>,
}

/// Number of comparisons before a difference in reference counts alone is believed. Each CPU gathers pages for the LRU
/// lists, with a reference on each, and drops these references whenever it has enough (`folio_batch_add_and_move()`).
/// An engine that forgets to give a reference back forgets it each time.
const NR_TRIES: u64 = 4;

/// Lets both engines take the range of `request`, and compares them.
///
/// # Errors
///
/// `ENOMEM`, for the records or because of `RLIMIT_MEMLOCK`; `EOPNOTSUPP` if the kernel does not export the function
/// for this request. Errors of the engines are part of the comparison.
pub(crate) fn compare(mm: CurrentMm<'_>, request: &Request) -> Result<Comparison> {
    let _charge = LockedPages::charge(mm, usize::try_from(request.range.nr_pages())?)?;
    match request.terms.how {
        How::Get => compare_kind::<Get>(mm, request),
        How::Pin | How::PinLongterm => compare_kind::<Pin>(mm, request),
    }
}

fn compare_kind<K: RefKind>(mm: CurrentMm<'_>, request: &Request) -> Result<Comparison> {
    // The kernel exports no such function. Return this error before the engines run: the slow path has the same error
    // for memory that it may not pin for long (`mm/gup.c:1217`), and that error is part of the comparison.
    if K::PINS && request.terms.fallback == Fallback::None {
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

/// Returns the address of the page with this index in the range.
fn addr_of(request: &Request, index: u64) -> u64 {
    let first = request.range.first();
    first.wrapping_add(index << machine::PAGE_SHIFT)
}

/// Both engines, and the records of what they have done so far.
struct Engines<'a, K: RefKind> {
    mm: CurrentMm<'a>,
    request: &'a Request,
    pages: HeldPages<K>,
    records: Records,
}

impl<K: RefKind> Engines<'_, K> {
    /// Lets the Rust engine and then the kernel's function take the range, on memory that nobody has made ready.
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

    /// Lets the kernel's function and then the Rust engine take the range, on memory that is ready.
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

    /// Takes and releases the range with the kernel's functions. Tells `see` what that did to each page.
    fn kernel(&mut self, see: impl FnMut(u64, &Change)) -> Result<Outcome> {
        let result = take_with_kernel(self.mm, self.request, &mut self.pages);
        let outcome = Outcome::new(&self.pages, result);
        self.records
            .see(&mut self.pages, HeldPages::release_with_kernel, see)?;
        Ok(outcome)
    }

    /// Takes and releases the range with the Rust engine. Tells `see` what that did to each page. Returns the outcome,
    /// how the engine served the request, and the number of runs.
    fn rust(&mut self, see: impl FnMut(u64, &Change)) -> Result<(Outcome, Taken, usize)> {
        let Request { range, terms, .. } = *self.request;
        let (taken, result) = take(self.mm, range, terms, &mut self.pages);
        let outcome = Outcome::new(&self.pages, result);
        let nr_runs = self.pages.nr_runs();
        self.records
            .see(&mut self.pages, |p| p.release(Contents::Unchanged), see)?;
        Ok((outcome, taken, nr_runs))
    }
}

impl Comparison {
    /// Adds the result for an address at which both engines took a page.
    fn add(&mut self, addr: u64, change: &Change) {
        let Change { before, now, .. } = change;
        // The counts of two different pages are not compared.
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

    /// Resets the result for another try, after reference counts alone differed.
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

/// The effect of an engine on a count: the amount that it added when it took the page, and the amount that is left
/// after the release.
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

/// The effect of an engine on the folio of a page.
struct Effect {
    refs: Added,
    pins: Added,
    referenced: bool,
}

/// The effects of an engine and of the engine before it, at the same place of the range.
struct Change {
    /// Whether the engine before had another page there, or none.
    is_other_page: bool,
    before: Effect,
    now: Effect,
}

/// The record of one place in the range.
#[derive(Clone, Copy)]
struct Record {
    /// The page that an engine last took there.
    pfn: Pfn,
    /// The counts of the page while it is held.
    held: inspect::Counts,
    /// The counts of the page after the last release, when no engine held it. They stay as they are: the owner's
    /// mappings keep the page, and the range is at rest.
    at_rest: inspect::Counts,
    /// The effect of the last engine.
    refs: Added,
    pins: Added,
    referenced: bool,
    /// The referenced flag that the engine before left. Only valid while the page is held.
    was_referenced: bool,
    /// Whether this is not the page that the engine before took.
    is_other_page: bool,
}

/// The memory that a comparison needs for each page, once. `Documentation/uapi.rst` states it. The list of runs needs
/// up to eight bytes more.
const _: () = assert!(core::mem::size_of::<Record>() == 48);

impl Record {
    /// The record of a place at which no engine has taken a page.
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

    /// Records that an engine has taken the page `pfn`, with its counts and referenced flag.
    fn hold(&mut self, pfn: Pfn, (counts, is_referenced): (inspect::Counts, bool)) {
        self.is_other_page = self.pfn != pfn;
        self.pfn = pfn;
        self.held = counts;
        self.was_referenced = self.referenced;
        self.referenced = is_referenced;
    }

    /// Records that the engine has released the page. `after` has the counts since then. Returns the effects of this
    /// engine and of the one before.
    fn let_go(&mut self, after: inspect::Counts) -> Change {
        let effect = Effect {
            refs: self.refs,
            pins: self.pins,
            referenced: self.was_referenced,
        };
        // The counts of another page were not read before.
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

/// The records of the pages that were taken.
struct Records(KVVec<Record>);

impl Records {
    /// Records the pages that an engine has taken, and releases them. Tells `see` what that did to each page.
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
