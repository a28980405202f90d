// SPDX-License-Identifier: GPL-2.0

//! Checks properties that hold for every entry, whatever its bits are.

use arbitrary::{Result, Unstructured};

use crate::{
    encode::{Encode, Page},
    walk::{
        format::{
            arm64::{self, Arm64, Granule16K, Granule4K, PhysicalAddresses},
            arm_lpae::ArmLpae,
            loongarch::LoongArch,
            ppc64::{self, Pages4K, Pages64K, Ppc64},
            riscv64::{self, Riscv64},
            s390::S390,
            x86_64::{self, X86_64},
            x86_pae::X86Pae,
        },
        Access, Interior, Leaf, Level, Stop,
    },
};

pub(super) fn check(bytes: &mut Unstructured<'_>) -> Result<()> {
    let raw: u64 = bytes.arbitrary()?;
    match bytes.int_in_range(0..=9)? {
        0 => {
            let pkru = bytes.arbitrary()?;
            let mask = u64::MAX >> bytes.int_in_range(12..=28)?;
            check_format::<X86_64>(raw, |access| x86_64::Context::new(access, pkru, mask));
        }
        1 => check_format::<X86Pae>(raw, X86Pae::context),
        2 => check_arm64::<Granule4K>(raw, bytes)?,
        3 => check_arm64::<Granule16K>(raw, bytes)?,
        4 => check_format::<ArmLpae>(raw, ArmLpae::context),
        5 => check_format::<S390>(raw, S390::context),
        6 => check_format::<LoongArch>(raw, LoongArch::context),
        7 => check_format::<Ppc64<Pages4K>>(raw, ppc64::Context::new),
        8 => check_format::<Ppc64<Pages64K>>(raw, ppc64::Context::new),
        _ => {
            let has_svnapot = bytes.arbitrary()?;
            check_format::<Riscv64>(raw, |access| riscv64::Context::new(access, has_svnapot));
        }
    }
    Ok(())
}

fn check_arm64<G: arm64::Granule>(raw: u64, bytes: &mut Unstructured<'_>) -> Result<()> {
    let por = bytes.arbitrary()?;
    let long = bytes.arbitrary()?;
    check_format::<Arm64<G>>(raw, |access| {
        let addresses = if long {
            PhysicalAddresses::Long
        } else {
            PhysicalAddresses::Short
        };
        arm64::Context::new(access, por, addresses)
    });
    Ok(())
}

fn check_format<F: Encode>(raw: u64, context: impl Fn(Access) -> F::Context) {
    let (read, write) = (context(Access::Read), context(Access::Write));
    check_access(0, F::page(raw, &read), F::page(raw, &write));
    check_neighbour::<F>(raw, &read);

    let levels = [Level::PMD, Level::PUD, Level::P4D, Level::PGD];
    for &level in &levels[..F::LEVELS.len() - 1] {
        let (found, found_to_write) = (
            F::interior(raw, level, &read),
            F::interior(raw, level, &write),
        );
        // A table can be found if and only if the walk goes on to it.
        let table = F::table(raw, level, &read);
        assert_eq!(found == Ok(Interior::Table), table.is_some());
        assert_eq!(table, F::table(raw, level, &write));
        // A table is aligned to its length, or at least to a page.
        let nr_entries = F::LEVELS[level.index() - 1].nr_entries() as u64;
        let align = (8 * nr_entries).min(1 << F::LEVELS[0].shift);
        assert_eq!(table.map_or(0, |table| table.as_u64() % align), 0);
        assert_eq!(
            found == Ok(Interior::Table),
            found_to_write == Ok(Interior::Table)
        );
        let leaf = |found| match found {
            Ok(Interior::Leaf(leaf)) => Some(Ok(leaf)),
            Ok(Interior::Table) => None,
            Err(stop) => Some(Err(stop)),
        };
        if let (Some(found), Some(found_to_write)) = (leaf(found), leaf(found_to_write)) {
            let nr_bits = F::LEVELS[level.index()].shift - F::LEVELS[0].shift;
            check_access(nr_bits, found, found_to_write);
        }
    }
}

/// Checks the verdicts on the same entry for reading and for writing. The lowest bits of its frame number are zero.
fn check_access(nr_bits: u32, read: Result<Leaf, Stop>, write: Result<Leaf, Stop>) {
    match (read, write) {
        (Ok(leaf), Ok(same)) => {
            assert_eq!(leaf, same);
            assert!(leaf.writable, "to be written to and not writable");
        }
        (Ok(leaf), Err(stop)) => {
            // The key may allow only reading.
            assert!(stop == Stop::ReadOnly && !leaf.writable || stop == Stop::Pkey);
        }
        // Overlays of arm64 can allow only writing.
        (Err(stop), Ok(_)) => assert_eq!(stop, Stop::Pkey),
        (Err(_), Err(_)) => (),
    }
    if let Ok(leaf) = read {
        assert_eq!(leaf.first.as_u64() & ((1 << nr_bits) - 1), 0);
        assert!(leaf.first.as_u64() < 1 << 52);
    }
}

/// Checks that the entry of the next page maps the next frame, if it decodes at all. Runs rely on that.
fn check_neighbour<F: Encode>(raw: u64, context: &F::Context) {
    let Ok(leaf) = F::page(raw, context) else {
        return;
    };
    // Leave out frame numbers that would carry into higher bits, and groups, whose entries are all the same.
    let is_grouped = F::group(raw, F::LEVELS[0].nth(0)).is_some();
    if !is_grouped && leaf.first.as_u64() & 0xff != 0xff {
        let next = Leaf {
            first: leaf.first.add(1),
            ..leaf
        };
        assert_eq!(F::page(raw.wrapping_add(F::PAGE_STEP), context), Ok(next));
    }
    // An entry that the encoder writes means the same, unless a key is in the way.
    let page = Page {
        first: leaf.first,
        writable: leaf.writable,
    };
    let raw = F::leaf(Level::PTE, page);
    assert_eq!(F::page(raw, &F::context(Access::Read)), Ok(leaf));
}
