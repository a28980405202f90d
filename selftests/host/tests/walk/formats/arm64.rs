// SPDX-License-Identifier: GPL-2.0

//! arm64.

use rust_gup_host::{
    drive::{Ask, Kind},
    encode::{rw, Encode},
    machine::{Build, Machine},
    rival::{interleave, Program},
    walk::{
        format::arm64::{Arm64, Context, Granule, Granule16K, Granule4K, PhysicalAddresses},
        Access, Format, Interior, Level, Pfn, PhysAddr, Stop,
    },
};

use super::{a_leaf_is_split_or_pinned, ask, check, refusal, Facts};

type Arm64Page4K = Arm64<Granule4K>;
type Arm64Page16K = Arm64<Granule16K>;

#[test]
fn pages_of_4_kib_with_addresses_of_48_and_52_bits() {
    check::<Arm64Page4K>(&Facts {
        roots: &[Level::P4D, Level::PGD],
        huge: &[Level::PMD, Level::PUD],
        phys_bits: 52,
    });
    a_leaf_is_split_or_pinned::<Arm64Page4K>();
}

#[test]
fn pages_of_16_kib_with_addresses_of_47_and_52_bits() {
    check::<Arm64Page16K>(&Facts {
        roots: &[Level::PUD, Level::P4D],
        huge: &[Level::PMD, Level::PUD],
        phys_bits: 52,
    });
    a_leaf_is_split_or_pinned::<Arm64Page16K>();
}

#[test]
fn shareability_is_not_part_of_a_short_address() {
    fn check<G: Granule>() {
        let raw = Arm64::<G>::leaf(Level::PTE, rw(0x1234)) | 3 << 8;
        for (addresses, pfn) in [
            (PhysicalAddresses::Short, 0x1234),
            (PhysicalAddresses::Long, 0x1234 | 3 << (50 - G::PAGE_SHIFT)),
        ] {
            let context = Context::new(Access::Read, None, addresses);
            let leaf = Arm64::<G>::page(raw, &context).expect("a page");
            assert_eq!(leaf.first, Pfn::new(pfn));
            let table = <Arm64<G> as Format>::table(raw, Level::PMD, &context);
            assert_eq!(table, Some(PhysAddr::new(pfn << G::PAGE_SHIFT)));
        }
    }
    check::<Granule4K>();
    check::<Granule16K>();
}

#[test]
fn pages_that_the_kernel_would_refuse() {
    // UXN, PXN, DBM, nG, AF, inner shareable, user, page.
    const PAGE: u64 = 0x0068_0000_1234_5f43;
    let page = |raw, access| {
        let context = Context::new(access, None, PhysicalAddresses::Short);
        Arm64Page4K::page(raw, &context).err()
    };
    for access in [Access::Read, Access::Write] {
        assert_eq!(page(PAGE, access), None);
        assert_eq!(page(PAGE & !0x40, access), Some(Stop::NotUser));
        // For execution only: neither user nor UXN.
        assert_eq!(page(PAGE & !(1 << 54 | 0x40), access), Some(Stop::NotUser));
        assert_eq!(page(PAGE | 1 << 56, access), Some(Stop::Special));
        // PROT_NONE: present and invalid, not user, UXN.
        assert_eq!(page(PAGE & !0x41, access), Some(Stop::ProtNone));
        // A swap entry.
        assert_eq!(page(0x0000_0000_1234_5040, access), Some(Stop::Absent));
        // Clean: read-only for the hardware, writable for Linux.
        assert_eq!(page(PAGE | 0x80, access), None);
        // userfaultfd, dirty, contiguous, guarded.
        assert_eq!(
            page(PAGE | 1 << 58 | 1 << 55 | 1 << 52 | 1 << 50, access),
            None
        );
    }
    assert_eq!(page(PAGE & !(1 << 51), Access::Write), Some(Stop::ReadOnly));
    assert_eq!(page(PAGE & !(1 << 51), Access::Read), None);
}

