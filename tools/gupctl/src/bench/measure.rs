// SPDX-License-Identifier: GPL-2.0

//! Measures one engine against the kernel's, on one range.

use std::{
    io,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::page_bytes,
    Kind,
    Mapping, //
};
use rust_gup_uapi::{
    errno_of,
    Access,
    Device,
    Engine,
    How,
    Measured,
    Request, //
};
use serde::{
    Deserialize,
    Serialize, //
};

use super::report::{
    Outcome,
    Row,
    Side, //
};
use crate::sample::{
    ratio,
    Costs, //
};

/// Number of pages with which one call takes the whole range, up to the 4 GiB that the module allows.
pub(crate) const WHOLE_RANGE: u32 = rust_gup_uapi::raw::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL;

/// With fewer rounds, chance cannot be told from a difference.
const MIN_ROUNDS: u32 = 4;

/// The plan of a measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) warm_up: u32,
    /// No further round begins after this time, unless there are fewer than [`MIN_ROUNDS`].
    pub(crate) seconds: f64,
}

/// The measurement to make on a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contest {
    pub(crate) access: Access,
    pub(crate) how: How,
    /// The engine that is measured against the kernel's.
    pub(crate) engine: Engine,
    pub(crate) pages_per_call: u32,
}

/// Measures the first `len_bytes` of a mapping. If there is no mapping, the row says why.
pub(crate) fn measure_row(
    device: &Device,
    kind: Kind,
    mapping: Result<&Mapping, &str>,
    len_bytes: usize,
    contest: Contest,
    plan: Plan,
) -> Row {
    let outcome = match mapping {
        Ok(mapping) => {
            let request = Request::new(mapping.addr(), len_bytes)
                .access(contest.access)
                .how(contest.how);
            measure(device, kind, &request, contest, plan).unwrap_or_else(|err| {
                Outcome::NotAvailable {
                    reason: reason(&err),
                }
            })
        }
        Err(reason) => Outcome::NotAvailable {
            reason: reason.into(),
        },
    };
    let nr_pages = u32::try_from(len_bytes.div_ceil(page_bytes())).unwrap_or(u32::MAX);
    Row {
        kind: kind.name().into(),
        len_bytes: len_bytes as u64,
        how: contest.how.name().into(),
        access: contest.access.name().into(),
        engine: contest.engine.name().into(),
        pages_per_call: contest.pages_per_call.min(nr_pages),
        outcome,
    }
}

fn measure(
    device: &Device,
    kind: Kind,
    request: &Request,
    contest: Contest,
    plan: Plan,
) -> io::Result<Outcome> {
    let engines = [Engine::Kernel, contest.engine];
    let measure = |rounds| device.measure(request, engines, rounds, contest.pages_per_call);
    let begin = Instant::now();
    if plan.warm_up != 0 {
        // Call for one round at a time, because a round may be long.
        for _ in 0..plan.warm_up {
            measure(1)?;
            if begin.elapsed() > Duration::from_secs_f64(plan.seconds / 4.0) {
                break;
            }
        }
    }
    let (nr_fast, is_small_leaf) = {
        let pinned = device.pin(request, Engine::Rust)?;
        (pinned.nr_fast(), pinned.nr_by_level()[0] != 0)
    };

    let before = device.stats()?.raw;
    let measured = all_rounds(plan, measure)?;
    let after = device.stats()?.raw;
    let costs = costs_of(&measured)?;
    // Measure against the kernel's other way of releasing.
    let by_ranges = all_rounds(plan, |rounds| {
        let engines = [Engine::KernelRanges, contest.engine];
        device.measure(request, engines, rounds, contest.pages_per_call)
    })?;
    let kernel_ranges_release = Some(costs_of(&by_ranges)?.release_a);
    let raw = &measured[0].raw;
    let nr_grabs_a_page = (after.nr_slow == before.nr_slow && after.nr_fast != before.nr_fast)
        .then(|| {
            ratio(
                after.nr_runs - before.nr_runs,
                after.nr_fast - before.nr_fast,
            )
        });
    let locked = Locked::of(nr_grabs_a_page, contest.how, kind, is_small_leaf);
    let irqs_off = |field: fn(&rust_gup_uapi::raw::rust_gup_measure) -> u64| {
        measured.iter().map(move |part| field(&part.raw))
    };
    Ok(Outcome::Measured {
        nr_pages: raw.nr_pages,
        nr_fast,
        nr_rounds: measured.iter().map(|part| part.samples.len()).sum(),
        overhead_cycles: raw.overhead_cycles,
        kernel: Side {
            take: costs.take_a,
            release: costs.release_a,
            bookkeeping_bytes: raw.bookkeeping_a_bytes,
            // Each of these is an upper bound, so use the smallest one.
            irqs_off_cycles: irqs_off(|raw| raw.irqs_off_a_cycles).min().unwrap_or(0),
            locked_a_page: locked.map(|locked| locked.kernel),
        },
        kernel_ranges_release,
        other: Side {
            take: costs.take_b,
            release: costs.release_b,
            bookkeeping_bytes: raw.bookkeeping_b_bytes,
            irqs_off_cycles: if contest.engine == Engine::Kernel {
                irqs_off(|raw| raw.irqs_off_b_cycles).min().unwrap_or(0)
            } else {
                irqs_off(|raw| raw.irqs_off_b_cycles).max().unwrap_or(0)
            },
            locked_a_page: locked.map(|locked| {
                if contest.engine == Engine::Kernel {
                    locked.kernel
                } else {
                    locked.rust
                }
            }),
        },
    })
}

