// SPDX-License-Identifier: GPL-2.0

//! The results: as values for JSON, and as a table.

use comfy_table::{
    presets,
    CellAlignment,
    Table, //
};
use serde::Serialize;

use crate::{
    cpu::Caches,
    plan::{
        Job,
        Operation,
        Threads, //
    },
};

/// The median of many rounds, and the band that holds four fifths of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Band {
    pub(crate) p10: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
}

impl Band {
    /// Returns the band of some numbers; there must be at least one.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable_by(f64::total_cmp);
        // Between two numbers, the value lies in proportion.
        let at = |percent: usize| {
            let place = (numbers.len() - 1) * percent;
            let (below, above) = (numbers[place / 100], numbers[place.div_ceil(100)]);
            below + (above - below) * (place % 100) as f64 / 100.0
        };
        Self {
            p10: at(10),
            median: at(50),
            p90: at(90),
        }
    }
}

/// One row. Times are nanoseconds a page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) order: &'static str,
    pub(crate) memory: &'static str,
    pub(crate) how: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) pages_per_call: u64,
    pub(crate) nr_threads: usize,
    pub(crate) same_memory: bool,
    pub(crate) nr_rounds: usize,
    pub(crate) kernel_ns: Band,
    pub(crate) rust_ns: Band,
    /// One locked operation a folio.
    pub(crate) floor_ns: Option<Band>,
    /// The same with prefetching.
    pub(crate) floor_prefetch_ns: Option<Band>,
    /// The kernel's release by ranges.
    pub(crate) kernel_ranges_ns: Option<Band>,
    /// Whether that is the faster one of the kernel's two ways.
    pub(crate) ranges_are_faster: bool,
    /// How many times as fast as the kernel the module is, round by round. When pages are released, the faster one of
    /// the kernel's two ways counts.
    pub(crate) ratio: Band,
    pub(crate) kernel_instructions: f64,
    pub(crate) rust_instructions: f64,
}

impl Row {
    /// Makes a row of the samples of the contestants: the kernel and the module, and then both floors, the kernel's
    /// release by ranges, or nothing.
    pub(crate) fn new(job: Job, samples: &[Vec<f64>], instructions: [f64; 2]) -> Self {
        let band = |i: usize| samples.get(i).map(|samples| Band::of(samples));
        let takes = job.operation == Operation::Take;
        let (kernel_ns, rust_ns) = (Band::of(&samples[0]), Band::of(&samples[1]));
        let kernel_ranges_ns = band(2).filter(|_| !takes);
        let ranges_are_faster =
            kernel_ranges_ns.is_some_and(|ranges| ranges.median < kernel_ns.median);
        let best = &samples[if ranges_are_faster { 2 } else { 0 }];
        let rounds = best.iter().zip(&samples[1]);
        let ratios: Vec<_> = rounds.map(|(kernel, rust)| kernel / rust).collect();
        Self {
            name: job.name(),
            kind: job.shape.kind.name(),
            order: job.shape.order.name(),
            memory: job.warmth.name(),
            how: job.how.name(),
            operation: job.operation.name(),
            pages_per_call: job.pages_per_call,
            nr_threads: job.threads.nr(),
            same_memory: matches!(job.threads, Threads::Same(_)),
            nr_rounds: samples[0].len(),
            kernel_ns,
            rust_ns,
            floor_ns: band(2).filter(|_| takes),
            floor_prefetch_ns: band(3),
            kernel_ranges_ns,
            ranges_are_faster,
            ratio: Band::of(&ratios),
            kernel_instructions: instructions[0],
            rust_instructions: instructions[1],
        }
    }
}

/// All results.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) caches: Caches,
    /// The CPUs of the host, one for each thread.
    pub(crate) cpus: Vec<usize>,
    pub(crate) rows: Vec<Row>,
}

const HEADER: [&str; 14] = [
    "kind",
    "frames",
    "memory",
    "operation",
    "how",
    "a call",
    "threads",
    "floor",
    "prefetched",
    "kernel",
    "rust",
    "times",
    "band",
    "instructions",
];

