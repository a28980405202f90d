// SPDX-License-Identifier: GPL-2.0

//! Statistics over the rounds of a measurement.

use rust_gup_uapi::Measured;
use serde::{
    Deserialize,
    Serialize, //
};

/// Cost of one page, over all rounds.
///
/// The middle is a median and not a mean, because interrupts can only add to the cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Cost {
    /// Computes the cost from the given rounds. There must be at least one.
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        Self {
            min: rounds[0],
            median: median(&rounds),
            p99: percentile(&rounds, 99),
        }
    }
}

/// Costs of one page with each of two engines.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Costs {
    pub(crate) take_a: Cost,
    pub(crate) take_b: Cost,
    pub(crate) release_a: Cost,
    pub(crate) release_b: Cost,
}

impl Costs {
    /// Computes the costs without the cost of the measurement itself. Returns `None` if there is no round or no page.
    pub(crate) fn of(measured: &[Measured]) -> Option<Self> {
        let per_page = |field: fn(&rust_gup_uapi::raw::rust_gup_sample) -> u64| {
            let mut rounds = Vec::new();
            for Measured { raw, samples } in measured {
                let nr_calls = raw.nr_pages.div_ceil(u64::from(raw.pages_per_call.max(1)));
                let overhead = raw.overhead_cycles.saturating_mul(nr_calls);
                rounds.extend(
                    samples
                        .iter()
                        .map(|sample| ratio(field(sample).saturating_sub(overhead), raw.nr_pages)),
                );
            }
            (!rounds.is_empty() && rounds.iter().all(|round| round.is_finite()))
                .then(|| Cost::of(rounds))
        };
        Some(Self {
            take_a: per_page(|sample| sample.take_a)?,
            take_b: per_page(|sample| sample.take_b)?,
            release_a: per_page(|sample| sample.release_a)?,
            release_b: per_page(|sample| sample.release_b)?,
        })
    }
}

/// Divides one count by another.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^53, and this is for people to read"
)]
pub(crate) fn ratio(dividend: u64, divisor: u64) -> f64 {
    dividend as f64 / divisor as f64
}

/// Returns the median of sorted numbers. There must be at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 0 {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

/// Returns the smallest of the sorted numbers that at least `percent` percent of them do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_gup_uapi::raw::{
        rust_gup_measure,
        rust_gup_sample, //
    };

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[1.0]), 1.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn percentiles_are_numbers_that_occurred() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99), 99.0);
        assert_eq!(percentile(&hundred[..10], 99), 10.0);
        assert_eq!(percentile(&[7.0], 99), 7.0);
    }

    #[test]
    fn the_measurement_itself_is_subtracted_once_a_call() {
        let measured = Measured {
            raw: rust_gup_measure {
                nr_pages: 10,
                pages_per_call: 4,
                overhead_cycles: 20,
                ..Default::default()
            },
            samples: vec![rust_gup_sample {
                take_a: 160,
                take_b: 60,
                release_a: 59,
                release_b: 1060,
            }],
        };
        let costs = Costs::of(&[measured]).expect("there is a round");
        assert_eq!(costs.take_a.median, 10.0);
        assert_eq!(costs.take_b.median, 0.0);
        assert_eq!(costs.release_a.median, 0.0);
        assert_eq!(costs.release_b.p99, 100.0);
        assert!(Costs::of(&[]).is_none());
    }
}