/// Makes all rounds of the plan. `measure` makes several rounds at a time.
fn all_rounds(
    plan: Plan,
    measure: impl Fn(u32) -> io::Result<Measured>,
) -> io::Result<Vec<Measured>> {
    let begin = Instant::now();
    let mut measured = Vec::new();
    let mut rounds_left = plan.rounds;
    // Use an even number, so that each engine goes first equally often.
    let mut rounds = 2;
    while rounds_left != 0 {
        measured.push(measure(rounds.min(rounds_left))?);
        rounds_left -= rounds.min(rounds_left);
        let elapsed = begin.elapsed().as_secs_f64();
        if elapsed > plan.seconds && plan.rounds - rounds_left >= MIN_ROUNDS {
            break;
        }
        // Make fewer calls with more rounds each, as long as less than a tenth of the time has passed.
        if elapsed < plan.seconds / 10.0 {
            rounds = (2 * rounds).min(32);
        }
    }
    Ok(measured)
}

fn costs_of(measured: &[Measured]) -> io::Result<Costs> {
    Costs::of(measured).ok_or_else(|| io::Error::other("the module measured no round, or no page"))
}

/// Number of locked operations that it costs to take a page.
///
/// The number is derived, not counted. The module counts how many times references are taken; the number of locked
/// operations for each time follows from the sources.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Locked {
    kernel: f64,
    rust: f64,
}

impl Locked {
    /// Derives the numbers from `nr_grabs_a_page`, which is for the fast walk in Rust. It is `None` if the fast walk
    /// did not take all pages.
    fn of(nr_grabs_a_page: Option<f64>, how: How, kind: Kind, is_small_leaf: bool) -> Option<Self> {
        let nr_grabs = nr_grabs_a_page?;
        let is_pin = how != How::Get;
        // `mm/gup.c`: `try_get_folio()`, `folio_set_referenced()`, and for a pin one more addition, to either count.
        // That is for each page, or for each huge leaf.
        let kernel_grabs = if is_small_leaf { 1.0 } else { nr_grabs };
        // `walk/grab.rs`: one addition, and another one to the pin count of a large folio. The referenced flag is
        // already set.
        let a_grab = if is_pin && kind.has_large_folios() {
            2.0
        } else {
            1.0
        };
        Some(Self {
            kernel: kernel_grabs * if is_pin { 3.0 } else { 2.0 },
            rust: nr_grabs * a_grab,
        })
    }
}

/// Says why there is no measurement.
fn reason(err: &io::Error) -> String {
    match errno_of(err) {
        Some(libc::EFAULT) => "the kernel does not let anyone take this memory".into(),
        _ => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_operations_follow_the_sources() {
        let of = |nr_grabs, how, kind, is_small_leaf| {
            let locked = Locked::of(Some(nr_grabs), how, kind, is_small_leaf);
            locked.map(|locked| (locked.kernel, locked.rust))
        };
        assert_eq!(of(1.0, How::Get, Kind::Anon4k, true), Some((2.0, 1.0)));
        assert_eq!(of(1.0, How::Pin, Kind::Anon4k, true), Some((3.0, 1.0)));
        assert_eq!(
            of(0.0625, How::Pin, Kind::Mthp64k, true),
            Some((3.0, 0.125))
        );
        let a_leaf = 1.0 / 512.0;
        assert_eq!(
            of(a_leaf, How::Get, Kind::Thp2m, false),
            Some((2.0 * a_leaf, a_leaf))
        );
        assert_eq!(Locked::of(None, How::Get, Kind::Anon4k, true), None);
    }
}