#[test]
fn a_huge_page_without_valid_is_being_split() {
    let raw = Arm64Page4K::leaf(Level::PMD, rw(0x200)) & !1;
    let stop = refusal::<Arm64Page4K>(Level::PMD, raw, Access::Read);
    assert_eq!(stop, Some(Stop::Changed));
    let protnone = raw & !0x40;
    let stop = refusal::<Arm64Page4K>(Level::PMD, protnone, Access::Read);
    assert_eq!(stop, Some(Stop::ProtNone));
}

#[test]
fn a_leaf_high_up_is_bad() {
    let context = Arm64Page4K::context(Access::Read);
    let raw = Arm64Page4K::leaf(Level::PUD, rw(0));
    assert_eq!(
        Arm64Page4K::interior(raw, Level::P4D, &context),
        Err(Stop::Bad)
    );
    let flags = 0xfff0_0000_0000_0403;
    assert_eq!(
        Arm64Page4K::interior(flags, Level::P4D, &context),
        Ok(Interior::Table)
    );
}

#[test]
fn permission_overlays_deny_what_they_should() {
    for overlay in 0..8u32 {
        let raw = Arm64Page4K::leaf(Level::PTE, rw(1)) | u64::from(overlay) << 60;
        for (perm, read, write) in [
            (0, false, false),
            (1, true, false),
            (4, false, true),
            (5, true, true),
            (7, true, true),
        ] {
            let por = 0x7777_7777 & !(0xf << (4 * overlay)) | perm << (4 * overlay);
            for (access, allowed) in [(Access::Read, read), (Access::Write, write)] {
                let context = Context::new(access, Some(por), PhysicalAddresses::Short);
                let stop = Arm64Page4K::page(raw, &context).err();
                assert_eq!(stop, (!allowed).then_some(Stop::Pkey), "{overlay} {perm}");
            }
        }
    }
}

/// Makes a machine with 16 pages that are mapped with the contiguous bit.
fn contiguous() -> Machine<Arm64Page4K> {
    let machine = Machine::new(
        Level::PMD,
        Pfn::new(0x1000),
        16,
        Arm64Page4K::context(Access::Read),
    );
    machine.memmap().build(0, Build::anon(16));
    for nr in 0..16 {
        let raw = Arm64Page4K::leaf(Level::PTE, rw(0x1000 + nr)) | 1 << 52;
        machine.install(nr << 12, Level::PTE, raw);
    }
    machine
}

#[test]
fn contiguous_entries_are_one_run() {
    let got = ask(&contiguous(), Ask::write(Kind::Pin, 5 << 12, 11));
    assert_eq!((got.pages.len(), got.progress.nr_grabs), (11, 1));
    assert_eq!(got.pages[0].1, Pfn::new(0x1005));
}

#[test]
fn contiguous_entries_may_be_unfolded_meanwhile() {
    // All entries are cleared, and written again without the bit (`contpte_convert()`).
    let unfold = || {
        Program::default()
            .then(|m: &Machine<Arm64Page4K>| {
                (0..16).for_each(|nr| {
                    m.install(nr << 12, Level::PTE, 0);
                });
            })
            .then(|m| m.map(0, (0..16).map(|nr| rw(0x1000 + nr))))
    };
    for request in crate::adversary::every_ask(4) {
        let tally = interleave(&request, || (contiguous(), unfold()));
        tally.assert_ends(&["Absent", "Changed", "all"]);
    }
}

#[test]
fn a_step_over_the_top_of_the_address_stays_in_the_folio() {
    // Address bits end at bit 49, and the guarded bit follows. One step after the last page stands an entry of frame 0
    // with the guarded bit. It does not continue the run, because a run ends with its folio.
    let last = Arm64Page4K::leaf(Level::PTE, rw((1 << 38) - 1));
    let machine = Machine::<Arm64Page4K>::new(
        Level::PMD,
        Pfn::new((1 << 38) - 2),
        2,
        Arm64Page4K::context(Access::Read),
    );
    machine.memmap().build(0, Build::anon(2));
    machine.map(0, [rw((1 << 38) - 2)]);
    machine.install(1 << 12, Level::PTE, last);
    machine.install(2 << 12, Level::PTE, last + (1 << 12));
    machine.set_context(Arm64Page4K::context(Access::Write));
    let got = ask(&machine, Ask::write(Kind::Pin, 0, 2));
    assert_eq!(got.pages.len(), 2);
}
