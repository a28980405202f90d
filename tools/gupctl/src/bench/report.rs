// SPDX-License-Identifier: GPL-2.0

//! The results of a run of the benchmark.

use std::io;

use serde::{
    Deserialize,
    Serialize, //
};

use super::measure::Plan;
use crate::{
    machine::Machine,
    sample::Cost, //
};

/// One run of the benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) pinned_to_cpu: usize,
    pub(crate) cycles_khz: u64,
    pub(crate) window_entries: u32,
    pub(crate) plan: Plan,
    pub(crate) measurements: Vec<Row>,
}

/// Costs of one engine for each page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) take: Cost,
    pub(crate) release: Cost,
    pub(crate) bookkeeping_bytes: u64,
    /// Longest section with interrupts off. For the kernel this is the longest call, which contains the section.
    pub(crate) irqs_off_cycles: u64,
    pub(crate) locked_a_page: Option<f64>,
}

/// The outcome of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The machine cannot make memory of this kind, or the module cannot take it.
    NotAvailable { reason: String },
    /// The engines were measured.
    Measured {
        nr_pages: u64,
        nr_fast: u64,
        nr_rounds: usize,
        overhead_cycles: u64,
        kernel: Side,
        /// The kernel's cost of releasing by runs instead of an array.
        #[serde(default)]
        kernel_ranges_release: Option<Cost>,
        other: Side,
    },
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) len_bytes: u64,
    pub(crate) how: String,
    pub(crate) access: String,
    pub(crate) engine: String,
    pub(crate) pages_per_call: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

impl Row {
    pub(crate) fn is_measured(&self) -> bool {
        self.sides().is_some()
    }

    /// Returns the kernel's side and the other side.
    pub(crate) fn sides(&self) -> Option<(&Side, &Side)> {
        match &self.outcome {
            Outcome::Measured { kernel, other, .. } => Some((kernel, other)),
            Outcome::NotAvailable { .. } => None,
        }
    }

    /// Returns whether one call took the whole range.
    pub(crate) fn is_one_call(&self) -> bool {
        match self.outcome {
            Outcome::Measured { nr_pages, .. } => u64::from(self.pages_per_call) >= nr_pages,
            Outcome::NotAvailable { .. } => false,
        }
    }

    /// Returns whether the calls took this number of pages, or one call took a range that has fewer.
    pub(crate) fn is_in_calls_of(&self, pages_per_call: u32) -> bool {
        self.pages_per_call == pages_per_call
            || self.pages_per_call < pages_per_call && self.is_one_call()
    }

    /// Returns how many times as fast as the kernel the engine takes pages.
    pub(crate) fn take_ratio(&self) -> Option<f64> {
        let (kernel, other) = self.sides()?;
        finite(kernel.take.median / other.take.median)
    }

    /// Returns the kernel's cost of releasing by runs, if it was measured.
    pub(crate) fn kernel_ranges_release(&self) -> Option<Cost> {
        match &self.outcome {
            Outcome::Measured {
                kernel_ranges_release,
                ..
            } => *kernel_ranges_release,
            Outcome::NotAvailable { .. } => None,
        }
    }

    /// Returns how many times as fast the engine releases pages as the kernel does in its faster way: as an array, or
    /// by runs.
    pub(crate) fn release_ratio(&self) -> Option<f64> {
        let (kernel, other) = self.sides()?;
        let of_array = kernel.release.median;
        let by_runs = self.kernel_ranges_release();
        let fastest = by_runs.map_or(of_array, |cost| of_array.min(cost.median));
        finite(fastest / other.release.median)
    }

    /// Returns how many times as fast the engine releases pages as the kernel releases an array.
    pub(crate) fn array_release_ratio(&self) -> Option<f64> {
        let (kernel, other) = self.sides()?;
        finite(kernel.release.median / other.release.median)
    }
}

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

/// A document that `gupctl --json bench` or `gupctl --json report` has written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Report(Box<Report>),
    Collection { reports: Vec<Report> },
}

