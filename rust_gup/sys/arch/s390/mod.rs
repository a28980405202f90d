// SPDX-License-Identifier: GPL-2.0

//! s390.
//!
//! IPTE, IDTE and CRDTE make all CPUs forget a translation without interrupting them, so no CPU waits for a walk before
//! it takes a page away. Only the re-read after the grab protects the page. Tables are freed after an RCU grace period,
//! which does wait.
//!
//! Of the instructions for atomic operations COMPARE AND SWAP is a full barrier, and those that newer machines have
//! besides are not (`asm/atomic_ops.h`). The compiler chooses, so the defaults of [`Arch`] remain.

use super::Arch;
use crate::{
    uapi,
    walk::{
        format::s390::{
            Context,
            S390, //
        },
        Access,
        Level, //
    },
};

/// The architecture.
pub(crate) enum S390x {}

impl Arch for S390x {
    type Format = S390;

    const FORMAT: u32 = uapi::RUST_GUP_FORMAT_S390;

    /// A process begins with three levels, and gets a fourth and a fifth when it maps memory above 4 TiB and 8 PiB
    /// (`crst_table_upgrade()`). The root that it had before stays in the tree, one level lower. So a root says itself
    /// how far it reaches, whatever happens to the process after it was read, and the walk goes no farther. C has to
    /// read `asce_limit` before the root, because it looks at the level of the root only for the index.
    #[doc(alias("gup_fast_permitted", "pgd_offset_raw", "asce_limit"))]
    #[inline(always)]
    fn root_level(first: impl FnOnce() -> u64) -> Level {
        S390::root_level(first())
    }

    #[inline(always)]
    fn context(access: Access) -> Context {
        Context::new(access)
    }

    #[inline(always)]
    fn prefetch(addr: usize) {
        // SAFETY: The instruction changes nothing but the caches, and does not fault.
        unsafe {
            core::arch::asm!("pfd 2, 0({})", in(reg_addr) addr, options(nostack, preserves_flags, readonly))
        };
    }

    /// The clock counts 4096 in a microsecond, and `get_cycles()` drops the two lowest bits.
    fn cycles_khz() -> u64 {
        (4096 * 1000) >> 2
    }
}
