// SPDX-License-Identifier: GPL-2.0

//! `gupctl bench`: the engines against each other, in time.

use std::io;

use rust_gup_uapi::{
    errno_of,
    memory::{
        Kind,
        Mapping, //
    },
    Access,
    Device,
    Engine,
    How,
    Measured,
    Request, //
};
use serde::Serialize;

use crate::{
    cli::{
        kinds,
        BenchArgs, //
    },
    compare::percent,
    machine::{
        stay_on_this_cpu,
        Machine, //
    },
    output::{
        Align,
        Format,
        Output,
        Table, //
    },
    progress,
    sample::{
        Cost,
        Costs, //
    },
    size,
    Verdict, //
};

/// How a measurement is made.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) warm_up: u32,
    pub(crate) pages_per_call: u32,
}

/// One engine, costs a page.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    pub(crate) take: Cost,
    pub(crate) release: Cost,
    pub(crate) bookkeeping_bytes: u64,
}

/// What became of one measurement.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The machine cannot make such memory, or the module cannot take it.
    NotAvailable { reason: String },
    /// The engines were measured.
    Measured {
        nr_pages: u64,
        nr_fast: u64,
        nr_rounds: usize,
        overhead_cycles: u64,
        kernel: Side,
        other: Side,
    },
}

/// What is measured on a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contest {
    pub(crate) access: Access,
    pub(crate) how: How,
    /// Measured against the kernel's.
    pub(crate) engine: Engine,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    kind: &'static str,
    len_bytes: usize,
    how: &'static str,
    access: &'static str,
    engine: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Row {
    /// Measures on memory that was made, or says why it was not. `tick` is told of each round.
    pub(crate) fn of(
        device: &Device,
        kind: Kind,
        mapping: &Result<Mapping, String>,
        contest: Contest,
        plan: Plan,
        tick: impl Fn(u32),
    ) -> Self {
        let outcome = match mapping {
            Ok(mapping) => measure(device, mapping, contest, plan, tick).unwrap_or_else(|err| {
                Outcome::NotAvailable {
                    reason: reason(&err),
                }
            }),
            Err(reason) => Outcome::NotAvailable {
                reason: reason.clone(),
            },
        };
        Self {
            kind: kind.name(),
            len_bytes: mapping.as_ref().map_or(0, Mapping::len_bytes),
            how: contest.how.name(),
            access: contest.access.name(),
            engine: contest.engine.name(),
            outcome,
        }
    }

    pub(crate) fn is_measured(&self) -> bool {
        matches!(self.outcome, Outcome::Measured { .. })
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.kind.into(),
            self.how.into(),
            self.access.into(),
            self.engine.into(),
        ];
        match &self.outcome {
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
                let number = |value: f64| format!("{value:.1}");
                cells.extend([
                    size::format(self.len_bytes as u64),
                    nr_pages.to_string(),
                    number(kernel.take.min),
                    number(kernel.take.median),
                    number(kernel.take.p99),
                    number(other.take.min),
                    number(other.take.median),
                    number(other.take.p99),
                    times(kernel.take.median, other.take.median),
                    times(kernel.release.median, other.release.median),
                    percent(*nr_fast, *nr_pages),
                    kernel.bookkeeping_bytes.to_string(),
                    other.bookkeeping_bytes.to_string(),
                    String::new(),
                ]);
            }
        }
        cells
    }
}

const COLUMNS: [(&str, Align); 18] = [
    ("kind", Align::Left),
    ("how", Align::Left),
    ("access", Align::Left),
    ("engine", Align::Left),
    ("bytes", Align::Right),
    ("pages", Align::Right),
    ("kernel min", Align::Right),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("engine min", Align::Right),
    ("p50", Align::Right),
    ("p99", Align::Right),
    ("take", Align::Right),
    ("release", Align::Right),
    ("fast", Align::Right),
    ("kernel list", Align::Right),
    ("engine list", Align::Right),
    ("", Align::Left),
];

/// Names without blanks, and each once.
const CSV_COLUMNS: [&str; 18] = [
    "kind",
    "how",
    "access",
    "engine",
    "bytes",
    "pages",
    "kernel_min",
    "kernel_p50",
    "kernel_p99",
    "engine_min",
    "engine_p50",
    "engine_p99",
    "take_times_faster",
    "release_times_faster",
    "fast",
    "kernel_list_bytes",
    "engine_list_bytes",
    "note",
];

/// Writes measurements as a table, and what its numbers are.
pub(crate) fn write_table(rows: &[Row], machine: &Machine, output: &mut Output) -> io::Result<()> {
    let mut columns = COLUMNS;
    if output.format == Format::Csv {
        for (column, name) in columns.iter_mut().zip(CSV_COLUMNS) {
            column.0 = name;
        }
    }
    let mut table = Table::new(&columns);
    for row in rows {
        table.row(row.cells());
    }
    output.table(&table)?;
    output.line(format!(
        "\n min, p50, p99: what it costs to take one page, in {}.\n\
         \x20take, release: how many times as fast as the kernel the engine is, by the medians.\n\
         \x20list: bytes that the list of taken pages needs for one call.",
        machine.unit.explained()
    ))
}

