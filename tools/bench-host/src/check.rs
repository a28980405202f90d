// SPDX-License-Identifier: GPL-2.0

//! Compares the instructions that the kernel's code executes here with those in a virtual machine.

use std::{
    fs,
    path::Path, //
};

use anyhow::{
    ensure,
    Context,
    Result, //
};
use serde::Deserialize;

use crate::report::Row;

/// The most that the two may differ.
const TOLERANCE: f64 = 0.03;

/// The parts of a report of `gupctl bench` that matter here.
#[derive(Deserialize)]
struct Report {
    machine: Machine,
    measurements: Vec<Measurement>,
}

#[derive(Deserialize)]
struct Machine {
    unit: String,
}

#[derive(Deserialize)]
struct Measurement {
    kind: String,
    how: String,
    pages_per_call: u64,
    kernel: Option<Side>,
}

#[derive(Deserialize)]
struct Side {
    take: Cost,
}

#[derive(Deserialize)]
struct Cost {
    median: f64,
}

/// Reads the reports of `gupctl bench`: how many instructions a page the kernel's function executes.
pub(crate) struct Reports(Vec<Measurement>);

impl Reports {
    /// Reads a file of reports.
    ///
    /// # Errors
    ///
    /// Also if the virtual machine did not count instructions.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut all = Vec::new();
        for report in serde_json::Deserializer::from_str(text).into_iter::<Report>() {
            let report = report?;
            ensure!(
                report.machine.unit == "instructions",
                "the virtual machine did not count instructions"
            );
            all.extend(report.measurements);
        }
        Ok(Self(all))
    }

    /// Returns a sentence if a row differs from the reports.
    ///
    /// # Errors
    ///
    /// If the reports do not have the row.
    pub(crate) fn difference(&self, row: &Row) -> Result<Option<String>> {
        let of_row = |measurement: &&Measurement| {
            measurement.kind == row.kind
                && measurement.how == row.how
                && measurement.pages_per_call == row.pages_per_call
        };
        let measurement = self.0.iter().find(of_row);
        let side = measurement.and_then(|measurement| measurement.kernel.as_ref());
        let there = side
            .with_context(|| format!("the virtual machine did not measure {}", row.name))?
            .take
            .median;
        let here = row.kernel_instructions;
        let agree = (here / there - 1.0).abs() <= TOLERANCE;
        Ok((!agree).then(|| {
            format!(
                "{}: the kernel's code executes {here:.1} instructions a page here, and {there:.1} \
                 in the virtual machine",
                row.name
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Caches,
        plan, //
    };

    /// Returns the row that has one page a call, with this number of instructions.
    fn row(instructions: f64) -> Row {
        let samples = [vec![1.0], vec![1.0]];
        let job = plan::jobs(Caches::SMALL, 1)[0];
        Row::new(job, &samples, [instructions, 1.0])
    }

    fn report(kind: &str, unit: &str) -> String {
        format!(
            r#"{{"machine": {{"unit": "{unit}", "cpus": 1}}, "measurements": [{{"kind": "{kind}",
                "how": "get", "pages_per_call": 1, "kernel": {{"take": {{"median": 100.0}}}}}}]}}"#
        )
    }

    #[test]
    fn three_percent_are_allowed() {
        let reports = Reports::parse(&report("anon-4k", "instructions")).expect("it is a report");
        for (instructions, differs) in [
            (100.0, false),
            (102.9, false),
            (97.1, false),
            (103.1, true),
            (96.9, true),
            (f64::NAN, true),
        ] {
            let difference = reports.difference(&row(instructions));
            let difference = difference.expect("it can be compared");
            assert_eq!(difference.is_some(), differs, "{instructions}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_compared_is_an_error() {
        for text in [report("thp-2m", "instructions"), String::new()] {
            let reports = Reports::parse(&text).expect("these are reports");
            assert!(reports.difference(&row(100.0)).is_err());
        }
        assert!(Reports::parse(&report("anon-4k", "tsc-cycles")).is_err());
    }
}
