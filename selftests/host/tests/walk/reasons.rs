// SPDX-License-Identifier: GPL-2.0

//! The pages that the walk refuses, and the reasons. Whatever the reason, no reference stays behind: the audit checks
//! every count.

use rust_gup_host::{
    drive::{walk, Ask, Got, Kind},
    encode::{ro, rw, Encode},
    machine::{Build, Machine},
    tiny::Tiny,
    walk::{Access, FolioState, Folios, Level, Owner, Pfn, Run, Stop, MAX_REFS},
};

/// Makes a machine with one folio. Its pages, at most four, are mapped from address 0 on.
fn machine(build: Build, writable: bool) -> Machine<Tiny> {
    let machine = Machine::new(Level::PMD, Pfn::new(8), 8, Access::Read);
    machine.memmap().build(0, build);
    let page = |nr| if writable { rw(8 + nr) } else { ro(8 + nr) };
    machine.map(0, (0..build.nr_pages.min(4) as u64).map(page));
    machine
}

/// Makes the same machine, with a huge leaf at address 0.
fn machine_with_leaf(build: Build, writable: bool) -> Machine<Tiny> {
    let machine = machine(build, writable);
    let page = if writable { rw(8) } else { ro(8) };
    machine.install(0, Level::PMD, Tiny::leaf(Level::PMD, page));
    machine
}

fn ask(machine: &Machine<Tiny>, ask: Ask) -> Got {
    machine.record(ask.first, ask.nr_pages);
    let got = walk(machine, &ask);
    machine.audit(&ask, &got);
    got
}

/// Asserts that the first page is refused.
fn refused(machine: &Machine<Tiny>, request: Ask, stop: Stop) {
    let got = ask(machine, request);
    assert_eq!((got.pages.len(), got.stop), (0, Some(stop)), "{request:?}");
}

/// Asserts that all pages are taken.
fn granted(machine: &Machine<Tiny>, request: Ask) {
    let got = ask(machine, request);
    assert_eq!(got.stop, None, "{request:?}");
}

const READ: [Ask; 2] = [Ask::read(Kind::Get, 0, 1), Ask::read(Kind::Pin, 0, 1)];
const WRITE: [Ask; 2] = [Ask::write(Kind::Get, 0, 1), Ask::write(Kind::Pin, 0, 1)];
const LONGTERM: [Ask; 2] = [
    Ask::read(Kind::Pin, 0, 1).longterm(),
    Ask::write(Kind::Pin, 0, 1).longterm(),
];

mod counts {
    use super::*;

    #[test]
    fn a_folio_without_references_is_left_alone() {
        let machine = machine(Build::anon(1), true);
        assert!(machine.memmap().freeze(0));
        machine.set_context(Access::Read);
        for request in READ {
            assert_eq!(walk(&machine, &request).stop, Some(Stop::Unreferenced));
        }
        assert_eq!(machine.memmap().page(0).refs, 0);
    }

    #[test]
    fn a_count_that_could_overflow_is_left_alone() {
        for refs in [MAX_REFS as i32 + 1, i32::MAX, i32::MIN, -5, -1] {
            let machine = machine(Build::anon(1).with_refs(refs), true);
            for request in READ {
                refused(&machine, request, Stop::TooManyRefs);
            }
        }
        for request in READ {
            let machine = machine(Build::anon(1).with_refs(MAX_REFS as i32), true);
            machine.set_context(Access::Read);
            assert_eq!(walk(&machine, &request).stop, None);
        }
    }

    #[test]
    fn a_pin_of_a_small_folio_counts_1024_and_of_a_large_one_1_and_a_pin() {
        for (build, nr_pages, refs, pincount) in [
            (Build::anon(1), 1, 1 + 1024, 0),
            (Build::anon(4), 1, 4 + 1, 1),
            (Build::anon(4), 3, 4 + 3, 3),
        ] {
            let machine = machine(build, true);
            let request = Ask::write(Kind::Pin, 0, nr_pages);
            let got = walk(&machine, &request);
            let folio = machine.memmap().page(0).clone();
            assert_eq!((folio.refs, folio.pincount), (refs, pincount));
            assert_eq!(machine.memmap().nr_pinned, nr_pages);
            machine.record(0, nr_pages);
            machine.audit(&request, &got);
        }
    }

