// SPDX-License-Identifier: GPL-2.0

//! Kinds of memory that the page-table walk distinguishes.
//!
//! A [`Mapping`] is memory of a [`Kind`], filled with data and checked: it never claims a kind that the kernel did not
//! give. What a machine cannot make is an [`io::ErrorKind::Unsupported`] error that says what to do about it.

use std::{
    fmt,
    fs::{
        self,
        File, //
    },
    io,
    ops::Range,
    os::{
        fd::{
            AsFd,
            AsRawFd,
            BorrowedFd,
            FromRawFd,
            OwnedFd,
            RawFd, //
        },
        unix::fs::FileExt,
    },
    path::{
        Path,
        PathBuf, //
    },
    ptr,
    str::FromStr,
    sync::{
        Mutex,
        PoisonError, //
    },
};

use crate::error::{
    failed,
    last_failed, //
};

/// Size of a base page.
pub const PAGE_BYTES: usize = 4096;

const THP_BYTES: usize = 2 << 20;
const MTHP_BYTES: usize = 64 << 10;
const GIGANTIC_BYTES: usize = 1 << 30;

const THP_SETTINGS: &str = "/sys/kernel/mm/transparent_hugepage";

/// Only one mapping is made at a time: some kinds change settings of the whole machine while they fault.
static MAKING: Mutex<()> = Mutex::new(());

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Anonymous memory in base pages, whose frames lie as the kernel gives them: next to each other, mostly.
    Anon4k,
    /// The same with frames in random order, as on a machine that has run for long.
    Anon4kScattered,
    /// Anonymous memory that was only read so far: the shared zero page, mapped read-only.
    ZeroPage,
    /// Anonymous memory that is shared copy-on-write with a child.
    AnonForked,
    /// A transparent huge page of 2 MiB under one entry.
    Thp2m,
    /// A transparent huge page of 2 MiB that is mapped in base pages.
    Thp2mSplit,
    /// Transparent huge pages of 64 KiB, which x86-64 maps in base pages.
    Mthp64k,
    /// A huge page of 2 MiB out of the reserved pool.
    Hugetlb2m,
    /// A huge page of 1 GiB out of the reserved pool.
    Hugetlb1g,
    /// A shared file on tmpfs in base pages.
    Tmpfs,
    /// A shared file on tmpfs in huge pages of 2 MiB.
    TmpfsHuge,
    /// A shared memfd in base pages.
    Memfd,
    /// A private mapping of a file that was only read so far.
    FilePrivate,
    /// A private mapping of a file after it was written to: anonymous copies of the file's pages.
    FilePrivateCow,
    /// Secret memory, memfd_secret(2), which nobody may pin.
    Secret,
    /// Anonymous memory whose access rights were taken away again.
    ProtNone,
    /// Anonymous memory with one page in the middle unmapped.
    Hole,
}

impl Kind {
    /// All kinds, the plain ones first.
    pub const ALL: [Self; 17] = [
        Self::Anon4k,
        Self::Anon4kScattered,
        Self::ZeroPage,
        Self::AnonForked,
        Self::Thp2m,
        Self::Thp2mSplit,
        Self::Mthp64k,
        Self::Hugetlb2m,
        Self::Hugetlb1g,
        Self::Tmpfs,
        Self::TmpfsHuge,
        Self::Memfd,
        Self::FilePrivate,
        Self::FilePrivateCow,
        Self::Secret,
        Self::ProtNone,
        Self::Hole,
    ];

