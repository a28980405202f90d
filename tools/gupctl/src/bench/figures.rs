// SPDX-License-Identifier: GPL-2.0

//! The figures that rust_gup is meant to reach, and the values that it does reach.

use std::io;

use rust_gup_memory::Kind;
use rust_gup_uapi::{
    Engine,
    How, //
};
use serde::Serialize;

use super::{
    measure::WHOLE_RANGE,
    report::{
        Report,
        Row, //
    }, //
};
use crate::{
    machine::Unit,
    output::{
        Align,
        Output,
        Table, //
    },
    size, //
};

/// Size at which the engines are compared.
const SIZE_BYTES: u64 = 2 << 20;
/// Size at which the time with interrupts off matters.
const LONG_BYTES: u64 = 1 << 30;
/// The largest window that the module can be loaded with. In practice it is no limit.
const UNBOUNDED_WINDOW: u32 = 65536;

/// The quantity that a figure gives.
#[derive(Clone, Copy, Debug)]
enum Quantity {
    /// The kernel's cost of taking a page, divided by the engine's.
    Take {
        kind: Kind,
        engine: Engine,
        pages_per_call: u32,
    },
    /// The kernel's cost of releasing a page, by the faster of its two ways, divided by the engine's cost with runs:
    /// the worst ratio of all measurements.
    ReleaseOfAll,
    /// The same ratio: the worst one of large folios that are taken as a whole.
    ReleaseOfLarge,
    /// The same ratio for large folios, but with the kernel's cost of releasing an array.
    ArrayReleaseOfLarge,
    /// The kernel's longest call, divided by the engine's longest section with interrupts off.
    IrqsOff,
    /// Size of the list of runs for 1 GiB in folios of 2 MiB, in KiB.
    ListBytes,
    /// By how many percent bounded windows are slower than unbounded ones.
    WindowCost,
}

/// The value that a figure is meant to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// No particular value; the figure is for information.
    Nothing,
}

struct Figure {
    name: &'static str,
    quantity: Quantity,
    get: Wanted,
    pin: Wanted,
}

const fn take(
    name: &'static str,
    kind: Kind,
    engine: Engine,
    pages_per_call: u32,
    wanted: Option<[f64; 2]>,
) -> Figure {
    let (get, pin) = match wanted {
        Some([get, pin]) => (Wanted::AtLeast(get), Wanted::AtLeast(pin)),
        None => (Wanted::Nothing, Wanted::Nothing),
    };
    Figure {
        name,
        quantity: Quantity::Take {
            kind,
            engine,
            pages_per_call,
        },
        get,
        pin,
    }
}

const fn both(name: &'static str, quantity: Quantity, wanted: Wanted) -> Figure {
    Figure {
        name,
        quantity,
        get: wanted,
        pin: wanted,
    }
}

/// All figures, with their thresholds for GET and PIN, which are for x86-64.
const FIGURES: [Figure; 14] = [
    take(
        "4 KiB folios",
        Kind::Anon4k,
        Engine::Rust,
        512,
        Some([2.95, 3.9]),
    ),
    take(
        "4 KiB folios, scattered",
        Kind::Anon4kScattered,
        Engine::Rust,
        512,
        None,
    ),
    take(
        "64 KiB folios mapped by PTEs",
        Kind::Mthp64k,
        Engine::Rust,
        512,
        Some([7.5, 10.0]),
    ),
    take(
        "2 MiB folios mapped by PTEs",
        Kind::Thp2mSplit,
        Engine::Rust,
        512,
        Some([14.0, 17.5]),
    ),
    take(
        "2 MiB by PMD, page array",
        Kind::Thp2m,
        Engine::RustPages,
        512,
        Some([2.9, 2.8]),
    ),
    take(
        "2 MiB by PMD, runs",
        Kind::Thp2m,
        Engine::Rust,
        512,
        Some([20.0, 17.0]),
    ),
    take(
        "one page a call",
        Kind::Anon4k,
        Engine::Rust,
        1,
        Some([2.7, 2.4]),
    ),
    take(
        "4 KiB folios, page array",
        Kind::Anon4k,
        Engine::RustPages,
        512,
        None,
    ),
    both(
        "release, worst of all",
        Quantity::ReleaseOfAll,
        Wanted::AtLeast(1.0),
    ),
    both(
        "release, worst of large folios",
        Quantity::ReleaseOfLarge,
        Wanted::AtLeast(1.0),
    ),
    // A pinned folio takes two locked operations, which are the limit in time: see Documentation/performance.rst.
    Figure {
        name: "release of an array, worst of large folios",
        quantity: Quantity::ArrayReleaseOfLarge,
        get: Wanted::AtLeast(10.0),
        pin: Wanted::AtLeast(6.5),
    },
    both(
        "list of 1 GiB in folios of 2 MiB",
        Quantity::ListBytes,
        Wanted::AtMost(8.0),
    ),
    both(
        "interrupts off, 1 GiB of 4 KiB pages",
        Quantity::IrqsOff,
        Wanted::AtLeast(1000.0),
    ),
    both(
        "cost of bounded windows, the same",
        Quantity::WindowCost,
        Wanted::AtMost(3.0),
    ),
];