    #[test]
    fn a_plain_reference_counts_one_a_page_and_is_not_counted_as_a_pin() {
        let machine = machine(Build::anon(4), true);
        let request = Ask::write(Kind::Get, 0, 3);
        let got = walk(&machine, &request);
        let folio = machine.memmap().page(0).clone();
        assert_eq!((folio.refs, folio.pincount), (4 + 3, 0));
        assert_eq!(machine.memmap().nr_pinned, 0);
        machine.record(0, 3);
        machine.audit(&request, &got);
    }

    #[test]
    fn a_huge_leaf_is_one_grab() {
        let machine = machine_with_leaf(Build::anon(4), true);
        let got = ask(&machine, Ask::write(Kind::Pin, 0, 2));
        assert_eq!(got.progress.nr_grabs, 1);
        assert_eq!(got.progress.nr_by_level[Level::PMD.index()], 2);
    }

    #[test]
    fn a_huge_leaf_that_is_longer_than_its_folio_is_refused() {
        for build in [Build::anon(1), Build::anon(2)] {
            let machine = Machine::<Tiny>::new(Level::PUD, Pfn::new(8), 8, Access::Read);
            machine.memmap().build(0, build);
            machine.install(0, Level::PUD, Tiny::leaf(Level::PUD, rw(8)));
            for kind in [Kind::Get, Kind::Pin] {
                refused(&machine, Ask::read(kind, 0, 3), Stop::Split);
            }
        }
    }

    #[test]
    fn the_referenced_flag_is_set_once() {
        for kind in [Kind::Get, Kind::Pin] {
            let machine = machine(Build::anon(1), true);
            assert!(!machine.state(0).is_referenced());
            granted(&machine, Ask::read(kind, 0, 1));
            assert!(machine.state(0).is_referenced());
            granted(&machine, Ask::read(kind, 0, 1));
            assert_eq!(machine.memmap().nr_flags_set, 1);
        }
    }
}

mod entries {
    use super::*;

    #[test]
    fn nothing_mapped_is_absent() {
        let machine = Machine::<Tiny>::new(Level::PUD, Pfn::new(8), 8, Access::Read);
        for request in READ {
            refused(&machine, request, Stop::Absent);
        }
    }

    #[test]
    fn a_read_only_page_is_not_had_for_writing() {
        let pages = machine(Build::anon(1), false);
        let leaf = machine_with_leaf(Build::anon(2), false);
        for machine in [pages, leaf] {
            WRITE
                .iter()
                .for_each(|request| refused(&machine, *request, Stop::ReadOnly));
            READ.iter().for_each(|request| granted(&machine, *request));
        }
    }

    #[test]
    fn an_entry_that_leads_to_no_table_is_bad() {
        let machine = Machine::<Tiny>::new(Level::PUD, Pfn::new(8), 8, Access::Read);
        machine.install(0, Level::PUD, 0x7777_0001);
        for request in READ {
            refused(&machine, request, Stop::Bad);
        }
    }
}

mod owners {
    use super::*;

    fn of(owner: Owner, nr_pages: usize) -> Machine<Tiny> {
        machine(Build::anon(nr_pages).owned_by(owner), true)
    }

    #[test]
    fn small_folios_are_refused_by_who_owns_them() {
        for (owner, stop) in [
            (Owner::Unevictable, Stop::Secret),
            (Owner::ZeroPage, Stop::ZeroPage),
            (Owner::None, Stop::NoMapping),
            (Owner::Other, Stop::Bad),
        ] {
            for request in [READ, WRITE, LONGTERM].concat() {
                refused(&of(owner, 1), request, stop);
            }
        }
    }

    #[test]
    fn small_folios_without_an_owner_are_had_where_the_kernel_admits_them() {
        let admits = || {
            let machine = of(Owner::None, 1);
            machine.memmap().admits_unowned = true;
            machine
        };
        for request in [READ, WRITE].concat() {
            granted(&admits(), request);
        }
        // A pin for writing for long is refused, because the page could belong to a file.
        let longterm = Ask::write(Kind::Pin, 0, 1).longterm();
        refused(&admits(), longterm, Stop::NoMapping);
        let zero_page = of(Owner::ZeroPage, 1);
        zero_page.memmap().admits_unowned = true;
        refused(&zero_page, Ask::read(Kind::Pin, 0, 1), Stop::ZeroPage);
    }

