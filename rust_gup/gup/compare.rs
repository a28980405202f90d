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
    /// They added different amounts to a reference count.
    pub(crate) refcount_differs: bool,
    /// They added different amounts to a pin count.
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

/// A page, and what taking the range did to its folio.
#[derive(Clone, Copy)]
struct Record {
    pfn: Pfn,
    counts: inspect::Counts,
}

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
    match request.how {
        How::Get => compare_kind::<Get>(mm, request, taken),
        How::Pin | How::PinLongterm => compare_kind::<Pin>(mm, request, taken),
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
    inspect::clear_referenced(&pages);
    pages.release(Contents::Unchanged);

    let (by_kernel, kernel, _) = record(&mut pages, |p| take_with_kernel(mm, request, p))?;
    let (by_rust, rust, nr_runs) = record(&mut pages, |p| take(mm, request, p, taken))?;

    let mut comparison = Comparison {
        rust,
        kernel,
        nr_runs,
        ..Comparison::default()
    };
    for (i, (a, b)) in by_kernel.iter().zip(by_rust.iter()).enumerate() {
        let page_differs = a.pfn != b.pfn;
        let refcount_differs = a.counts.refs != b.counts.refs;
        let pincount_differs = a.counts.pins != b.counts.pins;
        let referenced_differs = a.counts.referenced != b.counts.referenced;
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

/// Lets an engine take the range, records what it did to the pages, and releases them.
fn record<K: RefKind>(
    pages: &mut HeldPages<K>,
    take: impl FnOnce(&mut HeldPages<K>) -> Result,
) -> Result<(KVVec<Record>, Outcome, usize)> {
    let result = take(pages);
    let outcome = Outcome {
        nr_pages: pages.nr_pages(),
        error: result.err(),
    };
    let nr_runs = pages.nr_runs();
    let mut records = KVVec::with_capacity(pages.nr_pages() as usize, GFP_KERNEL_ACCOUNT)?;
    let mut inspector = inspect::Inspector::new();
    for run in pages.runs() {
        for i in 0..run.nr_pages() {
            let pfn = run.first().add(i);
            let counts = inspector.counts(pfn);
            records.push(Record { pfn, counts }, GFP_KERNEL_ACCOUNT)?;
        }
    }
    inspect::clear_referenced(pages);
    pages.release(Contents::Unchanged);
    let mut inspector = inspect::Inspector::new();
    for record in records.iter_mut() {
        // The owner's mappings keep the pages, as the range is at rest.
        let base = inspector.counts(record.pfn);
        record.counts.refs = record.counts.refs.wrapping_sub(base.refs);
        record.counts.pins = record.counts.pins.wrapping_sub(base.pins);
    }
    Ok((records, outcome, nr_runs))
}
