// SPDX-License-Identifier: GPL-2.0

//! The ways in which takers ask for pages, and the results of each. A race in which a way had no part shows nothing
//! about that way.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        Mutex,
        PoisonError, //
    }, //
};

use rand::{
    rngs::SmallRng,
    Rng, //
};
use rust_gup_uapi::{
    Access,
    Fallback,
    How,
    Request, //
};

use crate::harness::fixture::{
    ACCESSES,
    HOWS, //
};

const FALLBACKS: [Fallback; 2] = [Fallback::Slow, Fallback::Never];
const NR: usize = HOWS.len() * ACCESSES.len() * FALLBACKS.len();

/// One way of asking for pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) how: How,
    pub(super) access: Access,
    pub(super) fallback: Fallback,
}

impl Way {
    /// Returns all ways.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        HOWS.into_iter().flat_map(|how| {
            ACCESSES.into_iter().flat_map(move |access| {
                FALLBACKS.into_iter().map(move |fallback| Self {
                    how,
                    access,
                    fallback,
                })
            })
        })
    }

    /// Selects a way at random, more often a pin, because most races are about pins.
    fn at_random(random: &mut SmallRng) -> Self {
        Self {
            how: [How::Get, How::Pin, How::Pin, How::LongTerm][random.random_range(0..4)],
            access: ACCESSES[random.random_range(0..2)],
            fallback: FALLBACKS[random.random_range(0..2)],
        }
    }

    /// Returns the way of a request.
    pub(super) fn of(request: &Request) -> Self {
        Self {
            how: request.how,
            access: request.access,
            fallback: request.fallback,
        }
    }

    fn index(self) -> usize {
        let index = Self::all().position(|way| way == self);
        index.expect("each way is one of all")
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fallback = match self.fallback {
            Fallback::Slow => "",
            Fallback::Never => ", fast only",
        };
        write!(f, "{} {}{fallback}", self.how.name(), self.access.name())
    }
}

/// Pages of a race that cannot be taken in this way, by any taker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) how: How,
    pub(super) access: Access,
    /// The error number of the slow path. The fast walk alone takes nothing and returns no error.
    pub(super) errno: i32,
}

impl Refusal {
    fn covers(&self, way: Way) -> bool {
        (self.how, self.access) == (way.how, way.access)
    }
}

/// The failures that a race allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) refusals: Vec<Refusal>,
    /// At times the memory is not mapped, or mapped without the right.
    pub(super) may_be_absent: bool,
    /// Pages may lie where nothing may be pinned for long, so they have to be moved first.
    pub(super) may_have_to_move: bool,
}

impl Rules {
    /// Whether a request in this way may fail with this error.
    pub(super) fn allow(&self, way: Way, errno: i32) -> bool {
        let refused = |refusal: &Refusal| refusal.covers(way) && refusal.errno == errno;
        match errno {
            _ if way.fallback == Fallback::Never => false,
            libc::EFAULT if self.may_be_absent => true,
            // Another taker holds the page, so migrate_longterm_unpinnable_folios() could not move it.
            libc::ENOMEM if self.may_have_to_move && way.how == How::LongTerm => true,
            _ => self.refusals.iter().any(refused),
        }
    }
}

/// The results of one way.
#[derive(Debug, Default)]
struct Count {
    asked: AtomicU64,
    /// How often there were pages.
    taken: AtomicU64,
    /// Pages that were looked at, and bore their owner's stamp.
    looks: AtomicU64,
}

/// The results of each way.
#[derive(Debug, Default)]
pub(super) struct Ways {
    counts: [Count; NR],
    /// How often a way failed, by its index and the error.
    errors: Mutex<BTreeMap<(usize, i32), u64>>,
}

impl Ways {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_request(&self, way: Way) {
        Self::add(&self.counts[way.index()].asked);
    }

    pub(super) fn note_taken(&self, way: Way) {
        Self::add(&self.counts[way.index()].taken);
    }

    /// Notes that a page bore its stamp.
    pub(super) fn note_look(&self, way: Way) {
        Self::add(&self.counts[way.index()].looks);
    }