    #[test]
    fn small_folios_of_files_and_tmpfs_are_had() {
        for owner in [Owner::File, Owner::Shmem, Owner::Hugetlb] {
            for request in [READ, WRITE].concat() {
                granted(&of(owner, 1), request);
            }
        }
    }

    #[test]
    fn large_folios_are_had_whoever_owns_them() {
        // Secret memory and the zero page come in small folios only.
        for owner in [Owner::File, Owner::Shmem, Owner::Unevictable, Owner::None] {
            for request in [READ, WRITE].concat() {
                granted(&of(owner, 2), request);
            }
        }
    }

    #[test]
    fn a_files_pages_are_not_pinned_for_writing_for_long() {
        let longterm = Ask::write(Kind::Pin, 0, 1).longterm();
        for nr_pages in [1, 2] {
            refused(&of(Owner::File, nr_pages), longterm, Stop::FileLongterm);
            refused(&of(Owner::None, nr_pages), longterm, Stop::NoMapping);
            refused(&of(Owner::Unevictable, nr_pages), longterm, Stop::Secret);
            granted(&of(Owner::Shmem, nr_pages), longterm);
            granted(&of(Owner::Hugetlb, nr_pages), longterm);
            granted(&of(Owner::Anon, nr_pages), longterm);
            // Pins for reading for long are granted.
            granted(
                &of(Owner::File, nr_pages),
                Ask::read(Kind::Pin, 0, 1).longterm(),
            );
        }
    }

    #[test]
    fn what_is_not_anonymous_is_not_pinned_read_only_for_long_where_it_may_be_private() {
        for nr_pages in [1, 2] {
            let build = Build::anon(nr_pages).owned_by(Owner::Shmem);
            let longterm = Ask::read(Kind::Pin, 0, 1).longterm();
            refused(&machine(build, false), longterm, Stop::Unshare);
            granted(&machine(build, false), Ask::read(Kind::Pin, 0, 1));
            // The entry is writable, so the mapping is not private, or the page would be anonymous.
            granted(&machine(build, true), longterm);
        }
        let leaf = machine_with_leaf(Build::anon(2).owned_by(Owner::Shmem), false);
        refused(&leaf, Ask::read(Kind::Pin, 0, 2).longterm(), Stop::Unshare);
    }

    #[test]
    fn what_cannot_stay_is_not_pinned_for_long() {
        let pages = machine(Build::anon(1), true);
        let leaf = machine_with_leaf(Build::anon(2), true);
        for machine in [pages, leaf] {
            machine.memmap().page_mut(0).longterm_pinnable = false;
            LONGTERM
                .iter()
                .for_each(|request| refused(&machine, *request, Stop::Longterm));
            [READ, WRITE]
                .concat()
                .iter()
                .for_each(|request| granted(&machine, *request));
        }
    }

    #[test]
    fn what_cannot_be_made_accessible_is_not_pinned() {
        let machine = machine(Build::anon(2), true);
        machine.memmap().page_mut(0).accessible = false;
        for pin in [Ask::read(Kind::Pin, 0, 2), Ask::write(Kind::Pin, 0, 2)] {
            refused(&machine, pin, Stop::Inaccessible);
        }
        for get in [Ask::read(Kind::Get, 0, 2), Ask::write(Kind::Get, 0, 2)] {
            granted(&machine, get);
        }
    }
}

/// Device memory.
mod device {
    use super::*;

    /// Makes device memory of a folio, with this kind of page map.
    fn make_device(machine: &Machine<Tiny>, nr: usize, p2pdma: Option<bool>) {
        let mut memmap = machine.memmap();
        for nr in nr..nr + memmap.page(nr).nr_pages {
            memmap.page_mut(nr).device = true;
            memmap.page_mut(nr).p2pdma = p2pdma;
        }
    }

    /// Returns machines with a folio of device memory: of one page, of four pages mapped by base pages, and mapped by a
    /// huge leaf.
    fn device(p2pdma: Option<bool>) -> [Machine<Tiny>; 3] {
        let machines = [
            machine(Build::anon(1), true),
            machine(Build::anon(4), true),
            machine_with_leaf(Build::anon(2), true),
        ];
        for machine in &machines {
            make_device(machine, 0, p2pdma);
        }
        machines
    }

