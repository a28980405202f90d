// SPDX-License-Identifier: GPL-2.0

//! The walker's decoder as one function, for `oracle.c`.

#[path = "../../rust_gup/walk/mod.rs"]
pub mod walk;

#[cfg(CONFIG_ARM)]
#[path = "arch/arm/mod.rs"]
mod arch;
#[cfg(CONFIG_ARM64)]
#[path = "arch/arm64/mod.rs"]
mod arch;
#[cfg(CONFIG_LOONGARCH)]
#[path = "arch/loongarch/mod.rs"]
mod arch;
#[cfg(CONFIG_PPC64)]
#[path = "arch/powerpc/mod.rs"]
mod arch;
#[cfg(CONFIG_RISCV)]
#[path = "arch/riscv/mod.rs"]
mod arch;
#[cfg(CONFIG_S390)]
#[path = "arch/s390/mod.rs"]
mod arch;
#[cfg(CONFIG_X86_64)]
#[path = "arch/x86/mod.rs"]
mod arch;

use arch::Live;
use walk::{
    Access,
    Format,
    Interior,
    Leaf,
    Level,
    Stop, //
};

/// The verdict is one number. Its lowest byte is a `RUST_GUP_STOP_*`, or one of these constants. The bits above are the
/// frame number of a leaf, or the address of a table: an address with a low bit that should be clear is a mistake.
const LEAF: u64 = 0x20;
const WRITABLE_LEAF: u64 = 0x60;
const TABLE: u64 = 0x80;

fn leaf(leaf: Leaf) -> u64 {
    let kind = if leaf.writable { WRITABLE_LEAF } else { LEAF };
    leaf.first.as_u64() << 8 | kind
}

fn decode(raw: u64, level: Level, context: &<Live as Format>::Context) -> Result<u64, Stop> {
    if level == Level::PTE {
        return Live::page(raw, context).map(leaf);
    }
    match Live::interior(raw, level, context)? {
        Interior::Leaf(found) => Ok(leaf(found)),
        Interior::Table => {
            let table = Live::table(raw, level, context).ok_or(Stop::Bad)?;
            Ok(table.as_u64() << 8 | TABLE)
        }
    }
}

/// Decodes an entry of a level. Levels count from 1, the tables of base pages.
#[no_mangle]
pub extern "C" fn rust_gup_oracle_decode(
    raw: u64,
    level: u32,
    write: bool,
    has_keys: bool,
    keys: u64,
    addresses: u64,
) -> u64 {
    let access = if write { Access::Write } else { Access::Read };
    let level = match level {
        1 => Level::PTE,
        2 => Level::PMD,
        3 => Level::PUD,
        4 => Level::P4D,
        _ => Level::PGD,
    };
    let context = arch::context(access, has_keys.then_some(keys), addresses);
    match decode(raw, level, &context) {
        Ok(verdict) => verdict,
        Err(stop) => stop as u64,
    }
}
