// SPDX-License-Identifier: GPL-2.0

//! The rival: the actions of other CPUs while the walk is under way.
//!
//! A rival has a program of a few steps. Each step is atomic. A walk passes some dozen points. [`interleave`] tries
//! every way in which the steps can fall between the points, and checks the machine after each.

use std::collections::BTreeMap;

use crate::{
    drive::{take_one, take_one_or_walk, walk, Ask, Got},
    encode::Encode,
    machine::Machine,
};

/// How a program continues after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Continues with the next step.
    Step,
    /// Ends: the rival has found somebody else there.
    BackOff,
}

type Step<F> = Box<dyn FnMut(&Machine<F>) -> Next>;

/// The program of a rival.
pub struct Program<F: Encode> {
    steps: Vec<Step<F>>,
}

impl<F: Encode> Default for Program<F> {
    fn default() -> Self {
        Self { steps: Vec::new() }
    }
}

impl<F: Encode> Program<F> {
    /// Adds a step.
    #[must_use]
    pub fn then(mut self, mut step: impl FnMut(&Machine<F>) + 'static) -> Self {
        self.steps.push(Box::new(move |machine| {
            step(machine);
            Next::Step
        }));
        self
    }

    /// Adds a step after which the program may end.
    #[must_use]
    pub fn then_if(mut self, step: impl FnMut(&Machine<F>) -> Next + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    /// Appends the steps of another program.
    #[must_use]
    pub fn and(mut self, mut other: Self) -> Self {
        self.steps.append(&mut other.steps);
        self
    }
}

/// A program, and the points at which its steps are due.
pub struct Rival<F: Encode> {
    steps: Vec<Step<F>>,
    due: Vec<usize>,
    nr_done: usize,
    backed_off: bool,
    range: (u64, u64),
}

impl<F: Encode> Rival<F> {
    /// Makes a rival whose steps are due at these points, in an order that does not descend. After each step it records
    /// the translations of the walk's range.
    pub fn new(program: Program<F>, due: Vec<usize>, first: u64, nr_pages: u64) -> Self {
        assert_eq!(program.steps.len(), due.len());
        Self {
            steps: program.steps,
            due,
            nr_done: 0,
            backed_off: false,
            range: (first, nr_pages),
        }
    }

    /// Does the steps that are due.
    pub(crate) fn act(&mut self, machine: &Machine<F>, now: usize) {
        while !self.backed_off && self.nr_done < self.steps.len() && self.due[self.nr_done] <= now {
            let next = self.steps[self.nr_done](machine);
            self.backed_off = next == Next::BackOff;
            self.nr_done += 1;
            machine.record(self.range.0, self.range.1);
        }
    }

    /// Returns the number of steps that were done.
    pub(crate) fn nr_done(&self) -> usize {
        self.nr_done
    }
}

/// The results of all interleavings.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of walks.
    pub nr: usize,
    /// For each way in which a walk ended, the number of walks, and the most pages that one of them took.
    pub ends: BTreeMap<String, (usize, usize)>,
    /// The number of times references were given back.
    pub nr_puts: u64,
}

impl Tally {
    fn add<F: Encode>(&mut self, machine: &Machine<F>, got: &Got) {
        let end = got.stop.map_or("all".into(), |stop| format!("{stop:?}"));
        let (nr, most) = self.ends.entry(end).or_default();
        *nr += 1;
        *most = got.pages.len().max(*most);
        self.nr += 1;
        self.nr_puts += machine.memmap().nr_puts;
    }

    /// Adds the results of other interleavings.
    fn append(&mut self, other: Self) {
        self.nr += other.nr;
        self.nr_puts += other.nr_puts;
        for (end, (nr, most)) in other.ends {
            let sum = self.ends.entry(end).or_default();
            sum.0 += nr;
            sum.1 = sum.1.max(most);
        }
    }

    /// Tells whether some walks ended in this way.
    pub fn saw(&self, end: &str) -> bool {
        self.ends.contains_key(end)
    }

    /// Asserts that walks ended in exactly these ways, so that a test cannot lose its meaning unnoticed.
    ///
    /// # Panics
    ///
    /// If walks ended in other ways.
    pub fn assert_ends(&self, ends: &[&str]) {
        let seen: Vec<_> = self.ends.keys().map(String::as_str).collect();
        let mut ends = ends.to_vec();
        ends.sort_unstable();
        assert_eq!(seen, ends, "{self:?}");
    }
}

/// Tries every way in which the steps of a program fall between the points of a walk. Tries each with the exclusive
/// flags seen at once, and seen as late as possible. Where one entry maps all pages, tries that way to take them as well.
/// `scene` sets up the machine and returns the program of the rival.
///
/// # Panics
///
/// If the machine finds something wrong. The message has the points at which the steps were due.
pub fn interleave<F: Encode>(ask: &Ask, scene: impl Fn() -> (Machine<F>, Program<F>)) -> Tally {
    let mut tally = interleave_with(ask, &scene, walk);
    let (machine, _) = scene();
    machine.set_context(F::context(ask.rules.access));
    if take_one(&machine, ask).is_some() {
        tally.append(interleave_with(ask, &scene, take_one_or_walk));
    }
    tally
}

/// Does the same with another function that walks.
pub fn interleave_with<F: Encode>(
    ask: &Ask,
    scene: impl Fn() -> (Machine<F>, Program<F>),
    walk: impl Fn(&Machine<F>, &Ask) -> Got,
) -> Tally {
    let mut tally = Tally::default();
    let nr_steps = scene().1.steps.len();
    let mut due = vec![0; nr_steps];
    loop {
        let mut nr_points = 0;
        let mut nr_done = 0;
        for delay_flags in [false, true] {
            let (machine, program) = scene();
            machine.set_context(F::context(ask.rules.access));
            machine.delay_flags(delay_flags);
            machine.record(ask.first, ask.nr_pages);
            let rival = Rival::new(program, due.clone(), ask.first, ask.nr_pages);
            let report = Report { due: &due };
            machine.set_rival(rival);
            let got = walk(&machine, ask);
            nr_points = machine.nr_points();
            nr_done = machine.finish_rival();
            tally.add(&machine, &got);
            machine.audit(ask, &got);
            drop(report);
        }
        // Go on to the next way: the last step that was due before the end of the walk is due one point later, and the
        // steps after it are due no earlier. Steps that were not reached need no other try.
        let Some(last) = (0..nr_done).rev().find(|&i| due[i] < nr_points) else {
            return tally;
        };
        let next = due[last] + 1;
        due[last..].fill(next);
    }
}

/// Prints the points at which the steps were due, if the test fails.
struct Report<'a> {
    due: &'a [usize],
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the steps of the rival were due at {:?}", self.due);
        }
    }
}