/// Reads reports from consecutive documents.
pub(crate) fn read(from: impl io::Read) -> io::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for document in serde_json::Deserializer::from_reader(from).into_iter() {
        match document? {
            Document::Report(report) => reports.push(*report),
            Document::Collection { reports: more } => reports.extend(more),
        }
    }
    Ok(reports)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::machine::Unit;

    /// Makes a measurement with these costs for each page.
    pub(crate) fn row(
        (kind, how, engine): (&str, &str, &str),
        len_bytes: u64,
        pages_per_call: u32,
        [kernel, other]: [f64; 2],
    ) -> Row {
        let cost = |cost: f64| Cost {
            min: cost,
            median: cost,
            p99: 2.0 * cost,
        };
        let side = |of: f64| Side {
            take: cost(of),
            release: cost(of),
            bookkeeping_bytes: 8,
            irqs_off_cycles: 100,
            locked_a_page: Some(1.0),
        };
        Row {
            kind: kind.into(),
            len_bytes,
            how: how.into(),
            access: "write".into(),
            engine: engine.into(),
            pages_per_call,
            outcome: Outcome::Measured {
                nr_pages: len_bytes / 4096,
                nr_fast: len_bytes / 4096,
                nr_rounds: 4,
                overhead_cycles: 0,
                kernel: side(kernel),
                // Half of what an array costs.
                kernel_ranges_release: Some(cost(kernel / 2.0)),
                other: side(other),
            },
        }
    }

    /// Makes a report of these measurements.
    pub(crate) fn report(window_entries: u32, measurements: Vec<Row>) -> Report {
        Report {
            machine: Machine {
                kernel: "7.2".into(),
                arch: "x86_64".into(),
                cpu: "none".into(),
                nr_cpus: 1,
                hypervisor: true,
                unit: Unit::Instructions,
            },
            pinned_to_cpu: 0,
            cycles_khz: 0,
            window_entries,
            plan: Plan {
                rounds: 4,
                warm_up: 1,
                seconds: 1.0,
            },
            measurements,
        }
    }

    #[test]
    fn reports_come_back_as_they_went_out() {
        let mut absent = row(("hugetlb-1g", "get", "rust"), 1 << 30, 512, [1.0, 1.0]);
        absent.outcome = Outcome::NotAvailable {
            reason: "none".into(),
        };
        let rows = vec![
            row(("anon-4k", "get", "rust"), 4096, 1, [180.0, 60.0]),
            absent,
        ];
        let text = serde_json::to_string(&report(256, rows)).expect("it can be written");
        // A serial line turns each line end into two characters, and a collection holds several reports.
        let collection = format!("{{\"figures\": [], \"reports\": [{text}, {text}]}}");
        let read = read(format!("{text}\r\n{text}\r\n{collection}\n").as_bytes());
        let read = read.expect("it can be read");
        assert_eq!(read.len(), 4);
        for report in &read {
            assert_eq!(report.measurements.len(), 2);
            assert_eq!(report.measurements[0].take_ratio(), Some(3.0));
            assert!(!report.measurements[1].is_measured());
            assert_eq!(report.machine.unit, Unit::Instructions);
        }
    }

    #[test]
    fn releases_are_compared_with_the_kernels_faster_way() {
        let mut row = row(("thp-2m", "pin", "rust"), 1 << 21, 512, [180.0, 60.0]);
        assert_eq!(row.release_ratio(), Some(1.5));
        assert_eq!(row.array_release_ratio(), Some(3.0));
        let slower = row.sides().map(|(kernel, _)| Cost {
            median: 200.0,
            ..kernel.release
        });
        if let Outcome::Measured {
            kernel_ranges_release,
            ..
        } = &mut row.outcome
        {
            *kernel_ranges_release = slower;
        }
        assert_eq!(row.release_ratio(), Some(3.0));
    }

    #[test]
    fn calls_take_as_many_pages_as_there_are() {
        let row = |len_bytes, pages_per_call| {
            row(
                ("anon-4k", "get", "rust"),
                len_bytes,
                pages_per_call,
                [2.0, 1.0],
            )
        };
        assert!(row(1 << 21, 512).is_one_call() && row(1 << 21, 512).is_in_calls_of(512));
        assert!(row(1 << 16, 16).is_one_call() && row(1 << 16, 16).is_in_calls_of(512));
        assert!(!row(1 << 21, 1).is_one_call() && !row(1 << 21, 1).is_in_calls_of(512));
        assert!(row(1 << 21, 1).is_in_calls_of(1));
    }

    #[test]
    fn reports_without_an_architecture_are_of_the_first_one() {
        let text = serde_json::to_string(&report(256, Vec::new())).expect("it can be written");
        let old = text.replace("\"arch\":\"x86_64\",", "");
        assert_ne!(old, text);
        let read = read(old.as_bytes()).expect("it can be read");
        assert!(read[0].machine.is_x86_64());
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(read(&b"{\"measurements\": 7}"[..]).is_err());
        assert!(read(&b"{\"reports\": [{}]}"[..]).is_err());
        assert!(read(&b""[..]).is_ok_and(|reports| reports.is_empty()));
    }
}