/// A figure with the value that was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Evaluated {
    pub(crate) figure: &'static str,
    pub(crate) how: &'static str,
    pub(crate) reached: Option<f64>,
    pub(crate) wanted: Option<f64>,
    /// Whether the figure was reached, if it has a threshold and was measured.
    pub(crate) is_reached: Option<bool>,
    pub(crate) unit: &'static str,
    pub(crate) detail: String,
}

/// A measurement, and the run of the benchmark in which it was made.
#[derive(Clone, Copy)]
struct Point<'a> {
    report: &'a Report,
    row: &'a Row,
}

impl Point<'_> {
    fn is_bounded(&self) -> bool {
        self.report.window_entries < UNBOUNDED_WINDOW
    }

    fn is(&self, kind: Kind, engine: Engine, len_bytes: u64, pages_per_call: u32) -> bool {
        self.row.kind == kind.name()
            && self.row.engine == engine.name()
            && self.row.len_bytes == len_bytes
            && self.row.is_in_calls_of(pages_per_call)
    }

    /// Returns whether one call took 1 GiB of base pages.
    fn is_long(&self) -> bool {
        self.is_long_of(Kind::Anon4k)
    }

    /// Returns whether one call took 1 GiB of a kind.
    fn is_long_of(&self, kind: Kind) -> bool {
        self.is(kind, Engine::Rust, LONG_BYTES, WHOLE_RANGE)
    }

    /// Returns whether large folios were taken as a whole.
    fn is_of_large_folios(&self) -> bool {
        let kind = self.row.kind.parse::<Kind>();
        kind.is_ok_and(|kind| {
            kind.has_large_folios() && self.is(kind, Engine::Rust, SIZE_BYTES, 512)
        })
    }

    fn name(&self) -> String {
        let Row {
            kind,
            len_bytes,
            pages_per_call,
            ..
        } = self.row;
        format!(
            "{kind}, {} in calls of {pages_per_call}",
            size::format(*len_bytes)
        )
    }
}

/// Returns whether the thresholds hold for these runs.
fn have_thresholds(reports: &[&Report]) -> bool {
    reports.iter().all(|report| report.machine.is_x86_64())
}

/// Evaluates all figures on these runs.
pub(crate) fn evaluate(reports: &[&Report]) -> Vec<Evaluated> {
    let have_thresholds = have_thresholds(reports);
    let mut evaluated = Vec::new();
    for figure in &FIGURES {
        for (how, wanted) in [(How::Get, figure.get), (How::Pin, figure.pin)] {
            let wanted = if have_thresholds {
                wanted
            } else {
                Wanted::Nothing
            };
            let points: Vec<_> = reports
                .iter()
                .flat_map(|report| {
                    report
                        .measurements
                        .iter()
                        .map(move |row| Point { report, row })
                })
                .filter(|Point { row, .. }| {
                    row.is_measured() && row.how == how.name() && row.access == "write"
                })
                .collect();
            let reached = figure.quantity.reached(&points);
            let (threshold, is_met): (_, fn(f64, f64) -> bool) = match wanted {
                Wanted::AtLeast(threshold) => {
                    (Some(threshold), |reached, wanted| reached >= wanted)
                }
                Wanted::AtMost(threshold) => (Some(threshold), |reached, wanted| reached <= wanted),
                Wanted::Nothing => (None, |_, _| true),
            };
            evaluated.push(Evaluated {
                figure: figure.name,
                how: how.name(),
                reached: reached.as_ref().map(|(reached, _)| *reached),
                wanted: threshold,
                is_reached: threshold
                    .zip(reached.as_ref())
                    .map(|(threshold, (reached, _))| is_met(*reached, threshold)),
                unit: figure.quantity.unit(),
                detail: reached.map_or("not measured".into(), |(_, detail)| detail),
            });
        }
    }
    evaluated
}

