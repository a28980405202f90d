// SPDX-License-Identifier: GPL-2.0

//! Functions that the tests share: memory of this process, and what the kernel reports about it.

use std::{
    fs,
    io,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    ptr::{
        with_exposed_provenance,
        with_exposed_provenance_mut, //
    },
    sync::OnceLock, //
};

use libc::c_int;
use rust_gup_memory::{
    file,
    proc::{
        self,
        PAGEMAP_PRESENT, //
    },
    size::{
        folder_name,
        page_bytes,
        pmd_bytes, //
    },
    Area,
    Kind,
    Mapping,
    Setting, //
};
use rust_gup_uapi::{
    Device,
    Engine,
    How,
    Request, //
};
use rustix::mm::UserfaultfdFlags;

use crate::harness::{
    fixture::{
        check,
        kernel_is_at_least,
        pattern, //
    },
    runner::skip, //
};

pub(crate) const RW: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// A mapping of this process. Nobody gets a reference to its contents.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) addr: usize,
    pub(crate) len_bytes: usize,
    /// The owner that unmaps the memory. With `None` this value unmaps it.
    owner: Option<Owner>,
}

/// An owner that unmaps a mapping when it is dropped.
#[derive(Debug)]
enum Owner {
    Mapping(#[allow(dead_code)] Mapping),
    Area(#[allow(dead_code)] Area),
    /// Somebody else, who mapped the memory and keeps it.
    Other,
}

impl Map {
    /// Maps memory with mmap(2).
    pub(crate) fn new(
        addr: usize,
        len_bytes: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
    ) -> io::Result<Self> {
        Self::with_offset(addr, len_bytes, prot, flags, (fd, 0))
    }

    /// Maps memory with mmap(2), from an offset in the file.
    pub(crate) fn with_offset(
        addr: usize,
        len_bytes: usize,
        prot: c_int,
        flags: c_int,
        (fd, offset): (c_int, usize),
    ) -> io::Result<Self> {
        let hint = with_exposed_provenance_mut(addr);
        let offset = offset as libc::off_t;
        // SAFETY: With MAP_FIXED the call replaces only memory that is reserved for this purpose. Otherwise it replaces
        // nothing.
        let start = unsafe { libc::mmap(hint, len_bytes, prot, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let addr = start.expose_provenance();
        Ok(Self {
            addr,
            len_bytes,
            owner: None,
        })
    }

    /// Maps memory with mmap(2) at a multiple of `align_bytes`, between two inaccessible pages.
    pub(crate) fn guarded(
        len_bytes: usize,
        align_bytes: usize,
        prot: c_int,
        flags: c_int,
        at: (c_int, usize),
    ) -> io::Result<Self> {
        Self::guarded_at(len_bytes, (align_bytes, 0), prot, flags, at)
    }

    /// Does the same as `guarded()`, but `beside` bytes behind such a multiple.
    pub(crate) fn guarded_at(
        len_bytes: usize,
        (align_bytes, beside): (usize, usize),
        prot: c_int,
        flags: c_int,
        at: (c_int, usize),
    ) -> io::Result<Self> {
        let area = Area::reserve_beside(len_bytes, align_bytes, beside)?;
        area.map(prot, flags, at)?;
        Ok(Self {
            addr: area.addr(),
            len_bytes,
            owner: Some(Owner::Area(area)),
        })
    }

    /// Finds a mapping that the kernel made by itself, by its name in /proc/self/maps.
    pub(crate) fn of_kernel(name: &str) -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
        let line = maps.lines().find(|l| l.ends_with(name))?;
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).expect("an address");
        let (addr, end) = (number(start), number(end));
        Some(Self::borrowed(addr, end - addr))
    }

    /// Wraps memory that somebody else mapped and keeps.
    pub(crate) fn borrowed(addr: usize, len_bytes: usize) -> Self {
        Self {
            addr,
            len_bytes,
            owner: Some(Owner::Other),
        }
    }

    /// Returns a part of the mapping.
    pub(crate) fn part(&self, offset: usize, len_bytes: usize) -> Self {
        assert!(offset + len_bytes <= self.len_bytes);
        Self::borrowed(self.addr + offset, len_bytes)
    }

    /// Maps private anonymous memory in small pages, without touching it.
    pub(crate) fn untouched(nr_pages: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let map = Self::new(0, nr_pages * page_bytes(), RW, flags, -1).expect("anonymous memory");
        // This fails on a kernel without huge pages, where it is not needed.
        let _ = map.try_advise(0, map.len_bytes, libc::MADV_NOHUGEPAGE);
        map
    }

    /// Maps private anonymous memory in small pages, and fills it with a pattern.
    pub(crate) fn anon(nr_pages: usize) -> Self {
        let map = Self::untouched(nr_pages);
        map.fill(0);
        map.settle(0, map.len_bytes);
        map
    }

    /// Maps memory of a kind that some machines do not have. Skips the test if it is missing.
    pub(crate) fn of(kind: Kind, len_bytes: usize) -> Self {
        match kind.map(len_bytes) {
            Ok(mapping) => Self {
                addr: mapping.addr(),
                len_bytes: mapping.len_bytes(),
                owner: Some(Owner::Mapping(mapping)),
            },
            Err(e) if e.kind() == io::ErrorKind::Unsupported => skip(&format!("{kind}: {e}")),
            Err(e) => panic!("{kind}: {e}"),
        }
    }

    /// Maps anonymous memory in `nr` huge pages of the pool for this size, without touching it.
    pub(crate) fn of_pool(leaf_bytes: usize, nr: usize, flags: c_int) -> io::Result<Self> {
        let size = (leaf_bytes.ilog2() as c_int) << libc::MAP_HUGE_SHIFT;
        let flags = flags | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | size;
        Self::guarded(nr * leaf_bytes, leaf_bytes, RW, flags, (-1, 0))
    }

    /// Maps private anonymous memory in huge pages, and fills it with a pattern.
    pub(crate) fn huge(nr_huge: usize) -> Self {
        let map = Self::of(Kind::Thp2m, nr_huge * pmd_bytes());
        map.fill(0);
        map.settle(0, map.len_bytes);
        map
    }

    /// Moves the memory to where a long-term pin may leave it, if the machine has movable memory. So a test does not
    /// have to care about that.
    pub(crate) fn settle(&self, offset: usize, len: usize) {
        static HAS_MOVABLE_MEMORY: OnceLock<bool> = OnceLock::new();
        if *HAS_MOVABLE_MEMORY.get_or_init(has_movable_memory) {
            let request = Request::new(self.addr + offset, len).how(How::LongTerm);
            // This fails for memory that cannot be taken at all. Such memory stays where it is.
            if let Ok(device) = Device::open() {
                drop(device.pin(&request, Engine::Kernel));
            }
        }
    }

    pub(crate) fn end(&self) -> usize {
        self.addr + self.len_bytes
    }

    pub(crate) fn nr_pages(&self) -> usize {
        self.len_bytes / page_bytes()
    }

    /// Makes a request to pin the whole mapping for reading.
    pub(crate) fn request(&self) -> Request {
        Request::new(self.addr, self.len_bytes)
    }

    /// Reads memory as its owner.
    pub(crate) fn load(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset + len <= self.len_bytes);
        let mut data = vec![0; len];
        let from = with_exposed_provenance::<u8>(self.addr + offset);
        // SAFETY: The range lies in the mapping, and `data` has the same length.
        unsafe { from.copy_to_nonoverlapping(data.as_mut_ptr(), len) };
        data
    }

    /// Writes memory as its owner.
    pub(crate) fn store(&self, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= self.len_bytes);
        let to = with_exposed_provenance_mut::<u8>(self.addr + offset);
        // SAFETY: The range lies in the mapping, and there are no references to it.
        unsafe { to.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    }

    pub(crate) fn get(&self, offset: usize) -> u8 {
        assert!(offset < self.len_bytes);
        // SAFETY: The byte lies in the mapping.
        unsafe { with_exposed_provenance::<u8>(self.addr + offset).read_volatile() }
    }

    pub(crate) fn set(&self, offset: usize, value: u8) {
        assert!(offset < self.len_bytes);
        // SAFETY: The byte lies in the mapping, and there are no references to it.
        unsafe { with_exposed_provenance_mut::<u8>(self.addr + offset).write_volatile(value) };
    }

    /// Fills the mapping with the pattern of `seed`, and returns the pattern.
    pub(crate) fn fill(&self, seed: usize) -> Vec<u8> {
        let data = pattern(seed, self.len_bytes);
        self.store(0, &data);
        data
    }

    #[track_caller]
    pub(crate) fn protect(&self, offset: usize, len: usize, prot: c_int) {
        let start = with_exposed_provenance_mut(self.addr + offset);
        assert!(offset + len <= self.len_bytes);
        // SAFETY: The range lies in the mapping. The tests make no access that they have forbidden.
        check(unsafe { libc::mprotect(start, len, prot) }).expect("mprotect");
    }

    pub(crate) fn try_advise(&self, offset: usize, len: usize, advice: c_int) -> io::Result<()> {
        let start = with_exposed_provenance_mut(self.addr + offset);
        assert!(offset + len <= self.len_bytes);
        // SAFETY: The range lies in the mapping, and there are no references to its contents.
        check(unsafe { libc::madvise(start, len, advice) }).map(drop)
    }

    #[track_caller]
    pub(crate) fn advise(&self, offset: usize, len: usize, advice: c_int) {
        self.try_advise(offset, len, advice).expect("madvise");
    }

    #[track_caller]
    pub(crate) fn unmap(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        let start = with_exposed_provenance_mut(self.addr + offset);
        // SAFETY: The range lies in the mapping, and there are no references to it.
        check(unsafe { libc::munmap(start, len) }).expect("munmap");
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.owner.is_none() {
            // The test may have unmapped parts already. That does no harm, because the tests map nothing in their
            // place.
            self.unmap(0, self.len_bytes);
        }
    }
}

/// Makes sure that the pool has `nr` huge pages, as long as the result lives. If the pool cannot get them, mapping
/// memory of that kind reports it.
pub(crate) fn hugetlb_pool(nr: usize) -> Option<Setting> {
    hugetlb_pool_of(pmd_bytes(), nr)
}

/// Does the same for the pool of huge pages of this size.
pub(crate) fn hugetlb_pool_of(leaf_bytes: usize, nr: usize) -> Option<Setting> {
    let pool = format!(
        "/sys/kernel/mm/hugepages/{}/nr_hugepages",
        folder_name(leaf_bytes)
    );
    let now: usize = fs::read_to_string(&pool).ok()?.trim().parse().ok()?;
    (now < nr)
        .then(|| Setting::set(&pool, &nr.to_string()).ok())
        .flatten()
}

/// Returns whether the machine has memory that must stay movable.
pub(crate) fn has_movable_memory() -> bool {
    let zones = fs::read_to_string("/proc/zoneinfo").expect("/proc/zoneinfo");
    zones
        .split("\nNode ")
        .filter(|z| z.contains("zone  Movable"))
        .filter_map(|z| z.lines().find_map(|l| l.trim().strip_prefix("managed")))
        .any(|managed| managed.trim() != "0")
}

/// Returns whether this kernel has secret memory, and hands it out.
pub(crate) fn has_secret_memory() -> bool {
    static HAS_SECRET_MEMORY: OnceLock<bool> = OnceLock::new();
    *HAS_SECRET_MEMORY.get_or_init(|| file::secret(0).is_ok())
}

/// Whether the fast walks take small pages without a `mapping` (`gup_fast_folio_allowed()`). Since 7.3 a kernel knows
/// that they are no secret memory. Without secret memory it need not know.
pub(crate) fn unowned_is_fast() -> bool {
    kernel_is_at_least(7, 3) || !has_secret_memory()
}

/// Whether the kernel's fast path takes memory without access rights for reading. Its slow path never does.
pub(crate) fn prot_none_is_fast() -> bool {
    crate::arch::READS_PROT_NONE && !kernel_is_at_least(7, 3)
}

/// Returns the stop reason of reading memory that may only be executed, if it cannot be read.
pub(crate) fn execute_only() -> Option<u32> {
    static REASON: OnceLock<Option<u32>> = OnceLock::new();
    *REASON.get_or_init(|| {
        crate::arch::execute_only(|| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
            let map = Map::new(0, page_bytes(), libc::PROT_EXEC, flags, -1).expect("mmap");
            kernel_can_read(map.addr)
        })
    })
}