    #[test]
    fn device_memory_is_had() {
        for machine in device(Some(false)) {
            for request in [READ, WRITE, LONGTERM].concat() {
                granted(&machine, request);
            }
        }
        for machine in &device(Some(false))[1..] {
            granted(machine, Ask::write(Kind::Pin, 0, 2));
        }
    }

    #[test]
    fn the_rules_are_those_of_other_memory() {
        for machine in device(Some(false)) {
            machine.memmap().page_mut(0).longterm_pinnable = false;
            LONGTERM
                .iter()
                .for_each(|request| refused(&machine, *request, Stop::Longterm));
            machine.memmap().page_mut(0).longterm_pinnable = true;
            machine.memmap().page_mut(0).owner = Owner::File;
            refused(&machine, LONGTERM[1], Stop::FileLongterm);
            granted(&machine, LONGTERM[0]);
        }
    }

    #[test]
    fn peer_to_peer_memory_is_not_even_referenced_if_nobody_asks_for_it() {
        for machine in device(Some(true)) {
            for request in [READ, WRITE, LONGTERM].concat() {
                refused(&machine, request, Stop::Device);
            }
            assert_eq!(machine.memmap().nr_puts, 0);
            for request in [READ, WRITE].concat() {
                granted(&machine, request.of_p2pdma());
            }
        }
    }

    #[test]
    fn a_device_folio_without_a_page_map_is_left_alone() {
        for machine in device(None) {
            for request in [READ, WRITE, LONGTERM].concat() {
                refused(&machine, request, Stop::Split);
                refused(&machine, request.of_p2pdma(), Stop::Split);
            }
            assert_eq!(machine.memmap().nr_puts, 0);
        }
    }

    #[test]
    fn a_table_may_map_device_memory_and_other_memory() {
        // Small folios, large folios, and both. The walk recognises peer-to-peer memory at each place.
        for sizes in [[1, 1], [2, 2], [1, 2], [2, 1]] {
            for device_at in [[true, false], [false, true], [true, true]] {
                for p2pdma in [false, true] {
                    for kind in [Kind::Get, Kind::Pin] {
                        let machine = machine(Build::anon(sizes[0]), true);
                        machine.memmap().build(sizes[0], Build::anon(sizes[1]));
                        let heads = [0, sizes[0]];
                        // Only the last folio of device memory is of the kind in question.
                        let last = device_at.iter().rposition(|&at| at).expect("device memory");
                        for nr in 0..2 {
                            if device_at[nr] {
                                make_device(&machine, heads[nr], Some(p2pdma && nr == last));
                            }
                        }
                        machine.map(0, heads.map(|head| rw(8 + head as u64)));
                        let request = Ask::write(kind, 0, 2);
                        let expected = match p2pdma {
                            true => (last, Some(Stop::Device)),
                            false => (2, None),
                        };
                        let got = ask(&machine, request);
                        assert_eq!((got.pages.len(), got.stop), expected);
                        let got = ask(&machine, request.of_p2pdma());
                        assert_eq!((got.pages.len(), got.stop), (2, None));
                    }
                }
            }
        }
    }

    #[test]
    fn a_device_that_goes_gives_no_pages_any_more() {
        for machine in device(Some(false)) {
            machine.memmap().device_goes = true;
            for request in [READ, WRITE, LONGTERM].concat() {
                refused(&machine, request, Stop::Split);
            }
        }
    }

    #[test]
    fn each_page_holds_its_page_map_until_it_is_given_back() {
        for machine in &device(Some(false))[1..] {
            let request = Ask::write(Kind::Pin, 0, 2);
            let got = walk(machine, &request);
            assert_eq!(machine.memmap().nr_map_refs, 2);
            machine.record(0, 2);
            machine.audit(&request, &got);
        }
        // A run without room holds no page map.
        let [_, machine, _] = device(Some(false));
        machine.map(0, [rw(8), rw(10), rw(9)]);
        ask(&machine, Ask::write(Kind::Pin, 0, 3).in_windows(4096, 1));
    }

