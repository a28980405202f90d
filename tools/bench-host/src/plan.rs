// SPDX-License-Identifier: GPL-2.0

//! What is measured.

use crate::{
    cpu::Caches,
    engine::How,
    machine::{
        Kind,
        Order,
        Shape,
        STRUCT_PAGE, //
    },
};

/// Where the tables and the memory map are when a sample begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Warmth {
    /// In the caches of the CPU.
    Hot,
    /// In the last cache, but not in the one before.
    L3,
    /// In memory.
    Cold,
}

impl Warmth {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::L3 => "L3",
            Self::Cold => "cold",
        }
    }
}

/// The operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Take,
    Release,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Release => "release",
        }
    }
}

/// The threads, and the memory that each of them takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Threads {
    One,
    /// This many, each with its own part of the memory.
    Disjoint(usize),
    /// This many, all with the same memory.
    Same(usize),
}

impl Threads {
    pub(crate) fn nr(self) -> usize {
        match self {
            Self::One => 1,
            Self::Disjoint(nr) | Self::Same(nr) => nr,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Job {
    pub(crate) shape: Shape,
    pub(crate) warmth: Warmth,
    pub(crate) how: How,
    pub(crate) operation: Operation,
    pub(crate) pages_per_call: u64,
    pub(crate) threads: Threads,
}

impl Job {
    /// Returns whether the row is compared with the virtual machine.
    pub(crate) fn is_checked(&self) -> bool {
        (self.shape.order, self.warmth) == (Order::Descending, Warmth::Hot)
            && (self.operation, self.threads) == (Operation::Take, Threads::One)
            && self.shape.kind != Kind::File4K
    }

    /// Names the row in a few words.
    pub(crate) fn name(&self) -> String {
        let threads = match self.threads {
            Threads::One => String::new(),
            Threads::Disjoint(nr) => format!(", {nr} threads"),
            Threads::Same(nr) => format!(", {nr} threads on the same"),
        };
        format!(
            "{} {} {}, {} {}, {} a call{threads}",
            self.shape.kind.name(),
            self.shape.order.name(),
            self.warmth.name(),
            self.operation.name(),
            self.how.name(),
            self.pages_per_call
        )
    }
}

const MIB: u64 = (1 << 20) >> crate::machine::PAGE_SHIFT;

/// The number of pages in a call that takes a whole table, or a leaf.
pub(crate) const TABLE_PAGES: u64 = 512;

/// Returns how much memory is taken in a sample, in pages.
fn nr_pages(kind: Kind, warmth: Warmth, caches: Caches) -> u64 {
    match warmth {
        // Of leaves it takes many, so that a sample is longer than the clock's tick.
        Warmth::Hot if kind == Kind::Thp2M => 64 * MIB,
        Warmth::Hot => 2 * MIB,
        // The memory map of this is twice as large as the L2.
        Warmth::L3 => ((2 * caches.l2_bytes / STRUCT_PAGE) as u64).next_multiple_of(2 * MIB),
        Warmth::Cold => 1024 * MIB,
    }
}

/// The most pages that a job takes.
pub(crate) fn nr_pages_max(jobs: &[Job]) -> u64 {
    jobs.iter().map(|job| job.shape.nr_pages).max().unwrap_or(0)
}

/// Returns all rows.
pub(crate) fn jobs(caches: Caches, nr_cpus: usize) -> Vec<Job> {
    use Kind::*;
    use Order::*;
    use Warmth::*;

    let mut jobs = Vec::new();
    let mut add = |kind, order, warmth, operation, pages_per_call, threads| {
        for how in [How::Get, How::Pin] {
            jobs.push(Job {
                shape: Shape {
                    kind,
                    order,
                    nr_pages: nr_pages(kind, warmth, caches),
                },
                warmth,
                how,
                operation,
                pages_per_call,
                threads,
            });
        }
    };
    let (take, release, one) = (Operation::Take, Operation::Release, Threads::One);
    for kind in [Anon4K, Mthp64K, Thp2MSplit, Thp2M] {
        for pages_per_call in [1, TABLE_PAGES] {
            add(kind, Descending, Hot, take, pages_per_call, one);
        }
    }
    add(File4K, Descending, Hot, take, TABLE_PAGES, one);
    for warmth in [Hot, L3, Cold] {
        // Without a cache that is much larger, such a row would be of memory.
        if warmth == L3 && caches.l3_bytes < 8 * caches.l2_bytes {
            continue;
        }
        for order in [Ascending, Descending, Scattered] {
            if (warmth, order) != (Hot, Descending) {
                add(Anon4K, order, warmth, take, TABLE_PAGES, one);
            }
        }
        if warmth != Hot {
            for kind in [Mthp64K, Thp2MSplit, Thp2M] {
                add(kind, Scattered, warmth, take, TABLE_PAGES, one);
            }
        }
    }
    add(Anon4K, Scattered, Cold, take, 1, one);
    for kind in [Anon4K, Mthp64K, Thp2M] {
        for warmth in [Hot, Cold] {
            add(kind, Scattered, warmth, release, TABLE_PAGES, one);
        }
        add(kind, Descending, Hot, release, 1, one);
    }
    // Each number of threads twice the one before.
    let numbers =
        std::iter::successors(Some(2), |nr| Some(2 * nr)).take_while(|nr| *nr <= nr_cpus.min(4));
    for nr in numbers {
        add(
            Anon4K,
            Scattered,
            Cold,
            take,
            TABLE_PAGES,
            Threads::Disjoint(nr),
        );
        add(
            Thp2M,
            Scattered,
            Hot,
            take,
            TABLE_PAGES,
            Threads::Disjoint(nr),
        );
        add(Thp2M, Scattered, Hot, take, TABLE_PAGES, Threads::Same(nr));
        add(Anon4K, Descending, Hot, take, 1, Threads::Disjoint(nr));
    }
    jobs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all(nr_cpus: usize) -> Vec<Job> {
        jobs(Caches::SMALL, nr_cpus)
    }

    #[test]
    fn each_row_is_measured_once() {
        let jobs = all(4);
        let names: HashSet<_> = jobs.iter().map(Job::name).collect();
        assert_eq!(names.len(), jobs.len());
        for job in jobs {
            let nr_parts = match job.threads {
                Threads::Disjoint(nr) => nr as u64,
                Threads::One | Threads::Same(_) => 1,
            };
            let nr_pages = nr_parts * job.pages_per_call;
            assert_eq!(job.shape.nr_pages % nr_pages, 0, "{}", job.name());
        }
    }

    #[test]
    fn a_machine_with_one_cpu_has_no_rows_with_threads() {
        let nr_with = |nr_cpus, nr| {
            let jobs = all(nr_cpus);
            jobs.iter().filter(|job| job.threads.nr() == nr).count()
        };
        assert_eq!((nr_with(1, 2), nr_with(3, 4)), (0, 0));
        assert!(nr_with(2, 2) != 0 && nr_with(4, 4) != 0);
    }

    #[test]
    fn four_kinds_are_compared_with_the_virtual_machine() {
        // With references and pins, and with both lengths of a call.
        let nr_checked = all(1).iter().filter(|job| job.is_checked()).count();
        assert_eq!(nr_checked, 4 * 2 * 2);
    }
}
