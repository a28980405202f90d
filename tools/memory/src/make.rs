// SPDX-License-Identifier: GPL-2.0

//! Makes memory of each kind.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex,
        PoisonError, //
    }, //
};

use rand::{
    rngs::SmallRng,
    seq::SliceRandom,
    SeedableRng, //
};
use rust_gup_uapi::failed;
use rustix::fs::MemfdFlags;

use crate::{
    child::Child,
    file,
    kind::MTHP_BYTES,
    proc,
    size::{
        self,
        folder_name,
        page_bytes,
        pmd_bytes, //
    },
    unavailable,
    word,
    Area,
    Kind,
    Mapping,
    Setting, //
};

const THP_SETTINGS: &str = "/sys/kernel/mm/transparent_hugepage";

/// Makes sure that only one mapping is made at a time. Some kinds change settings of the whole machine while they
/// fault.
static MAKING: Mutex<()> = Mutex::new(());

/// Does the work of [`Kind::map`].
pub(crate) fn map(kind: Kind, len_bytes: usize) -> io::Result<Mapping> {
    let too_long = || unavailable("no process has that much address space");
    let len_bytes = len_bytes
        .max(1)
        .checked_next_multiple_of(kind.granule_bytes())
        .ok_or_else(too_long)?;

    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !matches!(kind, Kind::Hugetlb2m | Kind::Hugetlb1g | Kind::ZeroPage) {
        check_available(len_bytes)?;
    }

    let area = Area::reserve(len_bytes, kind.granule_bytes().next_power_of_two())
        .map_err(|_| too_long())?;
    match kind {
        Kind::Anon4k => anon_4k(kind, area),
        Kind::Anon4kScattered => anon_4k_scattered(kind, area),
        Kind::ZeroPage => zero_page(kind, area),
        Kind::AnonForked => anon_forked(kind, area),
        Kind::Thp2m => thp_2m(kind, area),
        Kind::Thp2mSplit => thp_2m_split(kind, area),
        Kind::Mthp64k => mthp_64k(kind, area),
        Kind::Hugetlb2m | Kind::Hugetlb1g => hugetlb(kind, area),
        Kind::Tmpfs => tmpfs(kind, area),
        Kind::TmpfsHuge => tmpfs_huge(kind, area),
        Kind::Memfd => memfd(kind, area),
        Kind::FilePrivate => file_private(kind, area),
        Kind::FilePrivateCow => file_private_cow(kind, area),
        Kind::Secret => secret(kind, area),
        Kind::ProtNone => prot_none(kind, area),
        Kind::Hole => hole(kind, area),
    }
}

/// Refuses to fill more memory than the machine has available.
fn check_available(len_bytes: usize) -> io::Result<()> {
    let available = proc::meminfo("MemAvailable")?.unwrap_or(usize::MAX);
    if len_bytes > available / 10 * 9 {
        return Err(unavailable(format!(
            "{} MiB are wanted and only {} MiB of memory are available: ask for less",
            len_bytes >> 20,
            available >> 20
        )));
    }
    Ok(())
}

fn anon_4k(kind: Kind, area: Area) -> io::Result<Mapping> {
    area.map_anon(0)?;
    area.advise(libc::MADV_NOHUGEPAGE)?;
    anon_4k_filled(kind, area)
}

fn anon_4k_filled(kind: Kind, area: Area) -> io::Result<Mapping> {
    area.fill()?;
    area.expect_present()?;
    area.expect("AnonHugePages", 0, "khugepaged was faster; try again")?;
    Ok(Mapping::new(kind, area, None))
}

fn anon_4k_scattered(kind: Kind, area: Area) -> io::Result<Mapping> {
    area.map_anon(0)?;
    area.advise(libc::MADV_NOHUGEPAGE)?;
    // The kernel gives neighbouring frames to consecutive faults, so the order of the faults is random.
    area.populate(shuffled(area.nr_pages()))?;
    anon_4k_filled(kind, area)
}

fn zero_page(kind: Kind, area: Area) -> io::Result<Mapping> {
    area.map_anon(0)?;
    area.advise(libc::MADV_NOHUGEPAGE)?;
    area.touch()?;
    area.expect_present()?;
    // The zero page does not count as resident memory.
    area.expect("Rss", 0, "the kernel gave pages of their own for reading")?;
    Ok(Mapping::new(kind, area, None))
}

