// SPDX-License-Identifier: GPL-2.0

//! `gupctl demo`: compares and measures the engines on all kinds of memory.

use std::io;

use rust_gup_memory::{
    Kind,
    Mapping, //
};
use rust_gup_uapi::{
    Access,
    Device,
    Engine,
    Fallback,
    How, //
};
use serde::Serialize;

use crate::{
    bench::{
        self,
        Contest,
        Plan, //
    },
    cli::DemoArgs,
    compare::{
        self,
        Question,
        Summary, //
    },
    info::Module,
    machine::{
        stay_on_this_cpu,
        Machine, //
    },
    output::Output,
    Verdict, //
};

/// Number of kinds of memory that the demonstration needs to be of any use.
const MIN_KINDS: usize = 6;

const QUESTIONS: [(How, Access); 3] = [
    (How::Get, Access::Read),
    (How::Pin, Access::Write),
    (How::LongTerm, Access::Read),
];

/// The kinds of memory that are measured.
const MEASURED: [Kind; 5] = [
    Kind::Anon4k,
    Kind::Mthp64k,
    Kind::Thp2m,
    Kind::Hugetlb2m,
    Kind::Memfd,
];

#[derive(Serialize)]
struct Report<'a> {
    module: &'a Module,
    machine: &'a Machine,
    comparisons: &'a [compare::Row],
    measurements: &'a [bench::Row],
    summary: &'a Summary,
}

pub(crate) fn run(device: &Device, args: &DemoArgs, output: &mut Output) -> io::Result<Verdict> {
    let machine = Machine::this();
    stay_on_this_cpu()?;
    let module = Module::of(&device.info()?);
    output.line(
        "rust_gup: page tables walked in Rust, without a lock, beside the kernel's own GUP",
    )?;
    output.block(&[machine.entries(), module.entries()].concat())?;

    output.line(
        "\nBoth engines take the same memory; pages, reference counts and flags are compared:\n",
    )?;
    let mut comparisons = Vec::new();
    for kind in Kind::ALL {
        for (how, access) in QUESTIONS {
            let question = Question {
                len_bytes: args.size,
                access,
                how,
                fallback: Fallback::Slow,
            };
            let row = compare::Row::of(device, kind, question);
            let is_available = !matches!(row.outcome, compare::Outcome::NotAvailable { .. });
            comparisons.push(row);
            if !is_available {
                break;
            }
        }
    }
    compare::write_table(&comparisons, output)?;

    output.line("\nWhat a page costs, pinned for writing:\n")?;
    let plan = Plan {
        rounds: args.rounds,
        warm_up: 10,
        seconds: 10.0,
    };
    let contest = Contest {
        access: Access::Write,
        how: How::Pin,
        engine: Engine::Rust,
        pages_per_call: 512,
    };
    let measurements: Vec<_> = MEASURED
        .into_iter()
        .map(|kind| {
            let mapping = kind.map(args.size).map_err(|err| err.to_string());
            let len_bytes = mapping.as_ref().map_or(args.size, Mapping::len_bytes);
            let mapping = mapping.as_ref().map_err(String::as_str);
            bench::measure_row(device, kind, mapping, len_bytes, contest, plan)
        })
        .collect();
    bench::write_short_table(&measurements, &machine, output)?;

    let summary = Summary::of(&comparisons);
    output.json(&Report {
        module: &module,
        machine: &machine,
        comparisons: &comparisons,
        measurements: &measurements,
        summary: &summary,
    })?;
    output.line(format!("\n{}", summary.sentence()))?;
    conclude(&summary, &measurements)
}

fn conclude(summary: &Summary, measurements: &[bench::Row]) -> io::Result<Verdict> {
    if summary.verdict() == Verdict::Differed {
        return Ok(Verdict::Differed);
    }
    if summary.nr_refused != 0 {
        return Err(io::Error::other(format!(
            "the module refused {} of the comparisons; the table says why",
            summary.nr_refused
        )));
    }
    if summary.nr_kinds() < MIN_KINDS {
        return Err(io::Error::other(format!(
            "only {} kinds of memory could be made and {MIN_KINDS} are wanted; the table says what to do",
            summary.nr_kinds()
        )));
    }
    if !measurements.iter().any(bench::Row::is_measured) {
        return Err(io::Error::other(
            "nothing could be measured; the table says why",
        ));
    }
    Ok(Verdict::Agreed)
}
