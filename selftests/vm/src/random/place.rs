// SPDX-License-Identifier: GPL-2.0

//! Where memory is made: the two ends of user space, and an arena on the border of two entries of the root.

use std::{
    fmt,
    io, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes,
    pud_bytes, //
};

use crate::harness::{
    fixture::{
        machine,
        user_limit, //
    },
    memory::Map, //
};

/// Leaves of the second level in the arena.
const NR_LEAVES: usize = 4;
/// Pages at either end of user space.
const NR_AT_ENDS: usize = 16;

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
            Self::Arena => NR_LEAVES * pmd_bytes() / page_bytes(),
            Self::Bottom | Self::Top => NR_AT_ENDS,
            Self::Giant => pud_bytes() / page_bytes(),
            Self::Vdso => 8,
        }
    }

    pub(super) fn addr(self) -> usize {
        match self {
            Self::Arena => fourth_level_entry() - NR_LEAVES / 2 * pmd_bytes(),
            Self::Bottom => 0,
            Self::Top => user_limit() - NR_AT_ENDS * page_bytes(),
            Self::Giant => 2 * fourth_level_entry(),
            // SAFETY: Takes no pointers.
            Self::Vdso => unsafe {
                libc::getauxval(libc::AT_SYSINFO_EHDR) as usize - 6 * page_bytes()
            },
        }
    }

    /// The place and page of an address.
    pub(super) fn of(addr: usize) -> Option<(Self, usize)> {
        Self::OURS.into_iter().chain([Self::Vdso]).find_map(|p| {
            let page = addr.checked_sub(p.addr())? / page_bytes();
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
        self.place.addr() + self.page * page_bytes()
    }
}

impl fmt::Debug for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}]", self.place, self.page)
    }
}

/// How many bytes an entry of the fourth level maps: of the root with four levels, of the table below with five.
fn fourth_level_entry() -> usize {
    1 << machine().raw.entry_shift[3]
}

/// Whether nothing is mapped where memory is to be made: sequences map over what is there.
pub(super) fn all_free() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    for place in Place::OURS {
        let len = place.nr_pages() * page_bytes();
        let flags = flags | libc::MAP_FIXED_NOREPLACE;
        Map::new(place.addr(), len, libc::PROT_NONE, flags, -1)
            .map_err(|e| io::Error::new(e.kind(), format!("{place:?} is in use: {e}")))?;
    }
    Ok(())
}