impl Quantity {
    fn unit(self) -> &'static str {
        match self {
            Self::WindowCost => " %",
            Self::ListBytes => " KiB",
            _ => "x",
        }
    }

    /// Returns the value of the quantity, and where it comes from.
    fn reached(self, points: &[Point<'_>]) -> Option<(f64, String)> {
        let bounded = || points.iter().filter(|point| point.is_bounded());
        match self {
            Self::Take {
                kind,
                engine,
                pages_per_call,
            } => {
                let point = bounded().find(|p| p.is(kind, engine, SIZE_BYTES, pages_per_call))?;
                let (kernel, other) = point.row.sides()?;
                Some((
                    point.row.take_ratio()?,
                    format!(
                        "{:.1} of {:.1} a page",
                        other.take.median, kernel.take.median
                    ),
                ))
            }
            Self::ReleaseOfAll => worst(
                bounded().filter(|point| point.row.engine == "rust"),
                Row::release_ratio,
            ),
            Self::ReleaseOfLarge => worst(
                bounded().filter(|point| point.is_of_large_folios()),
                Row::release_ratio,
            ),
            Self::ArrayReleaseOfLarge => worst(
                bounded().filter(|point| point.is_of_large_folios()),
                Row::array_release_ratio,
            ),
            Self::IrqsOff => {
                let point = bounded().find(|point| point.is_long())?;
                let (kernel, other) = point.row.sides()?;
                let ratio = kernel.irqs_off_cycles as f64 / other.irqs_off_cycles as f64;
                Some((
                    ratio,
                    format!(
                        "{} of at most {}",
                        other.irqs_off_cycles, kernel.irqs_off_cycles
                    ),
                ))
            }
            Self::ListBytes => {
                let point = bounded().find(|point| point.is_long_of(Kind::Thp2m))?;
                let (kernel, other) = point.row.sides()?;
                Some((
                    other.bookkeeping_bytes as f64 / 1024.0,
                    format!(
                        "{} of {}",
                        size::format(other.bookkeeping_bytes),
                        size::format(kernel.bookkeeping_bytes)
                    ),
                ))
            }
            Self::WindowCost => {
                let cost = |point: &Point<'_>| Some(point.row.sides()?.1.take.median);
                let bounded = bounded().find(|point| point.is_long())?;
                let unbounded = points
                    .iter()
                    .find(|point| !point.is_bounded() && point.is_long())?;
                let (with, without) = (cost(bounded)?, cost(unbounded)?);
                Some((
                    100.0 * (with / without - 1.0),
                    format!(
                        "{with:.2} a page in windows of {} entries, {without:.2} of {}",
                        bounded.report.window_entries, unbounded.report.window_entries
                    ),
                ))
            }
        }
    }
}

