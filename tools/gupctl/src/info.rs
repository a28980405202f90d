// SPDX-License-Identifier: GPL-2.0

//! `gupctl info`: describes the module and its machine.

use std::io;

use rust_gup_uapi::{
    Device,
    Info, //
};
use serde::Serialize;

use crate::{
    machine::Machine,
    output::Output,
    size,
    Verdict, //
};

/// What the module reports about itself.
#[derive(Debug, Serialize)]
pub(crate) struct Module {
    version: String,
    abi_version: u32,
    page_table_format: &'static str,
    page_table_levels: u32,
    page_size_bytes: u32,
    window_entries: u32,
    cycles_khz: u64,
    features: Vec<&'static str>,
}

impl Module {
    pub(crate) fn of(info: &Info) -> Self {
        Self {
            version: info.module_version(),
            abi_version: info.raw.abi_version,
            page_table_format: info.format(),
            page_table_levels: info.raw.levels,
            page_size_bytes: info.raw.page_size_bytes,
            window_entries: info.raw.window_entries,
            cycles_khz: info.raw.cycles_khz,
            features: info.features(),
        }
    }

    pub(crate) fn entries(&self) -> Vec<(&'static str, String)> {
        let features = if self.features.is_empty() {
            "none".into()
        } else {
            self.features.join(", ")
        };
        let clock = match self.cycles_khz {
            0 => "runs at an unknown rate".into(),
            khz => format!("{}.{:03} MHz", khz / 1000, khz % 1000),
        };
        vec![
            (
                "module",
                format!("rust_gup {}, ABI {}", self.version, self.abi_version),
            ),
            (
                "page tables",
                format!(
                    "{}, {} levels, pages of {}",
                    self.page_table_format,
                    self.page_table_levels,
                    size::format(self.page_size_bytes.into())
                ),
            ),
            ("features", features),
            (
                "interrupts off",
                format!(
                    "for {} entries at most, then open again",
                    self.window_entries
                ),
            ),
            ("cycle counter", clock),
        ]
    }
}

#[derive(Serialize)]
struct Report {
    module: Module,
    machine: Machine,
}

pub(crate) fn run(device: &Device, output: &mut Output) -> io::Result<Verdict> {
    let report = Report {
        module: Module::of(&device.info()?),
        machine: Machine::this(),
    };
    output.json(&report)?;
    output.line("rust_gup")?;
    output.block(&[report.machine.entries(), report.module.entries()].concat())?;
    Ok(Verdict::Agreed)
}