fn anon_forked(kind: Kind, area: Area) -> io::Result<Mapping> {
    Ok(anon_4k(kind, area)?.shared_with(Child::fork()?))
}

fn thp_2m(kind: Kind, area: Area) -> io::Result<Mapping> {
    area.map_anon(0)?;
    area.advise(libc::MADV_HUGEPAGE).map_err(|err| {
        failed(
            "cannot ask for transparent huge pages",
            err,
            Some("this kernel was built without them"),
        )
    })?;
    area.fill()?;
    if area.smaps("AnonHugePages")? != area.len_bytes() {
        // This may fail; the check below decides.
        let _ = area.advise(libc::MADV_COLLAPSE);
    }
    area.expect(
        "AnonHugePages",
        area.len_bytes(),
        "the kernel gave no transparent huge pages: echo madvise > \
         /sys/kernel/mm/transparent_hugepage/enabled, and if memory is fragmented echo 1 > \
         /proc/sys/vm/compact_memory",
    )?;
    Ok(Mapping::new(kind, area, None))
}

fn thp_2m_split(kind: Kind, area: Area) -> io::Result<Mapping> {
    let mapping = thp_2m(kind, area)?;
    let area = mapping.area();
    // This keeps khugepaged away from the memory.
    area.advise(libc::MADV_NOHUGEPAGE)?;
    for offset in (0..area.len_bytes()).step_by(pmd_bytes()) {
        area.protect(offset, page_bytes(), libc::PROT_READ)?;
    }
    area.protect(0, area.len_bytes(), libc::PROT_READ | libc::PROT_WRITE)?;
    area.expect("AnonHugePages", 0, "the kernel did not split the mapping")?;
    area.expect_present()?;
    Ok(mapping)
}

fn mthp_64k(kind: Kind, area: Area) -> io::Result<Mapping> {
    let sizes = Path::new(THP_SETTINGS);
    let size = sizes.join(folder_name(MTHP_BYTES));
    if !size.exists() {
        return Err(unavailable(
            "this kernel has no transparent huge pages of 64 KiB; Linux 6.8 or newer on a suitable CPU has",
        ));
    }
    let allocated = || -> io::Result<usize> {
        let text = fs::read_to_string(size.join("stats/anon_fault_alloc"))?;
        Ok(text.trim().parse().unwrap_or(0))
    };

    area.map_anon(0)?;
    {
        let _not_larger = Setting::set(
            sizes.join(folder_name(pmd_bytes())).join("enabled"),
            "never",
        )?;
        let _wanted = Setting::set(size.join("enabled"), "always")?;
        let before = allocated()?;
        area.fill()?;
        let nr_folios = allocated()? - before;
        if nr_folios < area.len_bytes() / MTHP_BYTES {
            return Err(unavailable(format!(
                "the kernel gave only {nr_folios} of {} transparent huge pages of 64 KiB: no other size may be \
                 enabled, and if memory is fragmented echo 1 > /proc/sys/vm/compact_memory",
                area.len_bytes() / MTHP_BYTES
            )));
        }
    }
    // This keeps khugepaged away from the memory.
    area.advise(libc::MADV_NOHUGEPAGE)?;
    area.expect("AnonHugePages", 0, "khugepaged was faster; try again")?;
    area.expect_present()?;
    Ok(Mapping::new(kind, area, None))
}

fn hugetlb(kind: Kind, area: Area) -> io::Result<Mapping> {
    let leaf_bytes = kind.granule_bytes();
    let pool = format!("/sys/kernel/mm/hugepages/{}", folder_name(leaf_bytes));
    if !Path::new(&pool).exists() {
        return Err(unavailable(format!(
            "this machine has no huge pages of {}",
            size::text(leaf_bytes)
        )));
    }
    let nr_wanted = area.len_bytes() / leaf_bytes;
    let nr_free = fs::read_to_string(format!("{pool}/free_hugepages"))?
        .trim()
        .parse()
        .unwrap_or(0usize);
    if nr_free < nr_wanted {
        return Err(unavailable(format!(
            "{nr_free} huge pages of {} are free and {nr_wanted} are wanted: echo {} > {pool}/nr_hugepages",
            size::text(leaf_bytes),
            nr_wanted.max(if leaf_bytes == pmd_bytes() { 16 } else { 1 }),
        )));
    }
    let log2 = libc::c_int::try_from(leaf_bytes.ilog2()).expect("at most 64 bits");
    area.map_anon(libc::MAP_HUGETLB | log2 << libc::MAP_HUGE_SHIFT)?;
    area.fill()?;
    area.expect("KernelPageSize", leaf_bytes, "the kernel gave another size")?;
    area.expect_present()?;
    Ok(Mapping::new(kind, area, None))
}

