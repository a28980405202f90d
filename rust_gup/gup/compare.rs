// SPDX-License-Identifier: GPL-2.0

//! Both engines on one range.

use kernel::prelude::*;

use super::{
    pinned::take_with_kernel,
    request::{Fallback, How, Request},
    take::{take, Taken},
};
use crate::{
    sys::{
        cpu, errno::operation_not_supported, inspect, mm::CurrentMm, Contents, HeldPages,
        LockedPages,
    },
    walk::{Get, Pfn, Pin, RefKind},
};

/// What the engines did, and where they differ.
#[derive(Default)]
pub(crate) struct Comparison {
    /// What the Rust engine returned.
    pub(crate) rust: Outcome,
    /// What the kernel's functions returned.
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
}

/// What an engine returned.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How many pages.
    pub(crate) nr_pages: u64,
    /// Which error.
    pub(crate) error: Option<Error>,
}

/// A page, and the counts of its folio.
#[derive(Clone, Copy)]
struct Record {
    pfn: Pfn,
    counts: inspect::Counts,
}

/// What an engine did to a count: what it added when it took the page, and what is left of that after the release.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Added {
    taken: i32,
    left: i32,
}

/// A page that an engine took, and what it did to its folio.
#[derive(Clone, Copy)]
struct Effect {
    pfn: Pfn,
    refs: Added,
    pins: Added,
    referenced: bool,
}

impl Comparison {
    fn differs_in_refcount_alone(&self) -> bool {
        self.refcount_differs
            && !(self.page_differs || self.pincount_differs || self.referenced_differs)
            && self.rust == self.kernel
    }
}

/// How often is compared before reference counts that alone differ are believed. Each CPU gathers pages for the LRU lists,
/// with a reference on each, and lets go of them whenever it has enough (`folio_batch_add_and_move()`). What an engine
/// forgets to give back, it forgets each time.
const NR_TRIES: usize = 4;

/// Lets both engines take the range of `request`, and compares. `taken` tells how the Rust engine did it.
///
/// # Errors
///
/// `ENOMEM`, for the records or by `RLIMIT_MEMLOCK`; `EOPNOTSUPP` for what the kernel does not export. What the engines
/// return is part of the comparison.
pub(crate) fn compare(
    mm: CurrentMm<'_>,
    request: &Request,
    taken: &mut Taken,
) -> Result<Comparison> {
    let _charge = LockedPages::charge(mm, usize::try_from(request.range.nr_pages())?)?;
    let mut nr_left = NR_TRIES;
    loop {
        *taken = Taken::new(&request.range);
        let comparison = match request.how {
            How::Get => compare_kind::<Get>(mm, request, taken)?,
            How::Pin | How::PinLongterm => compare_kind::<Pin>(mm, request, taken)?,
        };
        nr_left = nr_left.wrapping_sub(1);
        if nr_left == 0 || !comparison.differs_in_refcount_alone() {
            return Ok(comparison);
        }
    }
}