/// As [`write_table`], for rows that only differ in the kind of memory.
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
                size::format(row.len_bytes as u64),
                nr_pages.to_string(),
                format!("{:.1}", kernel.take.median),
                format!("{:.1}", other.take.median),
                times(kernel.take.median, other.take.median),
                times(kernel.release.median, other.release.median),
                percent(*nr_fast, *nr_pages),
                String::new(),
            ],
        };
        table.row([vec![row.kind.into()], cells].concat());
    }
    output.table(&table)?;
    output.line(format!(
        "\n kernel, rust: what it costs to take one page, in {}: medians.\n\
         \x20take, release: how many times as fast as the kernel the walk in Rust is.",
        machine.unit.explained()
    ))
}

fn measure(
    device: &Device,
    mapping: &Mapping,
    contest: Contest,
    plan: Plan,
    tick: impl Fn(u32),
) -> io::Result<Outcome> {
    /// Even, so that each engine goes first equally often; small, so that progress shows.
    const ROUNDS_PER_CALL: u32 = 20;

    let request = Request::of(mapping).access(contest.access).how(contest.how);
    let engines = [Engine::Kernel, contest.engine];
    let measure = |rounds| device.measure(&request, engines, rounds, plan.pages_per_call);
    if plan.warm_up != 0 {
        measure(plan.warm_up)?;
        tick(plan.warm_up);
    }
    let nr_fast = device.pin(&request, Engine::Rust)?.nr_fast();

    let mut measured: Vec<Measured> = Vec::new();
    let mut rounds_left = plan.rounds;
    while rounds_left != 0 {
        let rounds = rounds_left.min(ROUNDS_PER_CALL);
        measured.push(measure(rounds)?);
        tick(rounds);
        rounds_left -= rounds;
    }
    let costs = Costs::of(&measured)
        .ok_or_else(|| io::Error::other("the module measured no round, or no page"))?;
    let raw = &measured[0].raw;
    Ok(Outcome::Measured {
        nr_pages: raw.nr_pages,
        nr_fast,
        nr_rounds: measured.iter().map(|part| part.samples.len()).sum(),
        overhead_cycles: raw.overhead_cycles,
        kernel: Side {
            take: costs.take_a,
            release: costs.release_a,
            bookkeeping_bytes: raw.bookkeeping_a_bytes,
        },
        other: Side {
            take: costs.take_b,
            release: costs.release_b,
            bookkeeping_bytes: raw.bookkeeping_b_bytes,
        },
    })
}

/// Why there is no measurement.
fn reason(err: &io::Error) -> String {
    match errno_of(err) {
        Some(libc::EFAULT) => "the kernel does not let anyone take this memory".into(),
        _ => err.to_string(),
    }
}

/// How many times as fast, if that can be said.
fn times(slow: f64, fast: f64) -> String {
    let times = slow / fast;
    if times.is_finite() {
        format!("{times:.2}x")
    } else {
        "-".into()
    }
}

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    pinned_to_cpu: usize,
    cycles_khz: u64,
    plan: Plan,
    measurements: &'a [Row],
}

pub(crate) fn run(device: &Device, args: &BenchArgs, output: &mut Output) -> io::Result<Verdict> {
    let machine = Machine::this();
    let pinned_to_cpu = stay_on_this_cpu()?;
    let cycles_khz = device.info()?.raw.cycles_khz;
    let plan = Plan {
        rounds: args.rounds,
        warm_up: args.warm_up,
        pages_per_call: args.pages_per_call,
    };
    let kinds = kinds(&args.kind);

    output.line("rust_gup bench: the kernel's get_user_pages_fast(), pin_user_pages_fast() against the walk in Rust")?;
    let mut entries = machine.entries();
    entries.extend([
        ("pinned to CPU", pinned_to_cpu.to_string()),
        (
            "rounds",
            format!(
                "{} of each engine in alternating order, after {} to warm up",
                plan.rounds, plan.warm_up
            ),
        ),
        ("pages a call", plan.pages_per_call.to_string()),
    ]);
    output.block(&entries)?;
    output.line("")?;

    let nr_rows =
        kinds.len() * args.size.len() * args.how.len() * args.access.len() * args.engine.len();
    let progress = progress::bar(
        nr_rows as u64 * u64::from(plan.rounds + plan.warm_up),
        "rounds",
    );
    let mut rows = Vec::with_capacity(nr_rows);
    for kind in kinds {
        for &len_bytes in &args.size {
            let mapping = kind.map(len_bytes).map_err(|err| err.to_string());
            for &how in &args.how {
                for &access in &args.access {
                    for &engine in &args.engine {
                        let contest = Contest {
                            access: access.into(),
                            how: how.into(),
                            engine: engine.into(),
                        };
                        progress.set_message(format!(
                            "{kind} {} {}",
                            contest.how.name(),
                            contest.engine.name()
                        ));
                        rows.push(Row::of(device, kind, &mapping, contest, plan, |rounds| {
                            progress.inc(rounds.into());
                        }));
                    }
                }
            }
        }
    }
    progress.finish_and_clear();

    output.json(&Report {
        machine: &machine,
        pinned_to_cpu,
        cycles_khz,
        plan,
        measurements: &rows,
    })?;
    write_table(&rows, &machine, output)?;
    if !rows.iter().any(Row::is_measured) {
        return Err(io::Error::other(
            "nothing could be measured; each line says why",
        ));
    }
    Ok(Verdict::Agreed)
}