    /// Short name, as in tables, JSON and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anon4k => "anon-4k",
            Self::Anon4kScattered => "anon-4k-scattered",
            Self::ZeroPage => "zero-page",
            Self::AnonForked => "anon-forked",
            Self::Thp2m => "thp-2m",
            Self::Thp2mSplit => "thp-2m-split",
            Self::Mthp64k => "mthp-64k",
            Self::Hugetlb2m => "hugetlb-2m",
            Self::Hugetlb1g => "hugetlb-1g",
            Self::Tmpfs => "tmpfs",
            Self::TmpfsHuge => "tmpfs-huge",
            Self::Memfd => "memfd",
            Self::FilePrivate => "file-private",
            Self::FilePrivateCow => "file-private-cow",
            Self::Secret => "secret",
            Self::ProtNone => "prot-none",
            Self::Hole => "hole",
        }
    }

    /// What it is, in a few words.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Anon4k => "anonymous memory in base pages",
            Self::Anon4kScattered => "anonymous memory in base pages in random order",
            Self::ZeroPage => "anonymous memory that was only read: the shared zero page",
            Self::AnonForked => "anonymous memory shared copy-on-write with a child",
            Self::Thp2m => "transparent huge page of 2 MiB under one entry",
            Self::Thp2mSplit => "transparent huge page of 2 MiB mapped in base pages",
            Self::Mthp64k => "transparent huge pages of 64 KiB",
            Self::Hugetlb2m => "reserved huge page of 2 MiB",
            Self::Hugetlb1g => "reserved huge page of 1 GiB",
            Self::Tmpfs => "shared file on tmpfs in base pages",
            Self::TmpfsHuge => "shared file on tmpfs in huge pages of 2 MiB",
            Self::Memfd => "shared memfd in base pages",
            Self::FilePrivate => "private mapping of a file, only read so far",
            Self::FilePrivateCow => "private mapping of a file, after writing to it",
            Self::Secret => "secret memory, which nobody may pin",
            Self::ProtNone => "anonymous memory without access rights",
            Self::Hole => "anonymous memory with one page in the middle unmapped",
        }
    }

    /// Mappings of this kind are a multiple of so many bytes.
    pub fn granule_bytes(self) -> usize {
        match self {
            Self::Thp2m | Self::Thp2mSplit | Self::Hugetlb2m | Self::TmpfsHuge => THP_BYTES,
            Self::Mthp64k => MTHP_BYTES,
            Self::Hugetlb1g => GIGANTIC_BYTES,
            // So that something is left beside the hole.
            Self::Hole => 4 * PAGE_BYTES,
            _ => PAGE_BYTES,
        }
    }

    /// Whether its folios have more than one page.
    pub fn has_large_folios(self) -> bool {
        matches!(
            self,
            Self::Thp2m
                | Self::Thp2mSplit
                | Self::Mthp64k
                | Self::Hugetlb2m
                | Self::Hugetlb1g
                | Self::TmpfsHuge
        )
    }

    /// Maps at least so many bytes of this kind, rounded up to [`Kind::granule_bytes`], and faults them in.
    pub fn map(self, len_bytes: usize) -> io::Result<Mapping> {
        Mapping::new(self, len_bytes)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
                format!(
                    "no kind of memory is called `{name}`, there are: {}",
                    names.join(", ")
                )
            })
    }
}

/// Memory of one kind, mapped into this process, resident and filled with data.
///
/// It never lends a reference to its bytes: the module may write to them at any time.
#[derive(Debug)]
pub struct Mapping {
    kind: Kind,
    area: Area,
    file: Option<File>,
    /// Keeps the pages of [`Kind::AnonForked`] shared.
    _child: Option<Child>,
    /// Offsets that the CPU must not touch.
    forbidden: Range<usize>,
}

impl Mapping {
    /// As [`Kind::map`].
    pub fn new(kind: Kind, len_bytes: usize) -> io::Result<Self> {
        let len_bytes = len_bytes
            .max(1)
            .checked_next_multiple_of(kind.granule_bytes())
            .filter(|&len_bytes| len_bytes < 1 << 46)
            .ok_or_else(|| unavailable("no process has that much address space".into()))?;

        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(kind, Kind::Hugetlb2m | Kind::Hugetlb1g | Kind::ZeroPage) {
            check_available(len_bytes)?;
        }

        let area = Area::reserve(len_bytes, kind.granule_bytes().next_power_of_two())?;
        match kind {
            Kind::Anon4k => Self::anon_4k(kind, area),
            Kind::Anon4kScattered => Self::anon_4k_scattered(kind, area),
            Kind::ZeroPage => Self::zero_page(kind, area),
            Kind::AnonForked => Self::anon_forked(kind, area),
            Kind::Thp2m => Self::thp_2m(kind, area),
            Kind::Thp2mSplit => Self::thp_2m_split(kind, area),
            Kind::Mthp64k => Self::mthp_64k(kind, area),
            Kind::Hugetlb2m => Self::hugetlb(kind, area, libc::MAP_HUGE_2MB),
            Kind::Hugetlb1g => Self::hugetlb(kind, area, libc::MAP_HUGE_1GB),
            Kind::Tmpfs => Self::tmpfs(kind, area),
            Kind::TmpfsHuge => Self::tmpfs_huge(kind, area),
            Kind::Memfd => Self::memfd(kind, area),
            Kind::FilePrivate => Self::file_private(kind, area),
            Kind::FilePrivateCow => Self::file_private_cow(kind, area),
            Kind::Secret => Self::secret(kind, area),
            Kind::ProtNone => Self::prot_none(kind, area),
            Kind::Hole => Self::hole(kind, area),
        }
    }

