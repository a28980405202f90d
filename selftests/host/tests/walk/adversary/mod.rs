// SPDX-License-Identifier: GPL-2.0

//! Events of other CPUs while the walk is under way, at every point. The table in `Documentation/races.rst` names the
//! tests in this folder.

mod contents;
mod device;
pub(super) mod events;
mod exclusive;
mod fork;
mod shape;
mod tables;

use rust_gup_host::{
    drive::{Ask, Kind},
    encode::{Encode, Page},
    machine::{Build, Machine},
    walk::{Access, Level, Owner, Pfn},
};

/// The frame of the first page, at which a huge leaf of every format can begin.
const FIRST_PFN: u64 = 0x1000;

/// The number of free frames after the folios.
const NR_FREE: usize = 4;

/// A machine whose address space begins with a table of base pages. Its folios lie one after the other from page 0 on,
/// and are mapped there.
pub(super) struct Setup {
    folios: Vec<Build>,
    /// The number of pages that are mapped.
    nr_mapped: u64,
    writable: bool,
    device: bool,
}

impl Setup {
    /// Sets up anonymous folios with these numbers of pages, all exclusive and writable.
    pub(super) fn anon(sizes: &[usize]) -> Self {
        Self {
            folios: sizes.iter().map(|size| Build::anon(*size)).collect(),
            nr_mapped: sizes.iter().sum::<usize>() as u64,
            writable: true,
            device: false,
        }
    }

    /// Sets up folios of a file with these numbers of pages, in device memory (fsdax).
    pub(super) fn device(sizes: &[usize]) -> Self {
        let build = |size: &usize| Build::anon(*size).owned_by(Owner::File);
        Self {
            folios: sizes.iter().map(build).collect(),
            device: true,
            ..Self::anon(sizes)
        }
    }

    /// Maps the pages read-only.
    pub(super) fn read_only(self) -> Self {
        Self {
            writable: false,
            ..self
        }
    }

    fn page(&self, nr: u64) -> Page {
        Page {
            first: Pfn::new(FIRST_PFN + nr),
            writable: self.writable,
        }
    }

    fn build<F: Encode>(&self, root: Level) -> Machine<F> {
        let context = F::context(Access::Read);
        let nr_frames = self
            .folios
            .iter()
            .map(|folio| folio.nr_pages)
            .sum::<usize>()
            + NR_FREE;
        let machine = Machine::new(root, Pfn::new(FIRST_PFN), nr_frames, context);
        let mut head = 0;
        for folio in &self.folios {
            machine.memmap().build(head, *folio);
            head += folio.nr_pages;
        }
        for nr in 0..nr_frames {
            machine.memmap().page_mut(nr).device = self.device;
        }
        machine
    }

    /// Makes the machine, with the pages mapped by base pages.
    pub(super) fn by_pages<F: Encode>(&self) -> Machine<F> {
        let machine = self.build(Level::PMD);
        for nr in 0..self.nr_mapped {
            let raw = F::leaf(Level::PTE, self.page(nr));
            machine.install(events::addr::<F>(nr as usize), Level::PTE, raw);
        }
        machine
    }

    /// Makes the machine, with the pages mapped by a huge leaf. The folio is as large as the leaf of the tiny format,
    /// or as if it were.
    pub(super) fn by_leaf<F: Encode>(&self) -> Machine<F> {
        let machine = self.build(Level::PMD);
        machine.install(0, Level::PMD, F::leaf(Level::PMD, self.page(0)));
        machine
    }
}

/// Returns the ways to ask for pages that are writable.
pub(super) fn every_ask(nr_pages: u64) -> [Ask; 4] {
    [
        Ask::read(Kind::Get, 0, nr_pages),
        Ask::write(Kind::Get, 0, nr_pages),
        Ask::read(Kind::Pin, 0, nr_pages).of_exclusive(),
        Ask::write(Kind::Pin, 0, nr_pages).of_exclusive(),
    ]
}

/// Tries a program in all interleavings with a walk over base pages, on two formats. `$ends` lists the ways in which
/// the walks must end, each of them at least once.
macro_rules! on_pages {
    ($setup:expr, $ask:expr, $program:expr, $ends:expr $(,)?) => {{
        let (setup, ask): (&$crate::adversary::Setup, &Ask) = (&$setup, &$ask);
        let tally = rust_gup_host::rival::interleave::<Tiny>(ask, || (setup.by_pages(), $program));
        tally.assert_ends(&$ends);
        let tally =
            rust_gup_host::rival::interleave::<X86_64>(ask, || (setup.by_pages(), $program));
        tally.assert_ends(&$ends);
    }};
}

use on_pages;