fn tmpfs(kind: Kind, area: Area) -> io::Result<Mapping> {
    let file = file::tmpfs(c"never", area.len_bytes())?;
    shared(kind, area, file)
}

fn tmpfs_huge(kind: Kind, area: Area) -> io::Result<Mapping> {
    let file = file::tmpfs(c"always", area.len_bytes())?;
    area.map_file(&file, libc::MAP_SHARED)?;
    area.fill()?;
    area.expect(
        "ShmemPmdMapped",
        area.len_bytes(),
        "the kernel gave no huge pages for tmpfs: if memory is fragmented echo 1 > /proc/sys/vm/compact_memory",
    )?;
    Ok(Mapping::new(kind, area, Some(file)))
}

fn memfd(kind: Kind, area: Area) -> io::Result<Mapping> {
    let file = file::memfd(MemfdFlags::empty(), area.len_bytes())?;
    shared(kind, area, file)
}

fn shared(kind: Kind, area: Area, file: File) -> io::Result<Mapping> {
    area.map_file(&file, libc::MAP_SHARED)?;
    area.advise(libc::MADV_NOHUGEPAGE)?;
    area.fill()?;
    area.expect("ShmemPmdMapped", 0, "the kernel gave huge pages")?;
    area.expect_present()?;
    Ok(Mapping::new(kind, area, Some(file)))
}

fn file_private(kind: Kind, area: Area) -> io::Result<Mapping> {
    let file = file::memfd(MemfdFlags::empty(), area.len_bytes())?;
    for offset in (0..area.len_bytes()).step_by(page_bytes()) {
        let offset = u64::try_from(offset).expect("an offset has at most 64 bits");
        file.write_all_at(&word(offset).to_ne_bytes(), offset)?;
    }
    area.map_file(&file, libc::MAP_PRIVATE)?;
    area.advise(libc::MADV_NOHUGEPAGE)?;
    area.touch()?;
    area.expect("Anonymous", 0, "the kernel copied pages for reading")?;
    area.expect_present()?;
    Ok(Mapping::new(kind, area, Some(file)))
}

fn file_private_cow(kind: Kind, area: Area) -> io::Result<Mapping> {
    let mapping = file_private(kind, area)?;
    let area = mapping.area();
    area.fill()?;
    area.expect(
        "Anonymous",
        area.len_bytes(),
        "the kernel did not copy all pages",
    )?;
    Ok(mapping)
}

fn secret(kind: Kind, area: Area) -> io::Result<Mapping> {
    let file = file::secret(area.len_bytes())?;
    area.map_file(&file, libc::MAP_SHARED).map_err(|err| {
        unavailable(format!(
            "{err}; secret memory counts as locked, raise the limit with ulimit -l"
        ))
    })?;
    area.fill_by_faults()?;
    area.expect_present()?;
    Ok(Mapping::new(kind, area, Some(file)))
}

fn prot_none(kind: Kind, area: Area) -> io::Result<Mapping> {
    let mut mapping = anon_4k(kind, area)?;
    mapping.forbid()?;
    mapping.area().expect_present()?;
    Ok(mapping)
}

fn hole(kind: Kind, area: Area) -> io::Result<Mapping> {
    let mut mapping = anon_4k(kind, area)?;
    let middle = mapping.nr_pages() / 2 * page_bytes();
    mapping.punch(middle..middle + page_bytes())?;
    Ok(mapping)
}

/// Returns the numbers below `nr` in a random order that is the same each time.
fn shuffled(nr: usize) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..nr).collect();
    numbers.shuffle(&mut SmallRng::seed_from_u64(0));
    numbers
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn shuffled_numbers_are_all_there_and_have_other_neighbours() {
        let numbers = shuffled(512);
        let nr_in_order = numbers.windows(2).filter(|n| n[0] + 1 == n[1]).count();
        assert!(nr_in_order < 16, "{nr_in_order} of 511 neighbours remained");
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..512));
        assert!(shuffled(0).is_empty() && shuffled(1) == [0]);
    }
}
