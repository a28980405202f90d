// SPDX-License-Identifier: GPL-2.0

//! Walks on the emulated machine, done as the module does them: window after window.

use crate::{
    encode::Encode,
    machine::{
        Machine,
        PAGES_PER_SUBSECTION, //
    },
    walk::{
        self,
        Access,
        Format,
        Get,
        LongRead,
        LongWrite,
        Pfn,
        Pin,
        Progress,
        Rules,
        Run,
        RunWriter,
        ShortRead,
        ShortWrite,
        Stop,
        Walker, //
    },
};

/// The kind of reference, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain reference.
    Get,
    /// A pin.
    Pin,
}

impl Kind {
    /// Returns the references and pins that this number of pages of a folio costs.
    pub fn cost(self, has_pincount: bool, nr_pages: u32) -> (u32, u32) {
        match (self, has_pincount) {
            (Self::Get, _) => (nr_pages, 0),
            (Self::Pin, true) => (nr_pages, nr_pages),
            (Self::Pin, false) => (nr_pages * 1024, 0),
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Address of the first page.
    pub first: u64,
    /// Number of pages.
    pub nr_pages: u64,
    /// The kind of reference.
    pub kind: Kind,
    /// Access, and whether the pages are held for long.
    pub rules: Rules,
    /// Entries to take in one window.
    pub nr_entries: usize,
    /// Room for runs in one window.
    pub nr_room: usize,
    /// Whether peer-to-peer memory may be taken.
    pub admits_p2pdma: bool,
    /// Whether all anonymous pages were exclusive, so that pinned pages must still be exclusive.
    pub was_exclusive: bool,
}

impl Ask {
    /// Returns a request for pages to read from.
    pub const fn read(kind: Kind, first: u64, nr_pages: u64) -> Self {
        Self {
            first,
            nr_pages,
            kind,
            rules: Rules {
                access: Access::Read,
                longterm: false,
            },
            nr_entries: 4096,
            nr_room: 64,
            admits_p2pdma: false,
            was_exclusive: false,
        }
    }

    /// Returns a request for pages to write to.
    pub const fn write(kind: Kind, first: u64, nr_pages: u64) -> Self {
        let mut ask = Self::read(kind, first, nr_pages);
        ask.rules.access = Access::Write;
        ask
    }

    /// Asks for pages that are held for long.
    pub const fn longterm(mut self) -> Self {
        self.rules.longterm = true;
        self
    }

    /// Asks for peer-to-peer memory, too.
    pub const fn of_p2pdma(mut self) -> Self {
        self.admits_p2pdma = true;
        self
    }

    /// States that all pages were exclusive.
    pub const fn of_exclusive(mut self) -> Self {
        self.was_exclusive = true;
        self
    }

    /// Limits each window to this number of entries and runs.
    pub const fn in_windows(mut self, nr_entries: usize, nr_room: usize) -> Self {
        self.nr_entries = nr_entries;
        self.nr_room = nr_room;
        self
    }
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Addresses, each with the page that was taken there.
    pub pages: Vec<(u64, Pfn)>,
    /// The runs in which the pages came.
    pub runs: Vec<Run>,
    /// The reason why there are no more pages.
    pub stop: Option<Stop>,
    /// The position of the walk.
    pub progress: Progress,
    /// The number of windows that were needed.
    pub nr_windows: usize,
}

/// Walks one window, and appends the runs that were written.
///
/// # Errors
///
/// The reason why the walk stops.
pub fn one_window<F: Encode>(
    machine: &Machine<F>,
    ask: &Ask,
    progress: &mut Progress,
    runs: &mut Vec<Run>,
) -> Result<(), Stop> {
    let last = runs.pop().unwrap_or(Run::EMPTY);
    let mut room = vec![Run::EMPTY; ask.nr_room];
    let mut out = RunWriter::new(last, &mut room);
    if progress.nr_device != 0 {
        out.seal(PAGES_PER_SUBSECTION);
    }
    let mut walker = Walker {
        tables: machine,
        folios: machine,
        context: machine.context(),
        out: &mut out,
        progress: &mut *progress,
        nr_entries_left: ask.nr_entries,
        admits_p2pdma: ask.admits_p2pdma,
    };
    let Rules { access, longterm } = ask.rules;
    let result = match (ask.kind, access, longterm) {
        (Kind::Get, Access::Read, _) => walker.run::<Get, ShortRead>(),
        (Kind::Get, Access::Write, _) => walker.run::<Get, ShortWrite>(),
        (Kind::Pin, Access::Read, false) => walker.run::<Pin, ShortRead>(),
        (Kind::Pin, Access::Write, false) => walker.run::<Pin, ShortWrite>(),
        (Kind::Pin, Access::Read, true) => walker.run::<Pin, LongRead>(),
        (Kind::Pin, Access::Write, true) => walker.run::<Pin, LongWrite>(),
    };
    let (last, nr_used) = out.finish();
    runs.extend(&room[..nr_used]);
    if !last.is_empty() {
        runs.push(last);
    }
    result
}

/// Takes all pages from one entry, as the module tries first where one entry may map them. Returns `None` if they cannot
/// be had like that.
pub fn take_one<F: Encode>(machine: &Machine<F>, ask: &Ask) -> Option<Got> {
    let context = machine.context();
    let (first, nr_pages) = (ask.first, ask.nr_pages);
    macro_rules! take {
        ($kind:ty, $rules:ty) => {
            walk::take_one::<$kind, $rules, F, _, _>(machine, machine, &context, first, nr_pages)
        };
    }
    let Rules { access, longterm } = ask.rules;
    let one = match (ask.kind, access, longterm) {
        (Kind::Get, Access::Read, _) => take!(Get, ShortRead),
        (Kind::Get, Access::Write, _) => take!(Get, ShortWrite),
        (Kind::Pin, Access::Read, false) => take!(Pin, ShortRead),
        (Kind::Pin, Access::Write, false) => take!(Pin, ShortWrite),
        (Kind::Pin, Access::Read, true) => take!(Pin, LongRead),
        (Kind::Pin, Access::Write, true) => take!(Pin, LongWrite),
    }?;
    let page_shift = F::LEVELS[0].shift;
    let progress = Progress::from_one(first, nr_pages, one.level(), page_shift);
    Some(got::<F>(ask, vec![one.run()], None, progress, 0))
}

/// Takes all pages from one entry, or walks if that cannot be done.
pub fn take_one_or_walk<F: Encode>(machine: &Machine<F>, ask: &Ask) -> Got {
    machine.set_context(F::context(ask.rules.access));
    take_one(machine, ask).unwrap_or_else(|| walk_as_is(machine, ask))
}

/// Walks until all pages are taken or the walk stops.
///
/// # Panics
///
/// If a window makes no progress and gives no reason.
pub fn walk<F: Encode>(machine: &Machine<F>, ask: &Ask) -> Got {
    machine.set_context(F::context(ask.rules.access));
    walk_as_is(machine, ask)
}

/// Does the same with the context that the machine has.
pub fn walk_as_is<F: Encode>(machine: &Machine<F>, ask: &Ask) -> Got {
    let mut progress = Progress::new(ask.first, ask.nr_pages);
    let mut runs = Vec::new();
    let mut stop = None;
    let mut nr_windows = 0;
    while stop.is_none() && progress.nr_left != 0 {
        let before = progress;
        stop = one_window(machine, ask, &mut progress, &mut runs).err();
        nr_windows += 1;
        assert!(
            stop.is_some() || progress.nr_left < before.nr_left,
            "a window that gets nowhere"
        );
    }
    got::<F>(ask, runs, stop, progress, nr_windows)
}

/// Checks the runs and the progress, and makes them a result.
fn got<F: Format>(
    ask: &Ask,
    runs: Vec<Run>,
    stop: Option<Stop>,
    progress: Progress,
    nr_windows: usize,
) -> Got {
    let page_bytes = 1u64 << F::LEVELS[0].shift;
    let mut addr = ask.first;
    let mut pages = Vec::new();
    for run in &runs {
        assert_ne!(run.nr_pages(), 0, "an empty run");
        for i in 0..run.nr_pages() {
            pages.push((addr, run.first().add(i)));
            addr = addr.wrapping_add(page_bytes);
        }
    }
    assert_eq!(addr, progress.next, "where the walk stands");
    assert_eq!(pages.len() as u64, ask.nr_pages - progress.nr_left);
    assert_eq!(progress.nr_by_level.iter().sum::<u64>(), pages.len() as u64);
    Got {
        pages,
        runs,
        stop,
        progress,
        nr_windows,
    }
}
