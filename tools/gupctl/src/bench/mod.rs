// SPDX-License-Identifier: GPL-2.0

//! `gupctl bench`: measures the engines against each other. `gupctl report`: shows the results once more.

mod figures;
mod measure;
pub(crate) mod plot;
mod report;
mod table;

use std::{
    fs::File,
    io::{
        self,
        BufReader, //
    }, //
};

use rust_gup_memory::{
    Kind,
    Mapping, //
};
use rust_gup_uapi::Device;
use serde::Serialize;

use self::{
    figures::Evaluated,
    measure::WHOLE_RANGE,
    report::Report, //
};
use crate::{
    cli::{
        kinds,
        BenchArgs,
        ReportArgs, //
    },
    machine::{
        stay_on_this_cpu,
        Machine, //
    },
    output::Output,
    progress::{
        self,
        Progress, //
    },
    size,
    Verdict, //
};

pub(crate) use self::{
    measure::{
        measure_row,
        Contest,
        Plan, //
    },
    report::Row,
    table::write_short_table, //
};

pub(crate) fn run(device: &Device, args: &BenchArgs, output: &mut Output) -> io::Result<Verdict> {
    let machine = Machine::this();
    let pinned_to_cpu = stay_on_this_cpu()?;
    let info = device.info()?;
    let plan = Plan {
        rounds: args.rounds,
        warm_up: args.warm_up,
        seconds: args.seconds,
    };
    let kinds = kinds(&args.kind);
    let sizes = args.sizes();

    output.line("rust_gup bench: the kernel's get_user_pages_fast(), pin_user_pages_fast() against the walk in Rust")?;
    let mut entries = machine.entries();
    entries.extend([
        ("pinned to CPU", pinned_to_cpu.to_string()),
        (
            "rounds",
            format!(
                "{} of each engine in alternating order, after {} to warm up; fewer if that takes more than {} s",
                plan.rounds, plan.warm_up, plan.seconds
            ),
        ),
        (
            "window",
            format!("{} entries with interrupts off", info.raw.window_entries),
        ),
    ]);
    output.block(&entries)?;
    output.line("")?;
    progress::settle();

    let nr_contests =
        args.how.len() * args.access.len() * args.engine.len() * args.pages_per_call().len();
    let mut progress = Progress::new((kinds.len() * sizes.len() * nr_contests) as u64);
    let mut rows = Vec::new();
    for kind in kinds {
        // The memory is made once, for the largest size that is available.
        let (mapping, refused) = largest(kind, &sizes);
        for &len_bytes in &sizes {
            let range = match (&mapping, refused.iter().find(|(len, _)| *len == len_bytes)) {
                (Some(mapping), None) => Ok(mapping),
                (_, refusal) => Err(refusal.map_or("", |(_, reason)| reason)),
            };
            for contest in args.contests() {
                progress.next(&format!(
                    "{kind} {} {} {}",
                    size::format(len_bytes as u64),
                    contest.how.name(),
                    contest.engine.name()
                ));
                rows.push(measure_row(device, kind, range, len_bytes, contest, plan));
            }
        }
    }
    drop(progress);

    let report = Report {
        machine,
        pinned_to_cpu,
        cycles_khz: info.raw.cycles_khz,
        window_entries: info.raw.window_entries,
        plan,
        measurements: rows,
    };
    output.json(&report)?;
    table::write_table(&[&report], output)?;
    if let Some(folder) = &args.plot {
        plot::write_all(&[&report], folder)?;
    }
    if !report.measurements.iter().any(Row::is_measured) {
        return Err(io::Error::other(
            "nothing could be measured; each line says why",
        ));
    }
    Ok(Verdict::Agreed)
}

/// Makes memory of the largest size that is available. Also returns why larger sizes are not.
fn largest(kind: Kind, sizes: &[usize]) -> (Option<Mapping>, Vec<(usize, String)>) {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let mut refused = Vec::new();
    for len_bytes in sizes.into_iter().rev() {
        match kind.map(len_bytes) {
            Ok(mapping) => return (Some(mapping), refused),
            Err(err) => refused.push((len_bytes, err.to_string())),
        }
    }
    (None, refused)
}

/// Figures and reports, as they are written and read again.
#[derive(Serialize)]
struct Collection<'a> {
    figures: Vec<Evaluated>,
    reports: &'a [Report],
}

pub(crate) fn report(args: &ReportArgs, output: &mut Output) -> io::Result<Verdict> {
    let mut reports = Vec::new();
    for path in &args.files {
        let named = |err: io::Error| io::Error::other(format!("{}: {err}", path.display()));
        let file = File::open(path).map_err(named)?;
        reports.extend(report::read(BufReader::new(file)).map_err(named)?);
    }
    if !reports
        .iter()
        .flat_map(|report| &report.measurements)
        .any(Row::is_measured)
    {
        return Err(io::Error::other("nothing was measured there"));
    }
    let all: Vec<_> = reports.iter().collect();
    let figures = figures::evaluate(&all);
    if !args.figures {
        table::write_table(&all, output)?;
        output.line("")?;
    }
    // CSV output has a single table.
    if args.figures || !args.csv {
        figures::write_table(&figures, &all, output)?;
    }
    output.json(&Collection {
        figures,
        reports: &reports,
    })?;
    if let Some(folder) = &args.plot {
        plot::write_all(&all, folder)?;
    }
    Ok(Verdict::Agreed)
}

impl BenchArgs {
    /// Returns all sizes, each once.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<_> = self.size.iter().flat_map(|sizes| sizes.0.clone()).collect();
        let mut seen = Vec::new();
        sizes.retain(|size| {
            !seen.contains(size) && {
                seen.push(*size);
                true
            }
        });
        sizes
    }

    fn pages_per_call(&self) -> &[u32] {
        if self.pages_per_call.is_empty() {
            &[WHOLE_RANGE]
        } else {
            &self.pages_per_call
        }
    }

    /// Returns all combinations to measure on a range.
    fn contests(&self) -> impl Iterator<Item = Contest> + '_ {
        let accesses = &self.access;
        let engines = &self.engine;
        self.how.iter().flat_map(move |&how| {
            accesses.iter().flat_map(move |&access| {
                engines.iter().flat_map(move |&engine| {
                    self.pages_per_call()
                        .iter()
                        .map(move |&pages_per_call| Contest {
                            access: access.into(),
                            how: how.into(),
                            engine: engine.into(),
                            pages_per_call,
                        })
                })
            })
        })
    }
}