    #[test]
    fn runs_end_where_page_maps_may() {
        // Says which of the subsections are device memory. They have four pages each, from frame 8 on.
        for (is_device, runs) in [
            ([false, false], &[(8, 8)][..]),
            ([true, false], &[(8, 4), (12, 4)]),
            ([false, true], &[(8, 4), (12, 4)]),
            ([true, true], &[(8, 4), (12, 4)]),
        ] {
            for size in [1, 2, 4] {
                for by_leaves in [false, true] {
                    for nr_entries in [1, 3, 4096] {
                        let machine =
                            Machine::<Tiny>::new(Level::PUD, Pfn::new(8), 8, Access::Read);
                        for head in (0..8).step_by(size) {
                            machine.memmap().build(head, Build::anon(size));
                            if is_device[head / 4] {
                                make_device(&machine, head, Some(false));
                            }
                        }
                        machine.map(0, (8..16).map(rw));
                        if by_leaves && size > 1 {
                            for (addr, first) in [(0, 8), (0x2000, 10), (0x4000, 12), (0x6000, 14)]
                            {
                                let leaf = Tiny::leaf(Level::PMD, rw(first));
                                machine.install(addr, Level::PMD, leaf);
                            }
                        }
                        let got = ask(
                            &machine,
                            Ask::write(Kind::Pin, 0, 8).in_windows(nr_entries, 8),
                        );
                        let expected = runs.iter().map(|&(pfn, nr)| Run::new(Pfn::new(pfn), nr));
                        assert_eq!(got.runs, expected.collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}

mod exclusive {
    use super::*;

    #[test]
    fn a_shared_page_is_not_pinned_read_only() {
        for nr_pages in [1, 2] {
            let shared = Build::anon(nr_pages).shared();
            let pin = Ask::read(Kind::Pin, 0, 1);
            refused(&machine(shared, false), pin, Stop::Unshare);
            refused(&machine(shared, false), pin.longterm(), Stop::Unshare);
            granted(&machine(Build::anon(nr_pages), false), pin);
            granted(&machine(Build::anon(nr_pages), false), pin.longterm());
        }
    }

    #[test]
    fn of_a_run_the_exclusive_pages_before_the_first_shared_one_are_had() {
        for first_shared in 1..4 {
            let machine = machine(Build::anon(4), false);
            machine.memmap().page_mut(first_shared).exclusive = false;
            let got = ask(&machine, Ask::read(Kind::Pin, 0, 4));
            assert_eq!(got.stop, Some(Stop::Unshare));
            // A table has two entries, so page 3 lies in the second run.
            assert_eq!(got.pages.len(), first_shared);
            // The walk gives back once, and does not try the shared page again. Then the audit gives back all pages.
            assert_eq!(machine.memmap().nr_puts, 2);
        }
    }

    #[test]
    fn of_a_huge_leaf_the_first_page_speaks_for_all() {
        let pin = Ask {
            first: 1 << 12,
            ..Ask::read(Kind::Pin, 0, 1)
        };
        let leaf = machine_with_leaf(Build::anon(2), false);
        leaf.memmap().page_mut(1).exclusive = false;
        let got = walk(&leaf, &pin);
        assert_eq!(got.stop, None);

        let leaf = machine_with_leaf(Build::anon(2), false);
        leaf.memmap().page_mut(0).exclusive = false;
        refused(&leaf, pin, Stop::Unshare);
    }

    #[test]
    fn hugetlb_keeps_the_flag_in_its_first_page_however_it_is_mapped() {
        // The folio is mapped by base pages, as arm64 maps 64 KiB of hugetlbfs with the contiguous bit.
        let build = Build::anon(4).with_refs(1);
        let machine = machine(build, false);
        machine.memmap().page_mut(0).hugetlb = true;
        for nr in 1..4 {
            machine.memmap().page_mut(nr).exclusive = false;
        }
        let request = Ask::read(Kind::Pin, 0, 4);
        let got = walk(&machine, &request);
        assert_eq!((got.pages.len(), got.stop), (4, None));
        machine.memmap().page_mut(0).exclusive = false;
        let got = walk(&machine, &request);
        assert_eq!((got.pages.len(), got.stop), (0, Some(Stop::Unshare)));
    }
}

#[test]
fn only_what_changed_is_worth_another_look() {
    assert!(Stop::Changed.is_race() && Stop::Split.is_race());
    assert!(!Stop::Absent.is_race() && !Stop::Unreferenced.is_race());
}
