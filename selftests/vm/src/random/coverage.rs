// SPDX-License-Identifier: GPL-2.0

//! Counts what the sequences meet: operations, kinds of requests, stop reasons, levels of leaves.

use std::collections::BTreeMap;

use rust_gup_uapi::{
    raw,
    Stop,
    StopAt, //
};

use super::{
    files::giant_file,
    notices,
    step::{
        Notice,
        Op, //
    }, //
};
use crate::{
    arch::has_pkeys,
    harness::memory::{
        execute_only,
        has_movable_memory,
        has_secret_memory,
        unowned_is_fast, //
    },
};

/// Prefix of the lines in which a process reports its counts.
const MARK: &str = "count\t";
/// Name under which each case is counted.
const CASE: &str = "cases";

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    fn add(&mut self, name: &str, nr: u64) {
        if nr != 0 {
            *self.0.entry(name.to_owned()).or_default() += nr;
        }
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn operation(&mut self, name: &str, done: bool) {
        let how = if done { "done" } else { "refused" };
        self.add(&format!("operation {name} {how}"), 1);
    }

    pub(super) fn case(&mut self, way: &str) {
        self.add(CASE, 1);
        self.add(&format!("way {way}"), 1);
    }

    /// Counts the result of a request: an error number, or 0.
    pub(super) fn answer(&mut self, errno: i32) {
        self.add(&format!("errno {errno}"), 1);
    }

    /// Counts where the fast walk stopped, and the pages that it took at each level.
    pub(super) fn walk(&mut self, stop: Option<StopAt>, nr_by_level: &[u64]) {
        if let Some(stop) = stop {
            self.add(&format!("stop {}", stop.reason.name()), 1);
        }
        for (level, nr_pages) in nr_by_level.iter().enumerate() {
            self.add(&format!("pages level {level}"), *nr_pages);
        }
    }

    /// Counts something else that is worth counting.
    pub(super) fn met(&mut self, what: &str) {
        self.add(&format!("met {what}"), 1);
    }

    pub(super) fn nr_cases(&self) -> u64 {
        self.get(CASE)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (name, nr) in &other.0 {
            self.add(name, *nr);
        }
    }

    /// Reports the counts to the parent process.
    pub(super) fn tell(&self) {
        for (name, nr) in &self.0 {
            println!("{MARK}{name}\t{nr}");
        }
    }

    /// Takes the counts out of the output of a process.
    pub(super) fn listen(said: &mut Vec<String>) -> Self {
        let mut coverage = Self::default();
        said.retain(|line| {
            let count = line.strip_prefix(MARK).and_then(|l| l.split_once('\t'));
            let Some((name, nr)) = count else { return true };
            coverage.add(name, nr.parse().unwrap_or(0));
            false
        });
        coverage
    }

    /// Returns the counts of a group, in one line.
    fn line(&self, group: &str) -> String {
        let counts: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, nr)| Some(format!("{} {nr}", name.strip_prefix(group)?.trim())))
            .collect();
        format!("{group}: {}", counts.join(", "))
    }

    /// Returns all counts, one line for each group.
    pub(super) fn lines(&self) -> Vec<String> {
        let groups = ["operation", "way", "errno", "stop", "pages", "met"];
        groups.iter().map(|g| self.line(g)).collect()
    }

    /// Returns the stop reasons that were not met although they can be met.
    pub(super) fn missing_stops(&self) -> Vec<&'static str> {
        Stop::all()
            .filter(|stop| why_not_reachable(*stop).is_none())
            .map(Stop::name)
            .filter(|name| self.get(&format!("stop {name}")) == 0)
            .collect()
    }

    /// Returns the operations that were never done although the machine can do them.
    pub(super) fn missing_operations(&self) -> Vec<String> {
        Op::names()
            .filter(|name| why_not_doable(name).is_none())
            .filter(|name| self.get(&format!("operation {name} done")) == 0)
            .collect()
    }

    /// Returns the levels of leaves that were not met.
    pub(super) fn missing_levels(&self, nr_levels: usize) -> Vec<usize> {
        (0..nr_levels)
            .filter(|level| self.get(&format!("pages level {level}")) == 0)
            .collect()
    }
}

/// Says why a single process cannot meet a stop reason on memory at rest.
pub(super) fn why_not_reachable(stop: Stop) -> Option<&'static str> {
    Some(match stop.number() {
        raw::RUST_GUP_STOP_CHANGED
        | raw::RUST_GUP_STOP_UNREFERENCED
        | raw::RUST_GUP_STOP_SPLIT
        | raw::RUST_GUP_STOP_FORK => "takes a race",
        // Memory that may only be executed is no memory of user space there.
        raw::RUST_GUP_STOP_NOT_USER if execute_only() == Some(raw::RUST_GUP_STOP_NOT_USER) => {
            return None
        }
        raw::RUST_GUP_STOP_NOT_USER | raw::RUST_GUP_STOP_BAD => {
            "no entry of user space is like that"
        }
        raw::RUST_GUP_STOP_PKEY if !has_pkeys() => "there are no protection keys",
        raw::RUST_GUP_STOP_SECRET if !has_secret_memory() => "there is no secret memory",
        raw::RUST_GUP_STOP_DEVICE => "there is no such memory on this machine",
        raw::RUST_GUP_STOP_LONGTERM if !has_movable_memory() => {
            "there is no movable memory: boot with movablecore=1G"
        }
        raw::RUST_GUP_STOP_NO_MAPPING if unowned_is_fast() => {
            "such pages are taken, and nobody maps them for writing"
        }
        raw::RUST_GUP_STOP_ZERO_PAGE => "its entries are special, which is said first",
        raw::RUST_GUP_STOP_INACCESSIBLE => "not on this architecture",
        raw::RUST_GUP_STOP_RANGE => "such a range is refused before",
        raw::RUST_GUP_STOP_OFF => "only where the walk is off",
        raw::RUST_GUP_STOP_SIGNAL => "takes a process that is being killed",
        raw::RUST_GUP_STOP_TOO_MANY_REFS => "takes half a million pins of one page",
        _ => return None,
    })
}

/// Says why this machine always refuses an operation.
pub(super) fn why_not_doable(operation: &str) -> Option<&'static str> {
    match operation {
        "MapGiant" if giant_file().is_none() => Some("there is no page of 1 GiB"),
        "Map Secret" if !has_secret_memory() => Some("there is no secret memory"),
        "ProtectByKey" if !has_pkeys() => Some("there are no protection keys"),
        _ if Notice::ALL.into_iter().any(|notice| {
            Op::name_of_notice(notice) == operation && !notices::can_be_given(notice)
        }) =>
        {
            Some("the kernel has no such notices")
        }
        _ => None,
    }
}