    /// The kind it was made as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// First byte.
    pub fn addr(&self) -> usize {
        self.area.addr()
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> usize {
        self.area.len_bytes
    }

    /// Number of base pages.
    pub fn nr_pages(&self) -> usize {
        self.area.nr_pages()
    }

    /// First byte, for system calls on the mapping. Who changes the mapping loses the promises of [`Mapping::kind`].
    pub fn as_ptr(&self) -> *mut u8 {
        self.area.base
    }

    /// The file behind it, if there is one.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(File::as_fd)
    }

    /// Reads from it with the CPU. Fails with `EFAULT` where that would be a fault that kills.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
        let from = self.accessible(offset, buffer.len())?;
        // SAFETY: `accessible()` checked that the bytes are mapped and may be accessed. The buffer is a Rust
        // reference, so it does not overlap with the mapping, to which there are none.
        unsafe { ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Writes to it with the CPU. Fails with `EFAULT` where that would be a fault that kills.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        let to = self.accessible(offset, data.len())?;
        // SAFETY: As in `read()`; all mappings that are accessible are writable.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        Ok(())
    }

    /// How many of its pages are present in the page tables now.
    pub fn nr_present(&self) -> io::Result<usize> {
        self.area.nr_present()
    }

    fn accessible(&self, offset: usize, len_bytes: usize) -> io::Result<*mut u8> {
        let end = offset
            .checked_add(len_bytes)
            .filter(|&end| end <= self.len_bytes());
        match end {
            Some(end) if end <= self.forbidden.start || self.forbidden.end <= offset => {
                // SAFETY: The offset lies within the area.
                Ok(unsafe { self.area.base.add(offset) })
            }
            _ => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
    }

    fn ready(kind: Kind, area: Area, file: Option<File>) -> Self {
        Self {
            kind,
            area,
            file,
            _child: None,
            forbidden: 0..0,
        }
    }

    fn anon_4k(kind: Kind, area: Area) -> io::Result<Self> {
        area.map_anon(0)?;
        area.advise(libc::MADV_NOHUGEPAGE)?;
        Self::anon_4k_filled(kind, area)
    }

    fn anon_4k_filled(kind: Kind, area: Area) -> io::Result<Self> {
        area.fill()?;
        area.expect_present()?;
        area.expect("AnonHugePages", 0, "khugepaged was faster; try again")?;
        Ok(Self::ready(kind, area, None))
    }

    fn anon_4k_scattered(kind: Kind, area: Area) -> io::Result<Self> {
        area.map_anon(0)?;
        area.advise(libc::MADV_NOHUGEPAGE)?;
        // The kernel gives neighbouring frames to faults that come one after the other.
        area.populate(shuffled(area.nr_pages()))?;
        Self::anon_4k_filled(kind, area)
    }

    fn zero_page(kind: Kind, area: Area) -> io::Result<Self> {
        area.map_anon(0)?;
        area.advise(libc::MADV_NOHUGEPAGE)?;
        area.touch()?;
        area.expect_present()?;
        // Resident memory does not count the zero page.
        area.expect("Rss", 0, "the kernel gave pages of their own for reading")?;
        Ok(Self::ready(kind, area, None))
    }

    fn anon_forked(kind: Kind, area: Area) -> io::Result<Self> {
        let mut mapping = Self::anon_4k(kind, area)?;
        mapping._child = Some(Child::fork()?);
        Ok(mapping)
    }

    fn thp_2m(kind: Kind, area: Area) -> io::Result<Self> {
        area.map_anon(0)?;
        area.advise(libc::MADV_HUGEPAGE).map_err(|err| {
            failed(
                "cannot ask for transparent huge pages",
                err,
                Some("this kernel was built without them"),
            )
        })?;
        area.fill()?;
        if area.smaps("AnonHugePages")? != area.len_bytes {
            // Best effort: the check is below.
            let _ = area.advise(libc::MADV_COLLAPSE);
        }
        area.expect(
            "AnonHugePages",
            area.len_bytes,
            "the kernel gave no transparent huge pages: echo madvise > \
             /sys/kernel/mm/transparent_hugepage/enabled, and if memory is fragmented echo 1 > \
             /proc/sys/vm/compact_memory",
        )?;
        Ok(Self::ready(kind, area, None))
    }

    fn thp_2m_split(kind: Kind, area: Area) -> io::Result<Self> {
        let mapping = Self::thp_2m(kind, area)?;
        let area = &mapping.area;
        // Now khugepaged leaves it alone.
        area.advise(libc::MADV_NOHUGEPAGE)?;
        for offset in (0..area.len_bytes).step_by(THP_BYTES) {
            area.protect(offset, PAGE_BYTES, libc::PROT_READ)?;
        }
        area.protect(0, area.len_bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        area.expect("AnonHugePages", 0, "the kernel did not split the mapping")?;
        area.expect_present()?;
        Ok(mapping)
    }

    fn mthp_64k(kind: Kind, area: Area) -> io::Result<Self> {
        let sizes = Path::new(THP_SETTINGS);
        let size = sizes.join("hugepages-64kB");
        if !size.exists() {
            return Err(unavailable(
                "this kernel has no transparent huge pages of 64 KiB; Linux 6.8 or newer on a suitable CPU has"
                    .into(),
            ));
        }
        let allocated = || -> io::Result<usize> {
            let text = fs::read_to_string(size.join("stats/anon_fault_alloc"))?;
            Ok(text.trim().parse().unwrap_or(0))
        };

        area.map_anon(0)?;
        {
            let _not_larger = Setting::set(sizes.join("hugepages-2048kB/enabled"), "never")?;
            let _wanted = Setting::set(size.join("enabled"), "always")?;
            let before = allocated()?;
            area.fill()?;
            let nr_folios = allocated()? - before;
            if nr_folios < area.len_bytes / MTHP_BYTES {
                return Err(unavailable(format!(
                    "the kernel gave only {nr_folios} of {} transparent huge pages of 64 KiB: no other size may be \
                     enabled, and if memory is fragmented echo 1 > /proc/sys/vm/compact_memory",
                    area.len_bytes / MTHP_BYTES
                )));
            }
        }
        // Now khugepaged leaves it alone.
        area.advise(libc::MADV_NOHUGEPAGE)?;
        area.expect("AnonHugePages", 0, "khugepaged was faster; try again")?;
        area.expect_present()?;
        Ok(Self::ready(kind, area, None))
    }

    fn hugetlb(kind: Kind, area: Area, size: libc::c_int) -> io::Result<Self> {
        let leaf_bytes = kind.granule_bytes();
        let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", leaf_bytes >> 10);
        if !Path::new(&pool).exists() {
            return Err(unavailable(format!(
                "this machine has no huge pages of {}",
                leaf_text(leaf_bytes)
            )));
        }
        let nr_wanted = area.len_bytes / leaf_bytes;
        let nr_free = fs::read_to_string(format!("{pool}/free_hugepages"))?
            .trim()
            .parse()
            .unwrap_or(0usize);
        if nr_free < nr_wanted {
            return Err(unavailable(format!(
                "{nr_free} huge pages of {} are free and {nr_wanted} are wanted: echo {} > {pool}/nr_hugepages",
                leaf_text(leaf_bytes),
                nr_wanted.max(if leaf_bytes == THP_BYTES { 16 } else { 1 }),
            )));
        }
        area.map_anon(libc::MAP_HUGETLB | size)?;
        area.fill()?;
        area.expect("KernelPageSize", leaf_bytes, "the kernel gave another size")?;
        area.expect_present()?;
        Ok(Self::ready(kind, area, None))
    }

    fn tmpfs(kind: Kind, area: Area) -> io::Result<Self> {
        let file = tmpfs_file(c"never", area.len_bytes)?;
        Self::shared(kind, area, file)
    }

    fn tmpfs_huge(kind: Kind, area: Area) -> io::Result<Self> {
        let file = tmpfs_file(c"always", area.len_bytes)?;
        area.map_file(&file, libc::MAP_SHARED)?;
        area.fill()?;
        area.expect(
            "ShmemPmdMapped",
            area.len_bytes,
            "the kernel gave no huge pages for tmpfs: if memory is fragmented echo 1 > /proc/sys/vm/compact_memory",
        )?;
        Ok(Self::ready(kind, area, Some(file)))
    }

    fn memfd(kind: Kind, area: Area) -> io::Result<Self> {
        let file = memfd_file(area.len_bytes)?;
        Self::shared(kind, area, file)
    }

    fn shared(kind: Kind, area: Area, file: File) -> io::Result<Self> {
        area.map_file(&file, libc::MAP_SHARED)?;
        area.advise(libc::MADV_NOHUGEPAGE)?;
        area.fill()?;
        area.expect("ShmemPmdMapped", 0, "the kernel gave huge pages")?;
        area.expect_present()?;
        Ok(Self::ready(kind, area, Some(file)))
    }

    fn file_private(kind: Kind, area: Area) -> io::Result<Self> {
        let file = memfd_file(area.len_bytes)?;
        for offset in (0..area.len_bytes).step_by(PAGE_BYTES) {
            let offset = u64::try_from(offset).expect("an offset has at most 64 bits");
            file.write_all_at(&pattern(offset).to_ne_bytes(), offset)?;
        }
        area.map_file(&file, libc::MAP_PRIVATE)?;
        area.advise(libc::MADV_NOHUGEPAGE)?;
        area.touch()?;
        area.expect("Anonymous", 0, "the kernel copied pages for reading")?;
        area.expect_present()?;
        Ok(Self::ready(kind, area, Some(file)))
    }

    fn file_private_cow(kind: Kind, area: Area) -> io::Result<Self> {
        let mapping = Self::file_private(kind, area)?;
        let area = &mapping.area;
        area.fill()?;
        area.expect(
            "Anonymous",
            area.len_bytes,
            "the kernel did not copy all pages",
        )?;
        Ok(mapping)
    }

    fn secret(kind: Kind, area: Area) -> io::Result<Self> {
        // SAFETY: The call takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let file = File::from(owned(fd, "memfd_secret()").map_err(|err| {
            unavailable(format!(
                "{err}; boot with secretmem.enable=1, on a kernel with CONFIG_SECRETMEM"
            ))
        })?);
        set_len(&file, area.len_bytes)?;
        area.map_file(&file, libc::MAP_SHARED).map_err(|err| {
            unavailable(format!(
                "{err}; secret memory counts as locked, raise the limit with ulimit -l"
            ))
        })?;
        area.fill_by_faults()?;
        area.expect_present()?;
        Ok(Self::ready(kind, area, Some(file)))
    }

    fn prot_none(kind: Kind, area: Area) -> io::Result<Self> {
        let mut mapping = Self::anon_4k(kind, area)?;
        let area = &mapping.area;
        area.protect(0, area.len_bytes, libc::PROT_NONE)?;
        area.expect_present()?;
        mapping.forbidden = 0..area.len_bytes;
        Ok(mapping)
    }

    fn hole(kind: Kind, area: Area) -> io::Result<Self> {
        let mut mapping = Self::anon_4k(kind, area)?;
        let middle = mapping.nr_pages() / 2 * PAGE_BYTES;
        mapping.area.punch(middle..middle + PAGE_BYTES)?;
        mapping.forbidden = middle..middle + PAGE_BYTES;
        Ok(mapping)
    }
}

