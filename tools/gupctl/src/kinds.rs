// SPDX-License-Identifier: GPL-2.0

//! `gupctl kinds`: lists the kinds of memory, and which of them this machine can make.

use std::io;

use rust_gup_memory::Kind;
use serde::Serialize;

use crate::{
    output::{
        Align,
        Output,
        Table, //
    },
    size,
    Verdict, //
};

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    summary: &'static str,
    granule_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_available: Option<String>,
}

pub(crate) fn run(output: &mut Output) -> io::Result<Verdict> {
    let rows: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| Row {
            kind: kind.name(),
            summary: kind.summary(),
            granule_bytes: kind.granule_bytes(),
            not_available: kind.map(1).err().map(|err| err.to_string()),
        })
        .collect();
    output.json(&rows)?;

    let mut table = Table::new(&[
        ("kind", Align::Left),
        ("multiple of", Align::Right),
        ("here", Align::Left),
        ("what it is", Align::Left),
    ]);
    for row in rows {
        let here = if row.not_available.is_none() {
            "yes"
        } else {
            "no"
        };
        let text = row.not_available.map_or_else(
            || row.summary.into(),
            |reason| format!("{}; not available: {reason}", row.summary),
        );
        table.row(vec![
            row.kind.into(),
            size::format(row.granule_bytes as u64),
            here.into(),
            text,
        ]);
    }
    output.table(&table)?;
    Ok(Verdict::Agreed)
}
