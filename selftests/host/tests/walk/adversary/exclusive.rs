// SPDX-License-Identifier: GPL-2.0

//! Pages that cease to be exclusive: a pin and a share exclude each other.

use rust_gup_host::{
    drive::{Ask, Kind},
    machine::Build,
    rival::interleave,
    tiny::Tiny,
    walk::format::x86_64::X86_64,
};

use super::{
    events::{share, share_leaf},
    on_pages, Setup,
};

#[test]
fn a_page_is_pinned_or_shared_and_never_both() {
    let read = Ask::read(Kind::Pin, 0, 1).of_exclusive();
    let write = Ask::write(Kind::Pin, 0, 1).of_exclusive();
    for sizes in [[1].as_slice(), &[2]] {
        on_pages!(
            Setup::anon(sizes),
            write,
            share(0, true),
            ["Absent", "Changed", "ReadOnly", "all"]
        );
        on_pages!(
            Setup::anon(sizes),
            read,
            share(0, true),
            ["Absent", "Changed", "Unshare", "all"]
        );
        // The entry was read-only before, so the entry that is restored is the same.
        on_pages!(
            Setup::anon(sizes).read_only(),
            read,
            share(0, false),
            ["Absent", "Changed", "Unshare", "all"]
        );
    }
}

#[test]
fn of_a_run_each_page_is_pinned_or_shared() {
    let read = Ask::read(Kind::Pin, 0, 2).of_exclusive();
    for nr in 0..2 {
        on_pages!(
            Setup::anon(&[2]).read_only(),
            read,
            share(nr, false),
            ["Absent", "Changed", "Unshare", "all"]
        );
    }
}

#[test]
fn the_pages_before_the_first_shared_one_are_kept() {
    let ask = Ask::read(Kind::Pin, 0, 2);
    let tally = interleave::<X86_64>(&ask, || {
        let machine = Setup::anon(&[2]).read_only().by_pages();
        machine.memmap().page_mut(1).exclusive = false;
        (machine, Default::default())
    });
    tally.assert_ends(&["Unshare"]);
    assert_eq!(tally.ends["Unshare"].1, 1);
}

#[test]
fn a_huge_page_is_pinned_or_shared_and_never_both() {
    for writable in [false, true] {
        let ask = Ask::read(Kind::Pin, 0, 2).of_exclusive();
        let setup = |size| {
            let setup = Setup::anon(&[size]);
            if writable {
                setup
            } else {
                setup.read_only()
            }
        };
        let tally = interleave::<X86_64>(&ask, || (setup(512).by_leaf(), share_leaf(writable)));
        tally.assert_ends(&["Changed", "Unshare", "all"]);
        let tally = interleave::<Tiny>(&ask, || (setup(2).by_leaf(), share_leaf(writable)));
        tally.assert_ends(&["Absent", "Changed", "Unshare", "all"]);
    }
    let ask = Ask::write(Kind::Pin, 0, 2).of_exclusive();
    let tally = interleave::<X86_64>(&ask, || (Setup::anon(&[512]).by_leaf(), share_leaf(true)));
    tally.assert_ends(&["Changed", "ReadOnly", "all"]);
}

#[test]
fn a_plain_reference_does_not_ask_whose_the_page_is() {
    let shared = || Setup {
        folios: vec![Build::anon(2).shared()],
        nr_mapped: 2,
        writable: false,
        device: false,
    };
    let ask = Ask::read(Kind::Get, 0, 2);
    on_pages!(shared(), ask, Default::default(), ["all"]);
    let ask = Ask::read(Kind::Pin, 0, 2);
    on_pages!(shared(), ask, Default::default(), ["Unshare"]);
}
