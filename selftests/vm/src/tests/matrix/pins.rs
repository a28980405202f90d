// SPDX-License-Identifier: GPL-2.0

//! The counters of pins in /proc/vmstat, and what taking and releasing a range adds to them.

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    Engine,
    Pinned, //
};

use super::{
    case::{
        Bytes,
        Outlook,
        State, //
    },
    situation::{
        Scene,
        Way, //
    }, //
};
use crate::harness::{
    guard::{
        pin_counters,
        PinCounters, //
    },
    proof::{
        kpageflags,
        kpf, //
    }, //
};

/// Returns the range for which pins are counted, the one with the most pages that can be taken. Reading the counters
/// takes long, so it is only one range.
pub(super) fn counted(scene: &Scene, way: Way, engine: Engine, ranges: &[Bytes]) -> Option<Bytes> {
    let nr_pages = |bytes: Bytes| Outlook::of(scene, way, bytes, State::Rest).taken(engine).0;
    let counted = ranges
        .iter()
        .copied()
        .filter(|bytes| nr_pages(*bytes) != 0)
        .max_by_key(|bytes| nr_pages(*bytes));
    let mut pages = 0..scene.words.len();
    let can_be_had = pages.any(|page| nr_pages(((page * page_bytes()) as isize, 1)) != 0);
    assert_eq!(counted.is_some(), can_be_had, "{way:?}: a range to be had");
    counted
}

/// Returns how many pins a handle must add to the counters.
fn nr_pins(pinned: &Pinned<'_>, way: Way) -> u64 {
    if !way.is_pin() {
        return 0;
    }
    let runs = pinned.runs().expect("RUNS");
    runs.iter()
        .flat_map(|run| kpageflags(run.pfn.expect("root may see it"), run.nr_pages))
        // The zero page is not counted (mm/gup.c:542), but the huge one is.
        .filter(|flags| flags & kpf::ZERO_PAGE == 0 || flags & kpf::THP != 0)
        .count() as u64
}

/// Watches the counters from before a range is taken until it is released.
pub(super) struct Watch {
    before: PinCounters,
}

/// A watch while the handle is held.
pub(super) struct Held {
    before: PinCounters,
    nr_pins: u64,
    /// Pins that were already counted as acquired and as released when the range had been taken.
    pub(super) nr_given_back: u64,
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self {
            before: pin_counters(),
        }
    }

    /// Fails unless each page of `pinned` is counted once.
    pub(super) fn taken(self, pinned: &Pinned<'_>, way: Way, what: &str) -> Held {
        let added = pin_counters().since(self.before);
        let nr_pins = nr_pins(pinned, way);
        let nr_given_back = added.released;
        assert_eq!(
            added.acquired.wrapping_sub(nr_given_back),
            nr_pins,
            "{what}: pins in /proc/vmstat, {added:?}"
        );
        Held {
            before: self.before,
            nr_pins,
            nr_given_back,
        }
    }

    /// Fails if pins of a refused range are still counted.
    pub(super) fn refused(self, what: &str) {
        let added = pin_counters().since(self.before);
        assert_eq!(
            added.acquired, added.released,
            "{what}: pins in /proc/vmstat of what was refused"
        );
    }
}

impl Held {
    /// Checks the counters after the handle was released. Each of its pages must be counted once, and nothing else.
    pub(super) fn released(self, what: &str) {
        let added = pin_counters().since(self.before);
        let all = self.nr_given_back + self.nr_pins;
        assert_eq!(
            (added.acquired, added.released),
            (all, all),
            "{what}: pins acquired and released in /proc/vmstat"
        );
    }
}
