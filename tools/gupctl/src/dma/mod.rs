// SPDX-License-Identifier: GPL-2.0

//! `gupctl dma`: measures what it costs to give a device a buffer, and to take it back.

mod plot;

use std::{
    fs,
    io, //
};

use rust_gup_memory::{
    Kind,
    Mapping, //
};
use rust_gup_uapi::{
    edu::{
        raw::{
            edu_dma_register,
            edu_dma_unregister, //
        },
        Edu,
        Method,
        Use, //
    },
    errno_of, //
};
use serde::Serialize;

use crate::{
    cli::{
        kinds,
        DmaArgs, //
    },
    compare::percent,
    machine::{
        stay_on_this_cpu,
        Machine,
        Unit, //
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

/// Number of bytes that go to the device and back, to check that they arrive. The driver copies as many at once.
const CHECKED_BYTES: usize = 2048;

/// Costs of the parts of a registration, in nanoseconds. Each is a median of its own.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Phases {
    take_ns: u64,
    list_ns: u64,
    map_ns: u64,
    unmap_ns: u64,
    release_ns: u64,
    /// The median of the sums, not the sum of the medians.
    all_ns: u64,
}

impl Phases {
    fn of(rounds: &[(edu_dma_register, edu_dma_unregister)]) -> Self {
        let median = |phase: fn(&edu_dma_register, &edu_dma_unregister) -> u64| {
            let mut values: Vec<u64> = rounds.iter().map(|(r, u)| phase(r, u)).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Self {
            take_ns: median(|r, _| r.take_ns),
            list_ns: median(|r, _| r.list_ns),
            map_ns: median(|r, _| r.map_ns),
            unmap_ns: median(|_, u| u.unmap_ns),
            release_ns: median(|_, u| u.release_ns),
            all_ns: median(|r, u| r.take_ns + r.list_ns + r.map_ns + u.unmap_ns + u.release_ns),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Measured {
        phases: Phases,
        nr_rounds: usize,
        nr_pages: u64,
        nr_fast: u64,
        nr_entries: u64,
        nr_segments: u64,
        list_bytes: u64,
        list_bytes_per_gib: u64,
        /// Time of one chunk, to the device or from it.
        transfer_ns: u64,
        arrived: bool,
    },
    NotAvailable {
        reason: String,
    },
}

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    len_bytes: usize,
    method: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.kind.into(),
            size::format(self.len_bytes as u64),
            self.method.into(),
        ];
        match &self.outcome {
            Outcome::NotAvailable { reason } => {
                cells.extend((0..10).map(|_| "-".into()));
                cells.push(reason.clone());
            }
            Outcome::Measured {
                phases,
                nr_pages,
                nr_fast,
                nr_entries,
                nr_segments,
                list_bytes_per_gib,
                arrived,
                ..
            } => {
                cells.extend(
                    [
                        phases.take_ns,
                        phases.list_ns,
                        phases.map_ns,
                        phases.unmap_ns,
                        phases.release_ns,
                        phases.all_ns,
                        *nr_entries,
                        *nr_segments,
                        *list_bytes_per_gib,
                    ]
                    .map(|number| number.to_string()),
                );
                cells.push(if self.method == Method::Kernel.name() {
                    // The kernel does not report this.
                    "-".into()
                } else {
                    percent(*nr_fast, *nr_pages)
                });
                cells.push(if *arrived {
                    String::new()
                } else {
                    "THE DATA DID NOT ARRIVE".into()
                });
            }
        }
        cells
    }
}

const COLUMNS: [(&str, Align); 14] = [
    ("kind", Align::Left),
    ("bytes", Align::Right),
    ("method", Align::Left),
    ("take", Align::Right),
    ("list", Align::Right),
    ("map", Align::Right),
    ("unmap", Align::Right),
    ("release", Align::Right),
    ("all", Align::Right),
    ("entries", Align::Right),
    ("segments", Align::Right),
    ("bytes/GiB", Align::Right),
    ("fast", Align::Right),
    ("", Align::Left),
];

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    iommu: bool,
    pinned_to_cpu: usize,
    rounds: u32,
    measurements: &'a [Row],
}

