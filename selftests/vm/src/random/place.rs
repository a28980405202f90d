// SPDX-License-Identifier: GPL-2.0

//! Where memory is made: the two ends of user space, and an arena on the border of two entries of the root.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use crate::harness::fixture::{open, HUGE, PAGE};
use crate::harness::memory::Map;

/// Leaves of the second level in the arena.
const NR_LEAVES: usize = 4;
/// Pages at either end of user space.
const NR_AT_ENDS: usize = 16;
/// An entry of the root maps so many bytes with four levels, one of the table below with five.
const ROOT_ENTRY: usize = 1 << 39;
const GIGANTIC: usize = 1 << 30;

/// A part of the address space that a sequence may do with as it likes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Half of it lies under one entry of the root, half under the next.
    Arena,
    /// From address 0 on.
    Bottom,
    /// Up to the last page of user space.
    Top,
    /// Room for one page of 1 GiB.
    Giant,
    /// The vDSO and what lies below it. Nothing is made there.
    Vdso,
}

impl Place {
    /// Those in which memory is made.
    pub(super) const OURS: [Self; 4] = [Self::Arena, Self::Bottom, Self::Top, Self::Giant];

    pub(super) fn nr_pages(self) -> usize {
        match self {
            Self::Arena => NR_LEAVES * HUGE / PAGE,
            Self::Bottom | Self::Top => NR_AT_ENDS,
            Self::Giant => GIGANTIC / PAGE,
            Self::Vdso => 8,
        }
    }

    pub(super) fn addr(self) -> usize {
        match self {
            Self::Arena => ROOT_ENTRY - NR_LEAVES / 2 * HUGE,
            Self::Bottom => 0,
            Self::Top => user_limit() - NR_AT_ENDS * PAGE,
            Self::Giant => 2 * ROOT_ENTRY,
            // SAFETY: Takes no pointers.
            Self::Vdso => unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) as usize - 6 * PAGE },
        }
    }

    /// The place and page of an address.
    pub(super) fn of(addr: usize) -> Option<(Self, usize)> {
        Self::OURS.into_iter().chain([Self::Vdso]).find_map(|p| {
            let page = addr.checked_sub(p.addr())? / PAGE;
            (page < p.nr_pages()).then_some((p, page))
        })
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arena => "arena",
            Self::Bottom => "bottom",
            Self::Top => "top",
            Self::Giant => "giant",
            Self::Vdso => "vdso",
        })
    }
}

/// A page of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) page: usize,
}

impl Spot {
    pub(super) fn addr(self) -> usize {
        self.place.addr() + self.page * PAGE
    }
}

impl fmt::Debug for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}]", self.place, self.page)
    }
}

/// The end of user space (`TASK_SIZE_MAX`).
pub(super) fn user_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let levels = open().info().expect("INFO").raw.levels;
        (1 << if levels == 5 { 56 } else { 47 }) - PAGE
    })
}

/// Whether nothing is mapped where memory is to be made: sequences map over what is there.
pub(super) fn all_free() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    for place in Place::OURS {
        let len = place.nr_pages() * PAGE;
        let flags = flags | libc::MAP_FIXED_NOREPLACE;
        Map::new(place.addr(), len, libc::PROT_NONE, flags, -1)
            .map_err(|e| io::Error::new(e.kind(), format!("{place:?} is in use: {e}")))?;
    }
    Ok(())
}
