// SPDX-License-Identifier: GPL-2.0

//! The kernel's rule for each format, and the comparison with the decoder.

mod arm64;
mod arm_lpae;
mod loongarch;
mod ppc64;
mod riscv64;
mod s390;
mod x86;
mod x86_64;
mod x86_pae;

use std::fmt::Debug;

use crate::{
    encode::{
        ro,
        rw,
        Encode, //
    },
    walk::{
        Access,
        Format,
        Interior,
        Leaf,
        Level,
        PhysAddr,
        Stop, //
    }, //
};

/// The result of a walk for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Table(PhysAddr),
    Leaf(Leaf),
    Stop(Stop),
}

/// The kernel's rule for the entries of a format.
trait Rule: Encode {
    /// The state on which the verdict depends, besides the entry and the access.
    type Registers: Copy + Debug + 'static;

    /// The bits of an entry that are tried in every combination: all bits that have a meaning and are not part of an
    /// address.
    const BITS: u64;

    /// The contents of the registers that matter for entries of a level. The encoder's context uses the first element.
    fn registers(level: Level) -> &'static [Self::Registers];

    /// Makes the decoder's context.
    fn context_of(access: Access, registers: Self::Registers) -> Self::Context;

    /// Applies the kernel's rule to an entry.
    fn verdict(raw: u64, level: Level, access: Access, registers: Self::Registers) -> Verdict;
}

const LEVELS: [Level; 5] = [Level::PTE, Level::PMD, Level::PUD, Level::P4D, Level::PGD];
const ACCESSES: [Access; 2] = [Access::Read, Access::Write];

/// Returns the decoder's verdict.
#[inline(always)]
fn decoded<F: Rule>(raw: u64, level: Level, context: &F::Context) -> Verdict {
    if level == Level::PTE {
        return match F::page(raw, context) {
            Ok(leaf) => Verdict::Leaf(leaf),
            Err(stop) => Verdict::Stop(stop),
        };
    }
    let table = <F as Format>::table(raw, level, context);
    match (F::interior(raw, level, context), table) {
        (Ok(Interior::Table), Some(table)) => Verdict::Table(table),
        (Ok(Interior::Leaf(leaf)), None) => Verdict::Leaf(leaf),
        (Err(stop), None) => Verdict::Stop(stop),
        (interior, table) => {
            panic!("{raw:#x} {level:?}: interior() says {interior:?}, and table() {table:?}")
        }
    }
}

/// Returns address bits for a combination of the other bits: none, all, or some that look random. Each combination
/// meets another choice of these three in each round.
#[inline(always)]
fn address_bits(bits: u64, round: u64) -> u64 {
    let mixed = (bits ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    match mixed & 7 {
        0 => 0,
        1 => u64::MAX,
        _ => mixed ^ mixed >> 29,
    }
}

fn every_combination<F: Rule>() {
    let mut round = 0;
    for level in &LEVELS[..F::LEVELS.len()] {
        what_a_kernel_writes::<F>(*level);
        for registers in F::registers(*level) {
            for access in ACCESSES {
                every_combination_at::<F>(*level, access, *registers, round);
                round += 1;
            }
        }
    }
}

fn every_combination_at<F: Rule>(
    level: Level,
    access: Access,
    registers: F::Registers,
    round: u64,
) {
    let context = F::context_of(access, registers);
    let mut bits = 0;
    loop {
        let raw = bits | address_bits(bits, round) & !F::BITS;
        let expected = F::verdict(raw, level, access, registers);
        let got = decoded::<F>(raw, level, &context);
        if got != expected {
            panic!("{raw:#x} {level:?} {access:?} {registers:x?}: the walk has {got:x?}, the kernel {expected:x?}");
        }
        // Go on to the next subset of the bits.
        bits = (bits | !F::BITS).wrapping_add(1) & F::BITS;
        if bits == 0 {
            break;
        }
    }
}

/// Checks that the rule and the encoder agree about the entries that a kernel writes.
fn what_a_kernel_writes<F: Rule>(level: Level) {
    let registers = F::registers(level)[0];
    let at = PhysAddr::new(0x1_2345_4000);
    for access in ACCESSES {
        let verdict = |raw| F::verdict(raw, level, access, registers);
        assert_eq!(verdict(F::empty(level)), Verdict::Stop(Stop::Absent));
        if level != Level::PTE {
            assert_eq!(verdict(F::link(level, at)), Verdict::Table(at));
        }
        if level > Level::PMD {
            continue;
        }
        for page in [rw(0xac0_0000), ro(0xac0_0000)] {
            let raw = F::leaf(level, page);
            let expected = if access.is_write() && !page.writable {
                Verdict::Stop(Stop::ReadOnly)
            } else {
                Verdict::Leaf(Leaf {
                    first: page.first,
                    writable: page.writable,
                })
            };
            assert_eq!(verdict(raw), expected);
            if level == Level::PTE {
                assert_eq!(verdict(F::touched(raw)), expected);
            }
            let invalidated = verdict(F::invalidated(level, raw));
            assert!(matches!(invalidated, Verdict::Stop(_)), "{invalidated:?}");
        }
    }
}
