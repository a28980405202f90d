// SPDX-License-Identifier: GPL-2.0

//! Tables of measurements.

use std::{
    fmt::Display,
    io, //
};

use super::report::{
    Outcome,
    Report,
    Row,
    Side, //
};
use crate::{
    compare::percent,
    machine::Machine,
    output::{
        Align,
        Format,
        Output,
        Table, //
    },
    sample::Cost,
    size, //
};

const COLUMNS: [(&str, Align); 18] = [
    ("kind", Align::Left),
    ("how", Align::Left),
    ("access", Align::Left),
    ("engine", Align::Left),
    ("bytes", Align::Right),
    ("a call", Align::Right),
    ("kernel", Align::Right),
    ("min", Align::Right),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("take", Align::Right),
    ("release", Align::Right),
    ("of array", Align::Right),
    ("fast", Align::Right),
    ("locked", Align::Right),
    ("irqs off", Align::Right),
    ("list", Align::Right),
    ("", Align::Left),
];

/// All values, under names without blanks.
const CSV_COLUMNS: [&str; 36] = [
    "kind",
    "how",
    "access",
    "engine",
    "bytes",
    "pages_per_call",
    "window_entries",
    "unit",
    "pages",
    "fast_pages",
    "rounds",
    "kernel_take_min",
    "kernel_take_p50",
    "kernel_take_p99",
    "kernel_release_min",
    "kernel_release_p50",
    "kernel_release_p99",
    "kernel_locked_a_page",
    "kernel_irqs_off_bound",
    "kernel_list_bytes",
    "kernel_ranges_release_min",
    "kernel_ranges_release_p50",
    "kernel_ranges_release_p99",
    "take_min",
    "take_p50",
    "take_p99",
    "release_min",
    "release_p50",
    "release_p99",
    "locked_a_page",
    "irqs_off_max",
    "list_bytes",
    "take_times_faster",
    "release_times_faster",
    "array_release_times_faster",
    "note",
];

/// Writes measurements as a table, and explains its numbers.
pub(crate) fn write_table(reports: &[&Report], output: &mut Output) -> io::Result<()> {
    if output.format == Format::Csv {
        let mut table = Table::new(&CSV_COLUMNS.map(|name| (name, Align::Left)));
        for report in reports {
            for row in &report.measurements {
                table.row(csv_cells(report, row));
            }
        }
        return output.table(&table);
    }
    for report in reports {
        let mut table = Table::new(&COLUMNS);
        for row in &report.measurements {
            table.row(cells(row));
        }
        if reports.len() > 1 {
            output.line(format!("\nWindows of {} entries:\n", report.window_entries))?;
        }
        output.table(&table)?;
    }
    let Some(report) = reports.first() else {
        return Ok(());
    };
    output.line(format!(
        "\n kernel; min, p50, p99: what it costs to take one page, in {}; of the kernel the median.\n\
         \x20take, release: how many times as fast as the kernel the engine is, by the medians; of the kernel's two ways \
         of releasing, an array or runs, the faster one. of array: the same, of the kernel's release of an array.\n\
         \x20locked: locked operations to take a page, of how many that the kernel needs; derived from the runs that \
         the module counts.\n\
         \x20irqs off: the longest window, of the longest call of the kernel's function, which bounds its section from \
         above; - if one entry served each call, which is not timed.\n\
         \x20list: bytes that the list of taken pages needs for one call, of those of the kernel's array.",
        report.machine.unit_explained()
    ))
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.kind.clone(),
        row.how.clone(),
        row.access.clone(),
        row.engine.clone(),
        size::format(row.len_bytes),
        row.pages_per_call.to_string(),
    ];
    match &row.outcome {
        Outcome::NotAvailable { reason } => {
            cells.extend(vec!["-".into(); COLUMNS.len() - cells.len() - 1]);
            cells.push(format!("not available: {reason}"));
        }
        Outcome::Measured {
            nr_pages,
            nr_fast,
            kernel,
            other,
            ..
        } => {
            let locked = match (other.locked_a_page, kernel.locked_a_page) {
                (Some(other), Some(kernel)) => of(format!("{other:.3}"), format!("{kernel:.3}")),
                _ => "-".into(),
            };
            cells.extend([
                cost(kernel.take.median),
                cost(other.take.min),
                cost(other.take.median),
                cost(other.take.p99),
                times(row.take_ratio()),
                times(row.release_ratio()),
                times(row.array_release_ratio()),
                percent(*nr_fast, *nr_pages),
                locked,
                match other.irqs_off_cycles {
                    0 => "-".into(),
                    cycles => of(cycles, kernel.irqs_off_cycles),
                },
                of(
                    size::format(other.bookkeeping_bytes),
                    size::format(kernel.bookkeeping_bytes),
                ),
                String::new(),
            ]);
        }
    }
    cells
}