/// Address space that belongs to one mapping alone, with a guard page on either side.
///
/// The guards keep the kernel from merging it with its neighbours, so what `/proc/self/smaps` says is about this
/// mapping alone.
///
/// # Invariants
///
/// - `reserved` is mapped, by nobody else, but for `hole`, which belongs to whoever maps something there.
/// - `[base, base + len_bytes)` lies within `reserved`.
#[derive(Debug)]
struct Area {
    reserved: (*mut u8, usize),
    base: *mut u8,
    len_bytes: usize,
    hole: Range<usize>,
}

// SAFETY: The address space is the process', not the thread's.
unsafe impl Send for Area {}

// SAFETY: Through a shared reference the bytes are only read, once they are filled.
unsafe impl Sync for Area {}

impl Area {
    fn reserve(len_bytes: usize, align_bytes: usize) -> io::Result<Self> {
        let reserved_bytes = len_bytes + align_bytes + 2 * PAGE_BYTES;
        // SAFETY: The kernel chooses the address, so nothing is replaced.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                reserved_bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(last_failed("cannot reserve address space", None));
        }
        let start = start.cast::<u8>();
        let skip = (start.addr() + PAGE_BYTES).next_multiple_of(align_bytes) - start.addr();
        // INVARIANT: `skip` is a page at least and `align_bytes` plus a page at most.
        Ok(Self {
            reserved: (start, reserved_bytes),
            base: start.wrapping_add(skip),
            len_bytes,
            hole: 0..0,
        })
    }

    fn addr(&self) -> usize {
        self.base.expose_provenance()
    }

    fn nr_pages(&self) -> usize {
        self.len_bytes / PAGE_BYTES
    }

    fn map_anon(&self, flags: libc::c_int) -> io::Result<()> {
        self.map(flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    fn map_file(&self, file: &File, flags: libc::c_int) -> io::Result<()> {
        self.map(flags, file.as_raw_fd())
    }

    fn map(&self, flags: libc::c_int, fd: RawFd) -> io::Result<()> {
        // SAFETY: By the type invariant only address space of our own is replaced.
        let mapped = unsafe {
            libc::mmap(
                self.base.cast(),
                self.len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_FIXED,
                fd,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(last_failed("mmap()", None));
        }
        Ok(())
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: None of the advices that this module gives discards data.
        match unsafe { libc::madvise(self.base.cast(), self.len_bytes, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn protect(&self, offset: usize, len_bytes: usize, protection: libc::c_int) -> io::Result<()> {
        assert!(offset + len_bytes <= self.len_bytes);
        // SAFETY: The range lies within the area, which is ours.
        match unsafe { libc::mprotect(self.base.add(offset).cast(), len_bytes, protection) } {
            0 => Ok(()),
            _ => Err(last_failed("mprotect()", None)),
        }
    }

    /// Unmaps pages for good.
    fn punch(&mut self, hole: Range<usize>) -> io::Result<()> {
        assert!(self.hole.is_empty() && hole.start < hole.end && hole.end <= self.len_bytes);
        // SAFETY: The range lies within the area, which is ours, and there are no references to it.
        if unsafe { libc::munmap(self.base.add(hole.start).cast(), hole.len()) } != 0 {
            return Err(last_failed("munmap()", None));
        }
        // INVARIANT: From now on the hole is not ours.
        self.hole = hole;
        Ok(())
    }

    /// Makes pages present, one after the other.
    fn populate(&self, pages: impl IntoIterator<Item = usize>) -> io::Result<()> {
        for page in pages {
            assert!(page < self.nr_pages());
            // SAFETY: The page lies within the area, which is ours; the advice discards no data.
            let result = unsafe {
                let addr = self.base.add(page * PAGE_BYTES);
                libc::madvise(addr.cast(), PAGE_BYTES, libc::MADV_POPULATE_WRITE)
            };
            if result != 0 {
                return Err(no_memory(&io::Error::last_os_error()));
            }
        }
        Ok(())
    }

    /// Writes data of its own to each page, so that it is present and can be recognized.
    fn fill(&self) -> io::Result<()> {
        // A fault that fails kills; this says so instead.
        self.advise(libc::MADV_POPULATE_WRITE)
            .map_err(|err| no_memory(&err))?;
        self.write_pattern();
        Ok(())
    }

    /// As [`Area::fill`], for shared memory that only its owner's own faults may make present.
    fn fill_by_faults(&self) -> io::Result<()> {
        // SAFETY: The child only writes to the area, which is safe after fork() in a process with threads.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(last_failed("fork()", None)),
            0 => {
                self.write_pattern();
                // SAFETY: The child ends without a word to anybody.
                unsafe { libc::_exit(0) }
            }
            pid => pid,
        };
        let mut status = 0;
        // SAFETY: It is our child, and the status is written to a variable of our own.
        if unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
            return Err(last_failed("waitpid()", None));
        }
        if !libc::WIFEXITED(status) {
            return Err(unavailable(
                "the kernel could not give the memory and killed who touched it; ask for less, or raise the limit of \
                 locked memory with ulimit -l"
                    .into(),
            ));
        }
        self.write_pattern();
        Ok(())
    }

    fn write_pattern(&self) {
        for offset in (0..self.len_bytes).step_by(PAGE_BYTES) {
            let offset_number = u64::try_from(offset).expect("an offset has at most 64 bits");
            // SAFETY: The area is mapped for writing when this is called, and pages are aligned.
            unsafe {
                self.base
                    .add(offset)
                    .cast::<u64>()
                    .write_volatile(pattern(offset_number));
            }
        }
    }

    /// Reads from each page, so that it is present.
    fn touch(&self) -> io::Result<()> {
        self.advise(libc::MADV_POPULATE_READ)
            .map_err(|err| no_memory(&err))?;
        for offset in (0..self.len_bytes).step_by(PAGE_BYTES) {
            // SAFETY: The area is mapped for reading when this is called.
            unsafe { self.base.add(offset).read_volatile() };
        }
        Ok(())
    }

    fn nr_present(&self) -> io::Result<usize> {
        const PRESENT: u64 = 1 << 63;
        let pagemap = File::open("/proc/self/pagemap")?;
        let mut nr_present = 0;
        let mut entries = vec![0u8; 8 * self.nr_pages().min(4096)];
        let mut page = 0;
        while page < self.nr_pages() {
            let nr = (self.nr_pages() - page).min(4096);
            let at = 8 * (self.addr() / PAGE_BYTES + page);
            let entries = &mut entries[..8 * nr];
            pagemap.read_exact_at(entries, u64::try_from(at).expect("addresses have 64 bits"))?;
            nr_present += entries
                .chunks_exact(8)
                .filter(|entry| {
                    let entry = <[u8; 8]>::try_from(*entry).expect("chunks have 8 bytes");
                    u64::from_ne_bytes(entry) & PRESENT != 0
                })
                .count();
            page += nr;
        }
        Ok(nr_present)
    }

    fn expect_present(&self) -> io::Result<()> {
        match self.nr_present()? {
            nr if nr == self.nr_pages() => Ok(()),
            nr => Err(unavailable(format!(
                "only {nr} of {} pages stayed in memory: free some memory, or turn off swap",
                self.nr_pages()
            ))),
        }
    }

    /// Sum of a field of `/proc/self/smaps` over the area, in bytes.
    fn smaps(&self, field: &str) -> io::Result<usize> {
        smaps(self.addr()..self.addr() + self.len_bytes, field)
    }

    fn expect(&self, field: &str, bytes: usize, otherwise: &str) -> io::Result<()> {
        match self.smaps(field)? {
            found if found == bytes => Ok(()),
            found => Err(unavailable(format!(
                "{otherwise} ({field} in /proc/self/smaps is {found} instead of {bytes} bytes)"
            ))),
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let (start, len_bytes) = self.reserved;
        let before = self.base.addr() - start.addr() + self.hole.start;
        let after = if self.hole.is_empty() {
            before
        } else {
            before + self.hole.len()
        };
        for part in [0..before, after..len_bytes] {
            // SAFETY: By the type invariant this is ours, and whoever drops it is done with it.
            unsafe { libc::munmap(start.add(part.start).cast(), part.len()) };
        }
    }
}

/// A child that does nothing but share this process' memory copy-on-write.
#[derive(Debug)]
struct Child(libc::pid_t);

impl Child {
    fn fork() -> io::Result<Self> {
        // SAFETY: The child only makes system calls that are safe after fork() in a process with threads.
        match unsafe { libc::fork() } {
            -1 => Err(last_failed("fork()", None)),
            0 => loop {
                // SAFETY: The calls take no pointers.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::pause();
                }
            },
            pid => Ok(Self(pid)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: It is our child, and was not waited for before, so the number is still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), 0);
        }
    }
}

/// A setting in sysfs that gets its old value back on drop.
#[derive(Debug)]
struct Setting {
    path: PathBuf,
    old: String,
}

impl Setting {
    fn set(path: PathBuf, value: &str) -> io::Result<Self> {
        let old = fs::read_to_string(&path)?;
        fs::write(&path, value).map_err(|err| {
            unavailable(format!(
                "cannot write {}: {err}; run this as root",
                path.display()
            ))
        })?;
        Ok(Self {
            path,
            old: selected(&old).into(),
        })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // It could be written before, and there is nobody to tell.
        let _ = fs::write(&self.path, &self.old);
    }
}

/// The selected one of the values of a setting, like `always inherit [madvise] never`.
fn selected(values: &str) -> &str {
    values
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(values.trim(), |(value, _)| value)
}

/// What the first word of the page at `offset` is filled with.
fn pattern(offset: u64) -> u64 {
    (offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Sums a field of `/proc/self/smaps` over the mappings that overlap with `range`, in bytes.
pub fn smaps(range: Range<usize>, field: &str) -> io::Result<usize> {
    let text = fs::read_to_string("/proc/self/smaps")?;
    Ok(smaps_bytes(&text, range, field))
}

/// Sums a field over the mappings that overlap with `range`.
fn smaps_bytes(smaps: &str, range: Range<usize>, field: &str) -> usize {
    let mut within = false;
    let mut sum = 0;
    for line in smaps.lines() {
        if let Some(mapping) = mapping_of(line) {
            within = mapping.start < range.end && range.start < mapping.end;
        } else if within {
            if let Some(value) = line
                .strip_prefix(field)
                .and_then(|rest| rest.strip_prefix(':'))
            {
                let kib: usize = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
                sum += kib << 10;
            }
        }
    }
    sum
}

/// The range of a line that starts the description of a mapping.
fn mapping_of(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// Refuses to fill more memory than the machine has left.
fn check_available(len_bytes: usize) -> io::Result<()> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse::<usize>().ok())
        .map_or(usize::MAX, |kib| kib << 10);
    if len_bytes > available / 10 * 9 {
        return Err(unavailable(format!(
            "{} MiB are wanted and only {} MiB of memory are available: ask for less",
            len_bytes >> 20,
            available >> 20
        )));
    }
    Ok(())
}

fn leaf_text(leaf_bytes: usize) -> &'static str {
    if leaf_bytes == GIGANTIC_BYTES {
        "1 GiB"
    } else {
        "2 MiB"
    }
}

/// A file without a name on a tmpfs that nobody else sees.
fn tmpfs_file(huge: &std::ffi::CStr, len_bytes: usize) -> io::Result<File> {
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

    let root_needed = |err| unavailable(format!("{err}; only root may mount a tmpfs"));

    // SAFETY: The string ends in a zero byte.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) };
    let context = owned(context, "fsopen()").map_err(root_needed)?;
    // SAFETY: The strings end in a zero byte.
    let configured = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_SET_STRING,
            c"huge".as_ptr(),
            huge.as_ptr(),
            0,
        )
    };
    if configured != 0 {
        return Err(unavailable(format!(
            "{}; this kernel has no huge pages for tmpfs",
            last_failed("fsconfig()", None)
        )));
    }
    // SAFETY: The command takes no strings.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            ptr::null::<libc::c_char>(),
            ptr::null::<libc::c_char>(),
            0,
        )
    };
    if created != 0 {
        return Err(last_failed("fsconfig()", None));
    }
    // SAFETY: The call takes no pointers.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) };
    let mount = owned(mount, "fsmount()").map_err(root_needed)?;
    // SAFETY: The string ends in a zero byte.
    let file = unsafe {
        libc::openat(
            mount.as_raw_fd(),
            c".".as_ptr(),
            libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC,
            0o600,
        )
    };
    let file = File::from(owned(file.into(), "openat()")?);
    set_len(&file, len_bytes)?;
    Ok(file)
}