/// Returns whether there is an IOMMU between devices and memory.
fn has_iommu() -> bool {
    fs::read_dir("/sys/kernel/iommu_groups").is_ok_and(|mut groups| groups.next().is_some())
}

/// Registers and unregisters `mapping` with the methods in turn, so that all of them find it in the same state.
fn measure(
    edu: &Edu,
    mapping: &mut Mapping,
    methods: &[Method],
    rounds: u32,
    tick: impl Fn(),
) -> io::Result<Vec<Outcome>> {
    let (addr, len_bytes) = (mapping.addr(), mapping.len_bytes());
    let mut all = vec![Vec::new(); methods.len()];
    // The first round is not counted. It migrates pages that must not stay where they are.
    for round in 0..=rounds {
        for (rounds, method) in all.iter_mut().zip(methods) {
            let buffer = edu.register(addr, len_bytes, Use::ReadWrite, *method)?;
            let registered = *buffer.raw();
            let unregistered = buffer.unregister()?;
            if round != 0 {
                rounds.push((registered, unregistered));
            }
        }
        tick();
    }
    all.iter()
        .zip(methods)
        .map(|(rounds, method)| {
            let (transfer_ns, arrived) = transfer(edu, mapping, *method)?;
            let (registered, _) = rounds[0];
            Ok(Outcome::Measured {
                phases: Phases::of(rounds),
                nr_rounds: rounds.len(),
                nr_pages: registered.nr_pages,
                nr_fast: registered.nr_fast,
                nr_entries: registered.nr_entries,
                nr_segments: registered.nr_segments,
                list_bytes: registered.list_bytes,
                list_bytes_per_gib: per_gib(registered.list_bytes, len_bytes),
                transfer_ns,
                arrived,
            })
        })
        .collect()
}

fn per_gib(bytes: u64, len_bytes: usize) -> u64 {
    let gib = u128::from(bytes) << 30;
    u64::try_from(gib / len_bytes as u128).unwrap_or(u64::MAX)
}

/// Lets the device copy the first bytes of `mapping` over the last ones. Returns how long the second of the two copies
/// took, and whether the bytes arrived.
fn transfer(edu: &Edu, mapping: &mut Mapping, method: Method) -> io::Result<(u64, bool)> {
    let nr = CHECKED_BYTES.min(mapping.len_bytes() / 2);
    let last = mapping.len_bytes() - nr;
    let sent: Vec<u8> = (0..nr).map(|i| (i * 31 + 7).to_le_bytes()[0]).collect();
    mapping.write(0, &sent)?;
    mapping.write(last, &vec![0; nr])?;
    let buffer = edu.register(mapping.addr(), mapping.len_bytes(), Use::ReadWrite, method)?;
    buffer.copy_to_device(0, nr, 0)?;
    // SAFETY: A `Mapping` lends no references to its bytes.
    let ns = unsafe { buffer.copy_from_device(last, nr, 0) }?;
    buffer.unregister()?;
    let mut received = vec![0; nr];
    mapping.read(last, &mut received)?;
    Ok((ns, received == sent))
}

fn reason(err: &io::Error) -> String {
    match errno_of(err) {
        Some(libc::EFAULT) => "nobody may pin this memory for long".into(),
        _ => err.to_string(),
    }
}

fn rows(
    edu: &Edu,
    kind: Kind,
    len_bytes: usize,
    methods: &[Method],
    rounds: u32,
    tick: impl Fn(),
) -> Vec<Row> {
    let mut len_bytes = len_bytes;
    let outcomes = kind.map(len_bytes).and_then(|mut mapping| {
        len_bytes = mapping.len_bytes();
        measure(edu, &mut mapping, methods, rounds, tick)
    });
    let outcomes = outcomes.unwrap_or_else(|err| {
        let not_available = || Outcome::NotAvailable {
            reason: reason(&err),
        };
        methods.iter().map(|_| not_available()).collect()
    });
    methods
        .iter()
        .zip(outcomes)
        .map(|(method, outcome)| Row {
            kind: kind.name(),
            len_bytes,
            method: method.name(),
            outcome,
        })
        .collect()
}