fn csv_cells(report: &Report, row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.kind.clone(),
        row.how.clone(),
        row.access.clone(),
        row.engine.clone(),
        row.len_bytes.to_string(),
        row.pages_per_call.to_string(),
        report.window_entries.to_string(),
        report.machine.unit.name().into(),
    ];
    match &row.outcome {
        Outcome::NotAvailable { reason } => {
            cells.resize(CSV_COLUMNS.len() - 1, String::new());
            cells.push(reason.clone());
        }
        Outcome::Measured {
            nr_pages,
            nr_fast,
            nr_rounds,
            kernel,
            other,
            ..
        } => {
            cells.extend([
                nr_pages.to_string(),
                nr_fast.to_string(),
                nr_rounds.to_string(),
            ]);
            let by_runs = row.kernel_ranges_release();
            cells.extend(csv_side(kernel));
            cells.extend(by_runs.map_or_else(|| [const { String::new() }; 3], csv_cost));
            cells.extend(csv_side(other));
            cells.extend(
                [
                    row.take_ratio(),
                    row.release_ratio(),
                    row.array_release_ratio(),
                ]
                .map(|ratio| ratio.map_or(String::new(), |r| format!("{r:.3}"))),
            );
            cells.push(String::new());
        }
    }
    cells
}

fn csv_cost(cost: Cost) -> [String; 3] {
    [cost.min, cost.median, cost.p99].map(|value| format!("{value:.3}"))
}

fn csv_side(side: &Side) -> [String; 9] {
    let [take_min, take_median, take_p99] = csv_cost(side.take);
    let [release_min, release_median, release_p99] = csv_cost(side.release);
    [
        take_min,
        take_median,
        take_p99,
        release_min,
        release_median,
        release_p99,
        side.locked_a_page
            .map_or(String::new(), |locked| format!("{locked:.5}")),
        side.irqs_off_cycles.to_string(),
        side.bookkeeping_bytes.to_string(),
    ]
}

/// Writes a table for rows that only differ in the kind of memory.
pub(crate) fn write_short_table(
    rows: &[Row],
    machine: &Machine,
    output: &mut Output,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("kind", Align::Left),
        ("bytes", Align::Right),
        ("pages", Align::Right),
        ("kernel", Align::Right),
        ("rust", Align::Right),
        ("take", Align::Right),
        ("release", Align::Right),
        ("fast", Align::Right),
        ("", Align::Left),
    ]);
    for row in rows {
        let cells = match &row.outcome {
            Outcome::NotAvailable { reason } => {
                let mut cells = vec!["-".into(); 7];
                cells.push(format!("not available: {reason}"));
                cells
            }
            Outcome::Measured {
                nr_pages,
                nr_fast,
                kernel,
                other,
                ..
            } => vec![
                size::format(row.len_bytes),
                nr_pages.to_string(),
                cost(kernel.take.median),
                cost(other.take.median),
                times(row.take_ratio()),
                times(row.release_ratio()),
                percent(*nr_fast, *nr_pages),
                String::new(),
            ],
        };
        table.row([vec![row.kind.clone()], cells].concat());
    }
    output.table(&table)?;
    output.line(format!(
        "\n kernel, rust: what it costs to take one page, in {}: medians.\n\
         \x20take, release: how many times as fast as the kernel the walk in Rust is; of the kernel's two ways of \
         releasing, an array or runs, the faster one.",
        machine.unit_explained()
    ))
}

fn cost(cost: f64) -> String {
    format!("{cost:.1}")
}

/// Formats the engine's number and the kernel's.
fn of(ours: impl Display, theirs: impl Display) -> String {
    format!("{ours} of {theirs}")
}

/// Formats how many times as fast the engine is, if the ratio is known.
fn times(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.2}x"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::tests::{
            report,
            row, //
        },
        *,
    };

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let measured = row(("anon-4k", "pin", "rust"), 1 << 21, 512, [240.0, 60.0]);
        let mut absent = measured.clone();
        absent.outcome = Outcome::NotAvailable {
            reason: "none".into(),
        };
        let report = report(256, Vec::new());
        for row in [measured, absent] {
            assert_eq!(cells(&row).len(), COLUMNS.len());
            assert_eq!(csv_cells(&report, &row).len(), CSV_COLUMNS.len());
        }
    }

    #[test]
    fn cells_stand_under_their_names() {
        let row = row(("anon-4k", "pin", "rust"), 1 << 21, 512, [240.0, 60.0]);
        let cells = csv_cells(&report(256, Vec::new()), &row);
        let cell = |name| {
            let column = CSV_COLUMNS.iter().position(|column| *column == name);
            cells[column.expect("there is such a column")].as_str()
        };
        assert_eq!(cell("kernel_take_p50"), "240.000");
        assert_eq!(cell("take_p50"), "60.000");
        assert_eq!(cell("release_p99"), "120.000");
        assert_eq!(cell("list_bytes"), "8");
        assert_eq!(cell("take_times_faster"), "4.000");
        assert_eq!(cell("kernel_ranges_release_p50"), "120.000");
        assert_eq!(cell("release_times_faster"), "2.000");
        assert_eq!(cell("array_release_times_faster"), "4.000");
        assert_eq!(cell("window_entries"), "256");
        assert_eq!(cell("note"), "");
    }
}
