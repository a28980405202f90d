// SPDX-License-Identifier: GPL-2.0

//! Measures two engines on one range.

use kernel::prelude::*;

use super::{
    request::{
        How,
        Request, //
    },
    stats,
    take::take,
};
use crate::{
    sys::{
        machine,
        mm::CurrentMm,
        task,
        Contents,
        HeldPages,
        LockedPages,
        PageArray, //
    },
    walk::{
        Get,
        Pin,
        RefKind,
        UserRange, //
    },
};

/// The engine that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The Rust walk, with the pages kept as runs.
    Rust,
    /// The Rust walk, with the pages written out as an array.
    RustPages,
    /// The kernel's functions, which fill an array of pages.
    Kernel,
    /// The kernel's functions, with a release by runs: one step for each folio instead of each page.
    KernelRanges,
}

impl Engine {
    /// Returns whether the kernel's functions take the pages.
    #[inline(always)]
    fn is_kernels(self) -> bool {
        matches!(self, Self::Kernel | Self::KernelRanges)
    }
}

/// Cycles that an engine spent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Cycles for taking the range.
    pub(crate) take: u64,
    /// Cycles for releasing the range.
    pub(crate) release: u64,
    /// Cycles for the longest of the calls that took the range.
    longest_call: u64,
}

/// One round of both engines.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Cost of engine A.
    pub(crate) a: Cost,
    /// Cost of engine B.
    pub(crate) b: Cost,
}

/// The results of a measurement besides its samples.
#[derive(Default)]
pub(crate) struct Measurement {
    /// Number of rounds done.
    pub(crate) rounds_done: u32,
    /// Pages that each engine took in each round.
    pub(crate) nr_pages: u64,
    /// Cost of an empty measurement.
    pub(crate) overhead_cycles: u64,
    /// Memory for the lists of pages of one call with engine A.
    pub(crate) bookkeeping_a_bytes: usize,
    /// The same for engine B.
    pub(crate) bookkeeping_b_bytes: usize,
    /// The longest window in a round of engine A, or an upper bound of it.
    pub(crate) irqs_off_a_cycles: u64,
    /// The same for engine B.
    pub(crate) irqs_off_b_cycles: u64,
}

/// Measures `rounds` rounds of `engines`, A and B, on the range of `request`, in calls of `pages_per_call` pages. After
/// each round `report` gets its sample.
///
/// The kernel's engine writes to an array that is allocated before the first round, as callers of `mm/gup.c` do. The
/// list of the Rust engine is allocated in the first round.
///
/// # Errors
///
/// `EAGAIN` if an engine did not take the whole range, `ENOMEM`, `EINTR`, and the errors of the engines and of
/// `report`.
pub(crate) fn measure(
    mm: CurrentMm<'_>,
    request: &Request,
    engines: (Engine, Engine),
    rounds: u32,
    pages_per_call: u32,
    report: impl FnMut(u32, Sample) -> Result,
) -> Result<Measurement> {
    let nr_pages = u64::from(pages_per_call).min(request.range.nr_pages());
    let _charge = LockedPages::charge(mm, nr_pages as usize)?;
    match request.terms.how {
        How::Get => measure_kind::<Get>(mm, request, engines, rounds, nr_pages, report),
        How::Pin | How::PinLongterm => {
            measure_kind::<Pin>(mm, request, engines, rounds, nr_pages, report)
        }
    }
}

fn measure_kind<K: RefKind>(
    mm: CurrentMm<'_>,
    request: &Request,
    (engine_a, engine_b): (Engine, Engine),
    rounds: u32,
    pages_per_call: u64,
    mut report: impl FnMut(u32, Sample) -> Result,
) -> Result<Measurement> {
    let mut a = Bench::<K>::new(engine_a, mm, *request, pages_per_call)?;
    let mut b = Bench::<K>::new(engine_b, mm, *request, pages_per_call)?;
    let mut measurement = Measurement {
        overhead_cycles: overhead_cycles(),
        nr_pages: request.range.nr_pages(),
        ..Measurement::default()
    };
    for round in 0..rounds {
        // ABBA order: each engine profits equally often from what the other one leaves in the caches.
        let sample = if round % 2 == 0 {
            let cost_a = a.round()?;
            let cost_b = b.round()?;
            Sample {
                a: cost_a,
                b: cost_b,
            }
        } else {
            let cost_b = b.round()?;
            let cost_a = a.round()?;
            Sample {
                a: cost_a,
                b: cost_b,
            }
        };
        report(round, sample)?;
        measurement.rounds_done = round.wrapping_add(1);
    }
    measurement.irqs_off_a_cycles = a.irqs_off_cycles()?;
    measurement.irqs_off_b_cycles = b.irqs_off_cycles()?;
    measurement.bookkeeping_a_bytes = a.bookkeeping_bytes();
    measurement.bookkeeping_b_bytes = b.bookkeeping_bytes();
    Ok(measurement)
}