pub(crate) fn run(args: &DmaArgs, output: &mut Output) -> io::Result<Verdict> {
    let edu = Edu::open()?;
    let machine = Machine::this();
    let pinned_to_cpu = stay_on_this_cpu()?;
    let iommu = has_iommu();
    let kinds = kinds(&args.kind);
    let methods: Vec<Method> = args.method.iter().map(|method| (*method).into()).collect();

    output.line(
        "rust_gup dma: what it costs to give a device a buffer for long, and to take it back",
    )?;
    let mut entries = machine.entries();
    entries.extend([
        ("IOMMU", if iommu { "on" } else { "none, or off" }.into()),
        ("pinned to CPU", pinned_to_cpu.to_string()),
        (
            "rounds",
            format!(
                "{} of each method in turn, after one to warm up",
                args.rounds
            ),
        ),
    ]);
    output.block(&entries)?;
    output.line("")?;

    let nr_rounds = (args.rounds + 1) as usize * kinds.len() * args.size.len();
    let progress = progress::bar(nr_rounds as u64, "rounds");
    let mut all = Vec::new();
    for kind in kinds {
        for &len_bytes in &args.size {
            progress.set_message(format!("{kind} {}", size::format(len_bytes as u64)));
            all.extend(rows(&edu, kind, len_bytes, &methods, args.rounds, || {
                progress.inc(1);
            }));
        }
    }
    progress.finish_and_clear();

    output.json(&Report {
        machine: &machine,
        iommu,
        pinned_to_cpu,
        rounds: args.rounds,
        measurements: &all,
    })?;
    let mut table = Table::new(&COLUMNS);
    for row in &all {
        table.row(row.cells());
    }
    output.table(&table)?;
    if let Some(folder) = &args.plot {
        let unit = match machine.unit {
            Unit::Instructions => "instructions",
            Unit::TscCycles | Unit::TimerTicks | Unit::Nanoseconds => "nanoseconds",
        };
        plot::write_all(&all, unit, folder)?;
    }
    let transfers: Vec<u64> = all
        .iter()
        .filter_map(|row| match row.outcome {
            Outcome::Measured { transfer_ns, .. } => Some(transfer_ns),
            Outcome::NotAvailable { .. } => None,
        })
        .collect();
    let unit = match machine.unit {
        Unit::Instructions => {
            "instructions (nanoseconds of a machine that counts instructions as time)"
        }
        Unit::TscCycles | Unit::TimerTicks | Unit::Nanoseconds => "nanoseconds",
    };
    output.line(format!(
        "\n take: pinning; list: making the scatter list; map, unmap: for the device, with its IOMMU; release: unpinning.\n\
         \x20All of them for the whole buffer, in {unit}: medians.\n\
         \x20entries: of the scatter list; segments: what the device sees; bytes/GiB: memory for runs or array, and list."
    ))?;
    if let Some(longest) = transfers.iter().max() {
        output.line(format!(
            " The device itself takes {} ms for {CHECKED_BYTES} bytes, as its makers want it; that is in none of the numbers.",
            longest / 1_000_000
        ))?;
    }
    if transfers.is_empty() {
        return Err(io::Error::other(
            "nothing could be measured; each line says why",
        ));
    }
    let all_arrived = all.iter().all(|row| match row.outcome {
        Outcome::Measured { arrived, .. } => arrived,
        Outcome::NotAvailable { .. } => true,
    });
    if all_arrived {
        Ok(Verdict::Agreed)
    } else {
        Ok(Verdict::Differed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_medians() {
        let round = |take_ns, unmap_ns| {
            let registered = edu_dma_register {
                take_ns,
                ..Default::default()
            };
            let unregistered = edu_dma_unregister {
                unmap_ns,
                ..Default::default()
            };
            (registered, unregistered)
        };
        let phases = Phases::of(&[round(1, 9), round(5, 2), round(900, 3)]);
        assert_eq!((phases.take_ns, phases.unmap_ns), (5, 3));
        assert_eq!(phases.all_ns, 10);
        assert_eq!(Phases::of(&[]).all_ns, 0);
    }

    #[test]
    fn bytes_a_gib() {
        assert_eq!(per_gib(40, 2 << 20), 40 * 512);
        assert_eq!(per_gib(16, 1 << 30), 16);
    }
}
