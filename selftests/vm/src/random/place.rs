// SPDX-License-Identifier: GPL-2.0

//! The places where memory is made: both ends of user space, and an arena on the border between two entries of the
//! root.

use std::{
    fmt,
    io,
    os::unix::process::CommandExt,
    process::Command, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes,
    pud_bytes, //
};

use crate::{
    arch::LOWEST_ADDR,
    harness::{
        fixture::{
            machine,
            user_limit, //
        },
        memory::Map, //
    },
};

/// Number of second-level leaves in the arena.
const NR_LEAVES: usize = 4;
/// Number of pages at either end of user space.
const NR_AT_ENDS: usize = 16;
/// Environment variable that counts how often the program started again.
const STARTS: &str = "RUST_GUP_RANDOM_STARTS";
const MAX_STARTS: u32 = 20;

/// A part of the address space in which a sequence may do anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Lies under two entries of the root, half under each.
    Arena,
    /// Begins at the lowest address.
    Bottom,
    /// Ends with the last page of user space.
    Top,
    /// Has room for one page of 1 GiB, on machines that have such pages.
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
            Self::Bottom => NR_AT_ENDS - LOWEST_ADDR / page_bytes(),
            Self::Top => NR_AT_ENDS,
            // With 32 bits there is no page of 1 GiB, and no room for one. There is always a hole here.
            Self::Giant if usize::BITS == 32 => NR_AT_ENDS,
            Self::Giant => pud_bytes() / page_bytes(),
            Self::Vdso => 8,
        }
    }

    pub(super) fn addr(self) -> usize {
        match self {
            Self::Arena => root_entry() - NR_LEAVES / 2 * pmd_bytes(),
            Self::Bottom => LOWEST_ADDR,
            Self::Top => user_limit() - NR_AT_ENDS * page_bytes(),
            Self::Giant => 2 * root_entry(),
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

/// Returns how many bytes an entry of the root maps. If there are five levels, it is the table below: mmap(2) leaves all
/// but the first entry of the root alone unless it is asked for them.
fn root_entry() -> usize {
    let root = machine().raw.levels as usize - 1;
    1 << machine().raw.entry_shift[root.min(3)]
}

/// Checks that nothing is mapped where memory is to be made. Sequences replace whatever is mapped there.
///
/// With 32 bits the stack and the kernel's page for signals lie at random places in the last 8 MiB of user space, and
/// sometimes in the way. Then the program starts again, and they lie elsewhere.
pub(super) fn all_free() -> io::Result<()> {
    let result = try_all_free();
    let nr_starts = std::env::var(STARTS).map_or(0, |nr| nr.parse().unwrap_or(MAX_STARTS));
    let is_in_use = |e: &io::Error| e.kind() == io::ErrorKind::AlreadyExists;
    if result.as_ref().is_err_and(is_in_use) && usize::BITS == 32 && nr_starts < MAX_STARTS {
        let mut again = Command::new("/proc/self/exe");
        again.args(std::env::args_os().skip(1));
        return Err(again.env(STARTS, (nr_starts + 1).to_string()).exec());
    }
    result
}

fn try_all_free() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    for place in Place::OURS {
        let len = place.nr_pages() * page_bytes();
        let flags = flags | libc::MAP_FIXED_NOREPLACE;
        Map::new(place.addr(), len, libc::PROT_NONE, flags, -1)
            .map_err(|e| io::Error::new(e.kind(), format!("{place:?} cannot be mapped: {e}")))?;
    }
    Ok(())
}