/// Returns the lowest cost of 64 empty measurements.
fn overhead_cycles() -> u64 {
    let empty = |_| {
        let begin = machine::cycles();
        machine::cycles().wrapping_sub(begin)
    };
    (0..64).map(empty).min().unwrap_or(0)
}

/// One engine with the memory that it needs.
struct Bench<'a, K: RefKind> {
    engine: Engine,
    mm: CurrentMm<'a>,
    request: Request,
    pages_per_call: u64,
    array: PageArray,
    pages: HeldPages<K>,
}

impl<'a, K: RefKind> Bench<'a, K> {
    fn new(
        engine: Engine,
        mm: CurrentMm<'a>,
        request: Request,
        pages_per_call: u64,
    ) -> Result<Self> {
        let nr_array = if engine == Engine::Rust {
            0
        } else {
            pages_per_call as usize
        };
        Ok(Self {
            engine,
            mm,
            request,
            pages_per_call,
            array: PageArray::new(nr_array)?,
            pages: HeldPages::new(),
        })
    }

    /// Takes and releases the range once.
    fn round(&mut self) -> Result<Cost> {
        let mut cost = Cost::default();
        let mut addr = self.request.range.first();
        let mut nr_left = self.request.range.nr_pages();
        while nr_left != 0 {
            let nr_pages = nr_left.min(self.pages_per_call);
            self.call(addr, nr_pages, &mut cost)?;
            addr = addr.wrapping_add(nr_pages << machine::PAGE_SHIFT);
            nr_left = nr_left.wrapping_sub(nr_pages);
            if task::fatal_signal_pending() {
                return Err(EINTR);
            }
            task::cond_resched();
        }
        Ok(cost)
    }

    fn call(&mut self, addr: u64, nr_pages: u64, cost: &mut Cost) -> Result {
        let begin;
        let taken;
        // The time at which the release begins.
        let held;
        let nr_taken;
        if self.engine.is_kernels() {
            let flags = self.request.terms.foll_flags();
            begin = machine::cycles();
            let array = self
                .array
                .take_fast::<K>(self.mm, addr, nr_pages as usize, flags)?;
            taken = machine::cycles();
            if self.engine == Engine::Kernel {
                held = taken;
                nr_taken = array.nr_pages() as u64;
                drop(array);
            } else {
                // The cost of finding the runs counts neither as taking nor as releasing: drivers find them when they
                // map the pages for their device.
                nr_taken = array.add_to(&mut self.pages)? as u64;
                held = machine::cycles();
                self.pages.release_with_kernel();
            }
        } else {
            let len_bytes = nr_pages << machine::PAGE_SHIFT;
            begin = machine::cycles();
            // Check the range within the measured time, as the kernel's function checks its arguments.
            let range = UserRange::new(addr, len_bytes, machine::PAGE_SHIFT, machine::user_limit())
                .map_err(|_| EFAULT)?;
            take(self.mm, range, self.request.terms, &mut self.pages).1?;
            if self.engine == Engine::RustPages {
                self.pages.write_pages(&mut self.array);
            }
            taken = machine::cycles();
            held = taken;
            nr_taken = self.pages.nr_pages();
            self.pages.release(Contents::Unchanged);
        }
        let released = machine::cycles();
        if nr_taken != nr_pages {
            return Err(EAGAIN);
        }
        let take = taken.wrapping_sub(begin);
        cost.take = cost.take.wrapping_add(take);
        cost.longest_call = cost.longest_call.max(take);
        cost.release = cost.release.wrapping_add(released.wrapping_sub(held));
        Ok(())
    }

    /// Returns the longest window in one more round. The kernel's functions do not tell how long interrupts were off;
    /// for them this is the longest call, which contains the section.
    fn irqs_off_cycles(&mut self) -> Result<u64> {
        let (cost, longest_window) = stats::longest_window_of(|| self.round());
        let longest_call = cost?.longest_call;
        Ok(if self.engine.is_kernels() {
            longest_call
        } else {
            longest_window
        })
    }

    fn bookkeeping_bytes(&self) -> usize {
        let array = self
            .array
            .capacity()
            .wrapping_mul(core::mem::size_of::<usize>());
        match self.engine {
            Engine::Kernel => array,
            // These engines need their runs for the release, so an engine with an array holds both.
            Engine::Rust | Engine::RustPages | Engine::KernelRanges => {
                array.wrapping_add(self.pages.bookkeeping_bytes())
            }
        }
    }
}