    pub(super) fn note_error(&self, way: Way, errno: i32) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry((way.index(), errno)).or_default() += 1;
    }

    /// Selects the way of the next request. Half of the time it is a way without evidence so far.
    pub(super) fn choose(&self, rules: &Rules, random: &mut SmallRng) -> Way {
        let way = Way::at_random(random);
        if random.random_ratio(1, 2) {
            return way;
        }
        let lacks = |way: &Way| self.complaint(*way, rules).is_some();
        let lacking: Vec<_> = Way::all().filter(lacks).collect();
        match lacking.len() {
            0 => way,
            nr => lacking[random.random_range(0..nr)],
        }
    }

    /// Returns what is wrong with the results of a way so far. There must have been pages that were looked at, unless
    /// the way is refused and must not have had any.
    fn complaint(&self, way: Way, rules: &Rules) -> Option<String> {
        let count = &self.counts[way.index()];
        let [taken, looks] = [&count.taken, &count.looks].map(|n| n.load(Ordering::Relaxed));
        let is_refused = rules.refusals.iter().any(|refusal| refusal.covers(way));
        let what = match (is_refused, taken, looks) {
            (true, 0, _) => return None,
            (true, ..) => "pages that this race says cannot be had",
            (false, 0, _) => "no page was ever taken",
            (false, _, 0) => "no page with a stamp was looked at",
            (false, ..) => return None,
        };
        Some(format!("{way}: {what}"))
    }

    /// Returns what is wrong with the results of all ways.
    pub(super) fn complaints(&self, rules: &Rules) -> Vec<String> {
        let complaint = |way| self.complaint(way, rules);
        Way::all().filter_map(complaint).collect()
    }

    /// Describes the results of a way.
    fn result(&self, way: Way) -> String {
        let count = &self.counts[way.index()];
        let [asked, taken, looks] =
            [&count.asked, &count.taken, &count.looks].map(|n| n.load(Ordering::Relaxed));
        let mut result = format!("{way}: {taken} of {asked} taken, {looks} looks");
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, errno), nr) in errors.iter().filter(|((i, _), _)| *i == way.index()) {
            result += &format!(", {nr} times error {errno}");
        }
        result
    }

    /// Describes the results of all ways, in some lines.
    pub(super) fn report(&self) -> String {
        let results: Vec<_> = Way::all().map(|way| self.result(way)).collect();
        let lines: Vec<_> = results
            .chunks(FALLBACKS.len())
            .map(|l| l.join("; "))
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW_LONGTERM: Way = Way {
        how: How::LongTerm,
        access: Access::Write,
        fallback: Fallback::Slow,
    };

    /// Returns results in which all `wanted` ways had pages, and no other way.
    fn taken(wanted: impl Fn(Way) -> bool) -> Ways {
        let ways = Ways::default();
        for way in Way::all() {
            ways.note_request(way);
            if wanted(way) {
                ways.note_taken(way);
                ways.note_look(way);
            }
        }
        ways
    }

    fn writable_longterm() -> Rules {
        let refusal = Refusal {
            how: How::LongTerm,
            access: Access::Write,
            errno: libc::EFAULT,
        };
        Rules {
            refusals: vec![refusal],
            ..Rules::default()
        }
    }

    #[test]
    fn each_way_has_a_place_of_its_own() {
        let places: Vec<_> = Way::all().map(Way::index).collect();
        assert_eq!(places, (0..NR).collect::<Vec<_>>());
    }

    #[test]
    fn a_way_that_never_had_pages_is_noticed() {
        assert!(taken(|_| true).complaints(&Rules::default()).is_empty());
        for missing in Way::all() {
            let complaints = taken(|way| way != missing).complaints(&Rules::default());
            assert_eq!(complaints, [format!("{missing}: no page was ever taken")]);
        }
    }

    #[test]
    fn pages_that_nobody_looked_at_are_noticed() {
        let ways = taken(|way| way != SLOW_LONGTERM);
        ways.note_taken(SLOW_LONGTERM);
        assert_eq!(ways.complaints(&Rules::default()).len(), 1);
    }

    #[test]
    fn what_is_said_to_be_refused_has_to_be() {
        let is_refused = |way: Way| (way.how, way.access) == (How::LongTerm, Access::Write);
        let rules = writable_longterm();
        assert!(taken(|way| !is_refused(way)).complaints(&rules).is_empty());
        assert_eq!(taken(|_| true).complaints(&rules).len(), 2);
    }

    #[test]
    fn errors_have_a_reason() {
        let none = Rules::default();
        assert!(!none.allow(SLOW_LONGTERM, libc::EFAULT));
        assert!(!none.allow(SLOW_LONGTERM, libc::ENOMEM));
        assert!(writable_longterm().allow(SLOW_LONGTERM, libc::EFAULT));
        assert!(!writable_longterm().allow(SLOW_LONGTERM, libc::EINVAL));
        let moving = Rules {
            may_have_to_move: true,
            ..Rules::default()
        };
        assert!(moving.allow(SLOW_LONGTERM, libc::ENOMEM));
        let pin = Way {
            how: How::Pin,
            ..SLOW_LONGTERM
        };
        assert!(!moving.allow(pin, libc::ENOMEM));
        let fast = Way {
            fallback: Fallback::Never,
            ..SLOW_LONGTERM
        };
        assert!(!moving.allow(fast, libc::ENOMEM));
    }

    #[test]
    fn errors_are_counted_and_shown() {
        let ways = taken(|_| true);
        (0..3).for_each(|_| ways.note_error(SLOW_LONGTERM, libc::ENOMEM));
        let expected = "longterm write: 1 of 1 taken, 1 looks, 3 times error 12";
        assert_eq!(ways.result(SLOW_LONGTERM), expected);
        assert!(ways.report().contains(expected));
    }
}