/// Returns what a row of the table says.
fn cells(row: &Row) -> [String; HEADER.len()] {
    let ns = |band: Option<Band>| band.map_or("-".to_owned(), |band| number(band.median));
    let kernel = match row.kernel_ranges_ns {
        Some(ranges) if row.ranges_are_faster => ranges,
        _ => row.kernel_ns,
    };
    let Band { p10, median, p90 } = row.ratio;
    let (nr_threads, same) = (row.nr_threads, row.same_memory);
    [
        row.kind.to_owned(),
        row.order.to_owned(),
        row.memory.to_owned(),
        row.operation.to_owned(),
        row.how.to_owned(),
        row.pages_per_call.to_string(),
        format!("{nr_threads}{}", if same { " on the same" } else { "" }),
        ns(row.floor_ns),
        ns(row.floor_prefetch_ns),
        ns(Some(kernel)),
        ns(Some(row.rust_ns)),
        format!("{median:.2}"),
        format!("{p10:.2}-{p90:.2}"),
        format!(
            "{:.1} / {:.1}",
            row.kernel_instructions, row.rust_instructions
        ),
    ]
}

/// Returns the table for people.
pub(crate) fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(HEADER);
    for row in &report.rows {
        table.add_row(cells(row));
    }
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns the table as CSV. No cell has a comma.
pub(crate) fn csv(report: &Report) -> String {
    let mut csv = HEADER.join(",") + "\n";
    for row in &report.rows {
        csv += &(cells(row).join(",") + "\n");
    }
    csv
}

/// Formats a number with about three digits.
fn number(number: f64) -> String {
    let digits = if number < 1.0 {
        3
    } else if number < 10.0 {
        2
    } else {
        1
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    #[test]
    fn a_band_holds_four_fifths() {
        let band = Band::of(&[10.0, 0.0, 5.0, 9.0, 1.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0]);
        assert_eq!((band.p10, band.median, band.p90), (1.0, 5.0, 9.0));
        let band = Band::of(&[3.0]);
        assert_eq!((band.p10, band.median, band.p90), (3.0, 3.0, 3.0));
        let band = Band::of(&[1.0, 2.0]);
        assert_eq!((band.p10, band.median, band.p90), (1.1, 1.5, 1.9));
    }

    /// Returns the first row with this operation.
    fn job(operation: Operation) -> Job {
        let mut jobs = plan::jobs(Caches::SMALL, 1).into_iter();
        jobs.find(|job| job.operation == operation)
            .expect("there is one")
    }

    #[test]
    fn a_release_is_measured_against_the_faster_way() {
        let row = |ranges| {
            let samples = [vec![4.0; 3], vec![1.0; 3], vec![ranges; 3]];
            Row::new(job(Operation::Release), &samples, [0.0; 2])
        };
        assert_eq!(row(2.0).ratio.median, 2.0);
        assert_eq!(row(8.0).ratio.median, 4.0);
        assert!(row(2.0).floor_ns.is_none() && row(2.0).kernel_ranges_ns.is_some());
    }

    #[test]
    fn the_table_has_a_cell_for_each_column() {
        let samples = [vec![4.0], vec![1.0], vec![0.5], vec![0.25]];
        let row = Row::new(job(Operation::Take), &samples, [100.0, 50.0]);
        assert_eq!(row.floor_prefetch_ns.map(|band| band.median), Some(0.25));
        let report = Report {
            kernel: String::new(),
            processor: String::new(),
            caches: Caches::SMALL,
            cpus: vec![0],
            rows: vec![row],
        };
        let csv = csv(&report);
        assert!(
            csv.contains(",4.00,1.00,4.00,4.00-4.00,100.0 / 50.0\n"),
            "{csv}"
        );
        assert!(csv
            .lines()
            .all(|line| line.split(',').count() == HEADER.len()));
        assert!(table(&report).to_string().contains("4.00-4.00"));
    }
}