/// Returns the smallest ratio, and the measurement that gave it.
fn worst<'a>(
    points: impl Iterator<Item = &'a Point<'a>>,
    ratio: fn(&Row) -> Option<f64>,
) -> Option<(f64, String)> {
    points
        .filter_map(|point| Some((ratio(point.row)?, point)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(ratio, point)| (ratio, point.name()))
}

/// Writes the figures as a table.
pub(crate) fn write_table(
    figures: &[Evaluated],
    reports: &[&Report],
    output: &mut Output,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("figure", Align::Left),
        ("how", Align::Left),
        ("reached", Align::Right),
        ("wanted", Align::Right),
        ("result", Align::Left),
        ("by", Align::Left),
    ]);
    for figure in figures {
        let number = |number: Option<f64>| {
            number.map_or("-".into(), |number| format!("{number:.2}{}", figure.unit))
        };
        table.row(vec![
            figure.figure.into(),
            figure.how.into(),
            number(figure.reached),
            number(figure.wanted),
            match figure.is_reached {
                Some(true) => "reached",
                Some(false) => "MISSED",
                None => "",
            }
            .into(),
            figure.detail.clone(),
        ]);
    }
    output.table(&table)?;
    let Some(report) = reports.first() else {
        return Ok(());
    };
    let nr = |is_reached| {
        figures
            .iter()
            .filter(|figure| figure.is_reached == Some(is_reached))
            .count()
    };
    let have_thresholds = have_thresholds(reports);
    let verdict = if have_thresholds {
        format!("{} figures reached, {} missed", nr(true), nr(false))
    } else {
        "No verdict: the thresholds are for x86-64".into()
    };
    let caution = if have_thresholds && report.machine.unit != Unit::Instructions {
        " The thresholds are for instructions, on one virtual CPU; see make bench."
    } else {
        ""
    };
    output.line(format!(
        "\n {verdict}; kernel {}. Ratios: the kernel's {} divided by ours.{caution}",
        report.machine.kernel,
        report.machine.unit_explained()
    ))
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

    fn find<'a>(figures: &'a [Evaluated], name: &str, how: &str) -> &'a Evaluated {
        figures
            .iter()
            .find(|figure| figure.figure == name && figure.how == how)
            .expect("there is such a figure")
    }

    #[test]
    fn the_table_has_twelve_ratios_for_taking_pages() {
        let thresholds: Vec<_> = FIGURES
            .iter()
            .filter(|figure| matches!(figure.quantity, Quantity::Take { .. }))
            .flat_map(|figure| [figure.get, figure.pin])
            .filter(|wanted| *wanted != Wanted::Nothing)
            .collect();
        assert_eq!(thresholds.len(), 12);
    }

    #[test]
    fn thresholds_divide_reached_from_missed() {
        let rows = vec![
            row(("anon-4k", "get", "rust"), SIZE_BYTES, 512, [180.0, 60.0]),
            row(("anon-4k", "pin", "rust"), SIZE_BYTES, 512, [349.0, 100.0]),
            row(("anon-4k", "pin", "rust"), SIZE_BYTES, 1, [250.0, 100.0]),
            row(("mthp-64k", "pin", "rust"), SIZE_BYTES, 512, [6.0, 1.0]),
        ];
        let figures = evaluate(&[&report(256, rows)]);
        let is_reached = |name, how| find(&figures, name, how).is_reached;
        assert_eq!(is_reached("4 KiB folios", "get"), Some(true));
        assert_eq!(is_reached("4 KiB folios", "pin"), Some(false));
        assert_eq!(is_reached("one page a call", "pin"), Some(true));
        assert_eq!(is_reached("one page a call", "get"), None);
        let release = find(&figures, "release, worst of large folios", "pin");
        assert_eq!(
            (release.reached, release.is_reached),
            (Some(3.0), Some(true))
        );
        let release = find(
            &figures,
            "release of an array, worst of large folios",
            "pin",
        );
        assert_eq!(
            (release.reached, release.is_reached),
            (Some(6.0), Some(false))
        );
        let release = find(&figures, "release, worst of all", "pin");
        assert_eq!(
            (release.reached, release.is_reached),
            (Some(1.25), Some(true))
        );
        assert_eq!(release.detail, "anon-4k, 2M in calls of 1");
    }

    #[test]
    fn other_architectures_have_figures_without_thresholds() {
        let rows = vec![row(
            ("anon-4k", "get", "rust"),
            SIZE_BYTES,
            512,
            [130.0, 100.0],
        )];
        let mut report = report(256, rows);
        report.machine.arch = "aarch64".into();
        let figures = evaluate(&[&report]);
        let figure = find(&figures, "4 KiB folios", "get");
        assert_eq!(
            (figure.reached, figure.wanted, figure.is_reached),
            (Some(1.3), None, None)
        );
        assert!(figures.iter().all(|figure| figure.is_reached.is_none()));
    }

    #[test]
    fn windows_are_compared_across_runs() {
        let long = |cost| {
            row(
                ("anon-4k", "pin", "rust"),
                LONG_BYTES,
                262_144,
                [200.0, cost],
            )
        };
        let reports = [
            report(256, vec![long(103.5)]),
            report(65536, vec![long(100.0)]),
        ];
        let figures = evaluate(&reports.each_ref());
        let cost = find(&figures, "cost of bounded windows, the same", "pin");
        assert!(cost.reached.is_some_and(|cost| (cost - 3.5).abs() < 1e-6));
        assert_eq!(cost.is_reached, Some(false));
        let one_run = evaluate(&[&reports[0]]);
        let cost = find(&one_run, "cost of bounded windows, the same", "pin");
        assert_eq!((cost.reached, cost.detail.as_str()), (None, "not measured"));
    }
}
