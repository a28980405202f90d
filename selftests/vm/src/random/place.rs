// SPDX-License-Identifier: GPL-2.0

//! The places where memory is made: both ends of user space, and an arena on the border between two entries of the
//! root.

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

/// Number of second-level leaves in the arena.
const NR_LEAVES: usize = 4;
/// Number of pages at either end of user space.
const NR_AT_ENDS: usize = 16;

/// A part of the address space in which a sequence may do anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Lies under two entries of the root, half under each.
    Arena,
    /// Begins at address 0.
    Bottom,
    /// Ends with the last page of user space.
    Top,
    /// Has room for one page of 1 GiB.
    Giant,
    /// The vDSO and the pages below it. Sequences make no memory there.
    Vdso,
}

impl Place {
    /// The places where sequences make memory.
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
            // SAFETY: `getauxval()` takes no pointers.
            Self::Vdso => unsafe {
                libc::getauxval(libc::AT_SYSINFO_EHDR) as usize - 6 * page_bytes()
            },
        }
    }

    /// Returns the place and the page of an address.
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

/// Returns how many bytes an entry of the fourth level maps. With four levels that is the root, with five the table
/// below.
fn fourth_level_entry() -> usize {
    1 << machine().raw.entry_shift[3]
}

/// Checks that nothing is mapped where memory is to be made. Sequences replace whatever is mapped there.
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