/// Returns whether the CPU lets the kernel read this byte on behalf of the process.
fn kernel_can_read(addr: usize) -> bool {
    let (_read_end, write_end) = rustix::pipe::pipe().expect("pipe");
    let byte = std::ptr::with_exposed_provenance(addr);
    // SAFETY: The kernel checks the address.
    let result = unsafe { libc::write(write_end.as_raw_fd(), byte, 1) };
    result == 1
}

/// Returns how much memory is still available, in KiB.
pub(crate) fn available_kib() -> u64 {
    let available = proc::meminfo("MemAvailable").expect("/proc/meminfo");
    available.expect("MemAvailable in /proc/meminfo") as u64 >> 10
}

/// Returns the frame number of each page of a range from /proc/self/pagemap, or 0 for a page that is not present.
pub(crate) fn frames(addr: usize, nr_pages: usize) -> Vec<u64> {
    const FRAME: u64 = (1 << 55) - 1;
    pagemap(addr, nr_pages)
        .into_iter()
        .map(|e| {
            if e & PAGEMAP_PRESENT != 0 {
                e & FRAME
            } else {
                0
            }
        })
        .collect()
}

/// Returns the entries of a range in /proc/self/pagemap.
pub(crate) fn pagemap(addr: usize, nr_pages: usize) -> Vec<u64> {
    pagemap_of("self", addr, nr_pages)
}

/// Returns the entries of a range in the pagemap of a process. `process` is its name in /proc.
pub(crate) fn pagemap_of(process: &str, addr: usize, nr_pages: usize) -> Vec<u64> {
    proc::pagemap(process, addr, nr_pages).expect("pagemap entries")
}

/// Opens a userfaultfd with these features, `UFFD_FEATURE_*`. Returns all features that the kernel has, too.
///
/// # Errors
///
/// `EINVAL` if the kernel does not have one of the features. Other errors mean that it has no userfaultfd.
pub(crate) fn userfaultfd(features: u64) -> io::Result<(OwnedFd, u64)> {
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const UFFD_API: u64 = 0xaa;
    // SAFETY: A userfaultfd has no effect on memory that is not registered with it.
    let fd = unsafe { rustix::mm::userfaultfd(UserfaultfdFlags::CLOEXEC) }?;
    let mut api = [UFFD_API, features, 0];
    // SAFETY: The structure has this many 64-bit fields.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) })?;
    Ok((fd, api[1]))
}
