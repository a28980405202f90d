// SPDX-License-Identifier: GPL-2.0

//! `gupctl stats`: the module's counters.

use std::io;

use rust_gup_uapi::{
    Device,
    Stats, //
};
use serde::Serialize;

use crate::{
    cli::StatsArgs,
    compare::percent,
    output::{
        count,
        Align,
        Output,
        Table, //
    },
    sample::ratio,
    Verdict, //
};

#[derive(Debug, Serialize)]
struct StopCount {
    reason: &'static str,
    count: u64,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Bucket {
    from_cycles: u64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    nr_fast: u64,
    nr_slow: u64,
    nr_runs: u64,
    nr_windows: u64,
    nr_handles: u64,
    nr_held_pages: u64,
    irqs_off_max_cycles: u64,
    cycles_khz: u64,
    irqs_off: Vec<Bucket>,
    stops: Vec<StopCount>,
}

impl Report {
    fn of(stats: &Stats, cycles_khz: u64) -> Self {
        let raw = &stats.raw;
        Self {
            nr_fast: raw.nr_fast,
            nr_slow: raw.nr_slow,
            nr_runs: raw.nr_runs,
            nr_windows: raw.nr_windows,
            nr_handles: raw.nr_handles,
            nr_held_pages: raw.nr_held_pages,
            irqs_off_max_cycles: raw.irqs_off_max_cycles,
            cycles_khz,
            irqs_off: raw
                .irqs_off
                .iter()
                .enumerate()
                .map(|(exponent, &count)| Bucket {
                    from_cycles: 1 << exponent,
                    count,
                })
                .collect(),
            stops: stats
                .stops()
                .map(|(stop, count)| StopCount {
                    reason: stop.name(),
                    count,
                    sentence: stop.to_string(),
                })
                .collect(),
        }
    }
}

pub(crate) fn run(device: &Device, args: &StatsArgs, output: &mut Output) -> io::Result<Verdict> {
    let cycles_khz = device.info()?.raw.cycles_khz;
    let report = Report::of(&device.stats()?, cycles_khz);
    output.json(&report)?;

    output.line("Since the module was loaded")?;
    let nr_pages = report.nr_fast + report.nr_slow;
    output.block(&[
        (
            "fast walk",
            format!(
                "{} pages ({}) in {} runs, {}",
                report.nr_fast,
                percent(report.nr_fast, nr_pages),
                report.nr_runs,
                pages_per_run(report.nr_fast, report.nr_runs)
            ),
        ),
        ("slow path", format!("{} pages", report.nr_slow)),
        (
            "held now",
            format!(
                "{} by {}",
                count(report.nr_held_pages, "page"),
                count(report.nr_handles, "handle")
            ),
        ),
        (
            "interrupts off",
            format!(
                "{} times, at most {}",
                report.nr_windows,
                duration(report.irqs_off_max_cycles, cycles_khz)
            ),
        ),
    ])?;
    write_stops(&report, args, output)?;
    write_irqs_off(&report, output)?;
    Ok(Verdict::Agreed)
}

fn write_stops(report: &Report, args: &StatsArgs, output: &mut Output) -> io::Result<()> {
    let mut table = Table::new(&[
        ("stopped by", Align::Left),
        ("times", Align::Right),
        ("what it means", Align::Left),
    ]);
    let mut is_empty = true;
    for stop in &report.stops {
        if stop.count != 0 || args.all {
            table.row(vec![
                stop.reason.into(),
                stop.count.to_string(),
                stop.sentence.clone(),
            ]);
            is_empty = false;
        }
    }
    output.line("")?;
    if is_empty {
        return output.line("The fast walk was never stopped.");
    }
    output.table(&table)
}

fn write_irqs_off(report: &Report, output: &mut Output) -> io::Result<()> {
    let is_used = |bucket: &Bucket| bucket.count != 0;
    let (Some(first), Some(last)) = (
        report.irqs_off.iter().position(is_used),
        report.irqs_off.iter().rposition(is_used),
    ) else {
        return Ok(());
    };
    let buckets = &report.irqs_off[first..=last];
    let largest = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1);
    let mut table = Table::new(&[
        ("interrupts off for", Align::Right),
        ("times", Align::Right),
        ("", Align::Left),
    ]);
    for bucket in buckets {
        let width = usize::try_from((bucket.count * 40).div_ceil(largest)).unwrap_or(40);
        table.row(vec![
            format!(
                "{} or more",
                duration(bucket.from_cycles, report.cycles_khz)
            ),
            bucket.count.to_string(),
            "#".repeat(width),
        ]);
    }
    output.line("")?;
    output.table(&table)
}

fn pages_per_run(nr_pages: u64, nr_runs: u64) -> String {
    if nr_runs == 0 {
        "no run yet".into()
    } else {
        format!("{:.1} pages a run", ratio(nr_pages, nr_runs))
    }
}

/// Formats a number of cycles, and also the time if the rate is known.
fn duration(cycles: u64, cycles_khz: u64) -> String {
    if cycles_khz == 0 {
        return format!("{cycles} cycles");
    }
    let us = 1000.0 * ratio(cycles, cycles_khz);
    format!("{cycles} cycles ({us:.1} us)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_time_only_if_the_rate_is_known() {
        assert_eq!(duration(3000, 2_000_000), "3000 cycles (1.5 us)");
        assert_eq!(duration(3000, 0), "3000 cycles");
    }
}
