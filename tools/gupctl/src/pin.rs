// SPDX-License-Identifier: GPL-2.0

//! `gupctl pin`: takes memory, shows what is held, and reads it back through the pin.

use std::io;

use rust_gup_memory::{
    size::page_bytes,
    Mapping, //
};
use rust_gup_uapi::{
    Access,
    Device,
    Engine,
    How,
    Pinned,
    Request, //
};
use serde::Serialize;

use crate::{
    cli::{
        fallback,
        PinArgs, //
    },
    compare::{
        percent,
        ByLeaf,
        StopReport, //
    },
    output::{
        Align,
        Output,
        Table, //
    },
    progress,
    size,
    Verdict, //
};

const CHUNK_BYTES: usize = 256 << 10;

/// The result of reading through the pin.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
enum Content {
    /// The CPU sees the same bytes.
    Equal { len_bytes: u64 },
    /// The CPU sees other bytes, from this offset on.
    Different { offset: u64 },
    /// The CPU may not read the memory.
    NotComparable { reason: String },
}

#[derive(Debug, Serialize)]
struct RunReport {
    pfn: Option<u64>,
    nr_pages: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    len_bytes: usize,
    how: &'static str,
    access: &'static str,
    engine: &'static str,
    nr_pages_wanted: usize,
    nr_pages: u64,
    nr_fast: u64,
    nr_fast_by_leaf: ByLeaf,
    nr_runs: u64,
    runs: Vec<RunReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<StopReport>,
    content: Content,
}

pub(crate) fn run(device: &Device, args: &PinArgs, output: &mut Output) -> io::Result<Verdict> {
    let mapping = args.kind.map(args.size).map_err(|err| {
        io::Error::new(err.kind(), format!("{} is not available: {err}", args.kind))
    })?;
    let engine = Engine::from(args.engine);
    let request = Request::from(&mapping)
        .access(Access::from(args.access))
        .how(How::from(args.how))
        .fallback(fallback(args.fast_only));
    let pinned = device.pin(&request, engine)?;

    let runs = if pinned.nr_pages() == 0 {
        Vec::new()
    } else {
        pinned.runs()?
    };
    let report = Report {
        kind: args.kind.name(),
        len_bytes: mapping.len_bytes(),
        how: request.how.name(),
        access: request.access.name(),
        engine: engine.name(),
        nr_pages_wanted: mapping.nr_pages(),
        nr_pages: pinned.nr_pages(),
        nr_fast: pinned.nr_fast(),
        nr_fast_by_leaf: ByLeaf::of(device, pinned.nr_by_level())?,
        nr_runs: pinned.nr_runs(),
        runs: runs
            .iter()
            .map(|run| RunReport {
                pfn: run.pfn,
                nr_pages: run.nr_pages,
            })
            .collect(),
        stop: pinned.stop().map(|stop| StopReport::of(stop, &request)),
        content: read_back(&pinned, &mapping)?,
    };
    pinned.release()?;

    output.json(&report)?;
    write_text(&report, args.runs, output)?;
    Ok(match report.content {
        Content::Different { .. } => Verdict::Differed,
        _ => Verdict::Agreed,
    })
}

fn write_text(report: &Report, nr_runs: usize, output: &mut Output) -> io::Result<()> {
    output.line(format!(
        "{} of {}, taken by the engine {} (how: {}, access: {})",
        size::format(report.len_bytes as u64),
        report.kind,
        report.engine,
        report.how,
        report.access
    ))?;
    let stop = report.stop.as_ref().map_or("nowhere".into(), |stop| {
        format!(
            "at +{}: {}. {}",
            size::format(stop.offset),
            stop.reason,
            stop.sentence
        )
    });
    let content = match &report.content {
        Content::Equal { len_bytes } => format!(
            "{} read through the pages that are held: the same as the CPU sees",
            size::format(*len_bytes)
        ),
        Content::Different { offset } => format!(
            "DIFFERENT from what the CPU sees, from +{} on",
            size::format(*offset)
        ),
        Content::NotComparable { reason } => reason.clone(),
    };
    output.block(&[
        (
            "pages held",
            format!("{} of {}", report.nr_pages, report.nr_pages_wanted),
        ),
        (
            "fast",
            format!(
                "{} ({}): {}",
                report.nr_fast,
                percent(report.nr_fast, report.nr_pages),
                report.nr_fast_by_leaf.text()
            ),
        ),
        ("fast walk stopped", stop),
        ("runs", report.nr_runs.to_string()),
        ("content", content),
    ])?;
    if report.runs.is_empty() || nr_runs == 0 {
        return Ok(());
    }

    let mut table = Table::new(&[
        ("run", Align::Right),
        ("offset", Align::Right),
        ("pages", Align::Right),
        ("first frame", Align::Right),
    ]);
    let mut offset = 0;
    for (index, run) in report.runs.iter().take(nr_runs).enumerate() {
        table.row(vec![
            index.to_string(),
            format!("+{}", size::format(offset)),
            run.nr_pages.to_string(),
            run.pfn.map_or("hidden".into(), |pfn| format!("{pfn:#x}")),
        ]);
        offset += run.nr_pages * page_bytes() as u64;
    }
    output.line("")?;
    output.table(&table)?;
    match report.runs.len().saturating_sub(nr_runs) {
        0 => Ok(()),
        nr_more => output.line(format!(" and {nr_more} more, see --runs")),
    }
}

/// Compares the contents of the pages with what the CPU sees at their addresses.
fn read_back(pinned: &Pinned<'_>, mapping: &Mapping) -> io::Result<Content> {
    let nr_pages = usize::try_from(pinned.nr_pages()).unwrap_or(usize::MAX);
    let len_bytes = nr_pages
        .saturating_mul(page_bytes())
        .min(mapping.len_bytes());
    if len_bytes == 0 {
        return Ok(Content::NotComparable {
            reason: "no page is held".into(),
        });
    }
    let progress = progress::bar((len_bytes >> 20) as u64, "MiB");
    let mut seen = vec![0; CHUNK_BYTES];
    let mut held = vec![0; CHUNK_BYTES];
    for offset in (0..len_bytes).step_by(CHUNK_BYTES) {
        let chunk_bytes = CHUNK_BYTES.min(len_bytes - offset);
        let (seen, held) = (&mut seen[..chunk_bytes], &mut held[..chunk_bytes]);
        if mapping.read(offset, seen).is_err() {
            return Ok(Content::NotComparable {
                reason: "the CPU itself may not read this memory".into(),
            });
        }
        pinned.read(offset as u64, held)?;
        if let Some(at) = seen.iter().zip(held.iter()).position(|(a, b)| a != b) {
            return Ok(Content::Different {
                offset: (offset + at) as u64,
            });
        }
        progress.set_position((offset >> 20) as u64);
    }
    progress.finish_and_clear();
    Ok(Content::Equal {
        len_bytes: len_bytes as u64,
    })
}