fn memfd_file(len_bytes: usize) -> io::Result<File> {
    // SAFETY: The string ends in a zero byte.
    let fd = unsafe { libc::memfd_create(c"rust_gup".as_ptr(), libc::MFD_CLOEXEC) };
    let file = File::from(owned(fd.into(), "memfd_create()")?);
    set_len(&file, len_bytes)?;
    Ok(file)
}

fn set_len(file: &File, len_bytes: usize) -> io::Result<()> {
    file.set_len(u64::try_from(len_bytes).expect("a length has at most 64 bits"))
}

/// Owns the file descriptor that a system call just returned.
fn owned(fd: libc::c_long, call: &str) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(last_failed(call, None));
    }
    let fd = RawFd::try_from(fd).expect("a file descriptor is an int");
    // SAFETY: The kernel just gave it to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn no_memory(err: &io::Error) -> io::Error {
    unavailable(format!(
        "the kernel could not give the memory: {err}; ask for less"
    ))
}

/// The numbers below `nr` in an order that is random, and the same each time (SplitMix64, Fisher-Yates).
fn shuffled(nr: usize) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..nr).collect();
    let mut state = 0u64;
    for last in (1..nr).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let bound = u64::try_from(last + 1).expect("a number of pages has at most 64 bits");
        let other = usize::try_from(random % bound).expect("it is below `nr`");
        numbers.swap(last, other);
    }
    numbers
}