fn compare_kind<K: RefKind>(
    mm: CurrentMm<'_>,
    request: &Request,
    taken: &mut Taken,
) -> Result<Comparison> {
    let mut pages = HeldPages::<K>::new();
    // The kernel exports no such function. Said before it is asked: the slow path has the same error for what it may
    // not pin for long (`mm/gup.c:1217`), and that one is to be compared.
    if K::PINS && request.fallback == Fallback::None {
        return Err(operation_not_supported());
    }
    // Brings the range into the state that both engines shall meet. An error comes again below.
    let _ = take_with_kernel(mm, request, &mut pages);
    let mut at_rest = AtRest(KVVec::new());
    at_rest.see(&mut pages, HeldPages::release_with_kernel)?;

    let result = take_with_kernel(mm, request, &mut pages);
    let kernel = Outcome::new(&pages, result);
    let by_kernel = at_rest.see(&mut pages, HeldPages::release_with_kernel)?;

    let result = take(mm, request, &mut pages, taken);
    let (rust, nr_runs) = (Outcome::new(&pages, result), pages.nr_runs());
    let by_rust = at_rest.see(&mut pages, |p| p.release(Contents::Unchanged))?;

    let mut comparison = Comparison {
        rust,
        kernel,
        nr_runs,
        ..Comparison::default()
    };
    for (i, (a, b)) in by_kernel.iter().zip(by_rust.iter()).enumerate() {
        let page_differs = a.pfn != b.pfn;
        let refcount_differs = a.refs != b.refs;
        let pincount_differs = a.pins != b.pins;
        let referenced_differs = a.referenced != b.referenced;
        comparison.page_differs |= page_differs;
        comparison.refcount_differs |= refcount_differs;
        comparison.pincount_differs |= pincount_differs;
        comparison.referenced_differs |= referenced_differs;
        if page_differs || refcount_differs || pincount_differs || referenced_differs {
            let addr = request
                .range
                .first()
                .wrapping_add((i as u64) << cpu::PAGE_SHIFT);
            comparison.first_difference.get_or_insert(addr);
        } else {
            comparison.nr_equal = comparison.nr_equal.wrapping_add(1);
        }
    }
    if comparison.rust != comparison.kernel {
        let nr_both = comparison.rust.nr_pages.min(comparison.kernel.nr_pages);
        let addr = request
            .range
            .first()
            .wrapping_add(nr_both << cpu::PAGE_SHIFT);
        comparison.first_difference.get_or_insert(addr);
    }
    Ok(comparison)
}

impl Outcome {
    fn new<K: RefKind>(pages: &HeldPages<K>, result: Result) -> Self {
        Self {
            nr_pages: pages.nr_pages(),
            error: result.err(),
        }
    }
}

/// The counts of pages that nobody has taken, as they were after the last release. The owner's mappings keep them, as the
/// range is at rest.
struct AtRest(KVVec<Record>);

impl AtRest {
    /// Of a page in its place in the range, if that is the one that was there.
    fn get(&self, index: usize, pfn: Pfn) -> Option<inspect::Counts> {
        let record = self.0.get(index)?;
        (record.pfn == pfn).then_some(record.counts)
    }

    /// Sees what an engine did that has taken `pages`, and releases them.
    fn see<K: RefKind>(
        &mut self,
        pages: &mut HeldPages<K>,
        release: impl FnOnce(&mut HeldPages<K>),
    ) -> Result<KVVec<Effect>> {
        let mut records = KVVec::with_capacity(pages.nr_pages() as usize, GFP_KERNEL_ACCOUNT)?;
        let mut effects = KVVec::with_capacity(records.capacity(), GFP_KERNEL_ACCOUNT)?;
        let mut inspector = inspect::Inspector::new();
        for run in pages.runs() {
            for i in 0..run.nr_pages() {
                let pfn = run.first().add(i);
                let counts = inspector.counts(pfn);
                records.push(Record { pfn, counts }, GFP_KERNEL_ACCOUNT)?;
            }
        }
        inspect::clear_referenced(pages);
        release(pages);
        let mut inspector = inspect::Inspector::new();
        for (i, record) in records.iter_mut().enumerate() {
            let held = record.counts;
            let after = inspector.counts(record.pfn);
            let before = self.get(i, record.pfn).unwrap_or(after);
            let added = |before: i32, held: i32, after: i32| Added {
                taken: held.wrapping_sub(before),
                left: after.wrapping_sub(before),
            };
            let effect = Effect {
                pfn: record.pfn,
                refs: added(before.refs, held.refs, after.refs),
                pins: added(before.pins, held.pins, after.pins),
                referenced: held.referenced,
            };
            effects.push(effect, GFP_KERNEL_ACCOUNT)?;
            record.counts = after;
        }
        self.0 = records;
        Ok(effects)
    }
}