/// The machine cannot make that kind.
fn unavailable(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_fields_are_summed_over_overlapping_mappings_only() {
        let smaps = "\
1000-3000 rw-p 00000000 00:00 0 \nRss:                   8 kB\nAnonHugePages:         4 kB\n\
3000-4000 rw-p 00000000 00:00 0 \nRss:                   4 kB\n\
9000-a000 r--p 00000000 00:00 0 [x]\nRss:                  64 kB\n";
        assert_eq!(smaps_bytes(smaps, 0x2000..0x4000, "Rss"), 12 << 10);
        assert_eq!(smaps_bytes(smaps, 0x1000..0x2000, "AnonHugePages"), 4 << 10);
        assert_eq!(smaps_bytes(smaps, 0x4000..0x9000, "Rss"), 0);
    }

    #[test]
    fn the_selected_value_stands_in_brackets() {
        assert_eq!(selected("always inherit [madvise] never\n"), "madvise");
        assert_eq!(selected("7\n"), "7");
    }

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

    #[test]
    fn kinds_are_found_by_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("thp".parse::<Kind>().is_err());
    }

    #[test]
    fn a_hole_stays_out_of_reach() {
        let mut mapping = Kind::Hole.map(1).expect("plain memory is always there");
        assert_eq!(mapping.nr_present().ok(), Some(mapping.nr_pages() - 1));
        let hole = mapping.forbidden.clone();
        assert!(mapping.write(hole.start - 4, &[1; 4]).is_ok());
        assert!(mapping.write(hole.start - 4, &[1; 5]).is_err());
        assert!(mapping.read(mapping.len_bytes(), &mut [0]).is_err());
        assert!(mapping.read(usize::MAX, &mut [0; 2]).is_err());
    }
}
