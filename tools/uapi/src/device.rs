// SPDX-License-Identifier: GPL-2.0

//! `/dev/rust_gup` and its handles.

use std::{
    ffi::CStr,
    fs::{
        File,
        OpenOptions, //
    },
    io,
    mem::ManuallyDrop,
    os::{
        fd::{
            AsFd,
            AsRawFd,
            BorrowedFd, //
        },
        unix::ffi::OsStrExt, //
    },
    path::Path,
    ptr::from_mut, //
};

use crate::{
    error::failed,
    raw::{
        self,
        RUST_GUP_NR_LEVELS, //
    },
    Engine,
    Request,
    Stop,
    StopAt, //
};

/// An open `/dev/rust_gup`. Closing the device releases all its handles.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens [`Device::path`].
    pub fn open() -> io::Result<Self> {
        let path = Self::path();
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self { file }),
            Err(err) => {
                let hint = match err.kind() {
                    io::ErrorKind::NotFound => Some("load the module first: make load"),
                    io::ErrorKind::PermissionDenied => {
                        Some("run this as root, or change the permissions of the device")
                    }
                    _ => None,
                };
                Err(failed(format!("cannot open {}", path.display()), err, hint))
            }
        }
    }

    /// Returns the path of the device.
    pub fn path() -> &'static Path {
        let path = CStr::from_bytes_until_nul(raw::RUST_GUP_DEVICE_PATH)
            .expect("a C string literal ends in a zero byte");
        Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))
    }

    /// Returns the description of the module and its machine.
    pub fn info(&self) -> io::Result<Info> {
        let mut info = raw::rust_gup_info::default();
        self.call(raw::RUST_GUP_IOC_INFO, "RUST_GUP_IOC_INFO", &mut info)?;
        Ok(Info { raw: info })
    }

    /// Takes the pages of a range, and holds them until the result is dropped.
    ///
    /// It is not an error if fewer pages are taken than requested; see [`Pinned::nr_pages`] and [`Pinned::stop`].
    pub fn pin(&self, request: &Request, engine: Engine) -> io::Result<Pinned<'_>> {
        let mut taken = raw::rust_gup_pin {
            addr: address(request.addr),
            len_bytes: address(request.len_bytes),
            flags: request.flags(),
            engine: engine.number(),
            ..Default::default()
        };
        self.call(raw::RUST_GUP_IOC_PIN, "RUST_GUP_IOC_PIN", &mut taken)?;
        Ok(Pinned {
            device: self,
            taken,
        })
    }

    /// Lets both engines take and release the same range, and compares what they took.
    pub fn compare(&self, request: &Request) -> io::Result<Compared> {
        let mut compared = raw::rust_gup_compare {
            addr: address(request.addr),
            len_bytes: address(request.len_bytes),
            flags: request.flags(),
            ..Default::default()
        };
        self.call(
            raw::RUST_GUP_IOC_COMPARE,
            "RUST_GUP_IOC_COMPARE",
            &mut compared,
        )?;
        Ok(Compared { raw: compared })
    }

    /// Times two engines on the same range, `rounds` times.
    ///
    /// The range must be resident. A round that takes fewer pages than the range has fails with `EAGAIN`.
    pub fn measure(
        &self,
        request: &Request,
        engines: [Engine; 2],
        rounds: u32,
        pages_per_call: u32,
    ) -> io::Result<Measured> {
        let mut samples =
            vec![raw::rust_gup_sample::default(); usize::try_from(rounds).unwrap_or(usize::MAX)];
        let mut measure = raw::rust_gup_measure {
            addr: address(request.addr),
            len_bytes: address(request.len_bytes),
            flags: request.flags(),
            rounds,
            engine_a: engines[0].number(),
            engine_b: engines[1].number(),
            pages_per_call,
            samples: address(samples.as_mut_ptr().expose_provenance()),
            ..Default::default()
        };
        self.call(
            raw::RUST_GUP_IOC_MEASURE,
            "RUST_GUP_IOC_MEASURE",
            &mut measure,
        )?;
        samples.truncate(usize::try_from(measure.rounds_done).unwrap_or(usize::MAX));
        Ok(Measured {
            raw: measure,
            samples,
        })
    }

    /// Returns the module's counters since it was loaded.
    pub fn stats(&self) -> io::Result<Stats> {
        let mut stats = raw::rust_gup_stats::default();
        self.call(raw::RUST_GUP_IOC_STATS, "RUST_GUP_IOC_STATS", &mut stats)?;
        Ok(Stats { raw: stats })
    }

    /// Issues one call with a structure of the caller's own, for tests of the ABI itself.
    ///
    /// # Safety
    ///
    /// `argument` must be what `request` expects: the module reads and writes `_IOC_SIZE(request)` bytes there, and the
    /// buffers that the structure names. An address that is not mapped is allowed and gives `EFAULT`.
    pub unsafe fn ioctl<T>(&self, request: u32, argument: *mut T) -> io::Result<()> {
        // SAFETY: The file is open, and the caller promises the rest.
        let result = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::c_ulong::from(request),
                argument,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn call<T>(&self, request: u32, name: &'static str, argument: &mut T) -> io::Result<()> {
        // SAFETY: All callers pass the structure of the request, and buffers of the size that the structure gives.
        unsafe { self.ioctl(request, from_mut(argument)) }.map_err(|err| {
            let hint = hint(&err);
            failed(name, err, hint)
        })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Returns what to do about an error number, if that does not depend on the call.
fn hint(err: &io::Error) -> Option<&'static str> {
    match err.raw_os_error()? {
        libc::E2BIG => Some("this program is newer than the module: load a newer module"),
        libc::EACCES => Some("only what was pinned for writing may be written to"),
        libc::EAGAIN => {
            Some("not all pages could be taken: touch the memory first, and lock it (mlock)")
        }
        libc::EFAULT => Some("some memory of the range cannot be accessed that way"),
        libc::ENOMEM => Some("the limit of locked memory may be too low: raise it with ulimit -l"),
        libc::ENOTTY => Some("the module is older than this program: load a newer module"),
        libc::EOPNOTSUPP => Some("the kernel exports no fast-only pin, only a fast-only get"),
        libc::EPERM => Some("run this as root"),
        libc::ETOOMANYREFS => Some("a page is held too often: release handles that hold it"),
        _ => None,
    }
}

/// Converts an address or length of this process to its type in the ABI.
fn address(value: usize) -> u64 {
    u64::try_from(value).expect("an address has at most 64 bits")
}

/// A description of the module and its machine.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The structure as the module returned it.
    pub raw: raw::rust_gup_info,
}

impl Info {
    /// Returns the version of the module.
    pub fn module_version(&self) -> String {
        let bytes = &self.raw.module_version;
        let end = bytes.iter().position(|&byte| byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
    }

    /// Returns the name of the page table format.
    pub fn format(&self) -> &'static str {
        match self.raw.format {
            raw::RUST_GUP_FORMAT_X86_64 => "x86-64",
            raw::RUST_GUP_FORMAT_ARM64_4K | raw::RUST_GUP_FORMAT_ARM64_16K => "arm64",
            raw::RUST_GUP_FORMAT_ARM_LPAE => "arm, LPAE",
            raw::RUST_GUP_FORMAT_RISCV64 => "riscv64",
            raw::RUST_GUP_FORMAT_LOONGARCH_16K => "loongarch64",
            raw::RUST_GUP_FORMAT_S390 => "s390",
            raw::RUST_GUP_FORMAT_PPC64_4K | raw::RUST_GUP_FORMAT_PPC64_64K => "powerpc, radix",
            _ => "unknown",
        }
    }

    /// Returns the size of a leaf of a level, in bytes, or `None` if entries of that level cannot be leaves. Levels
    /// count from 0.
    pub fn leaf_bytes(&self, level: usize) -> Option<u64> {
        let shift = self.raw.entry_shift.get(level)?;
        (self.raw.leaf_levels >> level & 1 != 0).then_some(1 << shift)
    }

    /// Returns the names of the features that are present.
    pub fn features(&self) -> Vec<&'static str> {
        [
            (u64::from(raw::RUST_GUP_FEATURE_FAST), "fast"),
            (u64::from(raw::RUST_GUP_FEATURE_PKEYS), "pkeys"),
            (u64::from(raw::RUST_GUP_FEATURE_LA57), "la57"),
            (u64::from(raw::RUST_GUP_FEATURE_HAS_PFN), "has-pfn"),
        ]
        .into_iter()
        .filter(|(bit, _)| self.raw.features & bit != 0)
        .map(|(_, name)| name)
        .collect()
    }
}

/// Physically contiguous pages of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Frame number of the first page, or `None` if the caller may not see it.
    pub pfn: Option<u64>,
    /// Number of pages.
    pub nr_pages: u64,
}

/// Pages that are held. Dropping the value releases them.
#[derive(Debug)]
pub struct Pinned<'device> {
    device: &'device Device,
    taken: raw::rust_gup_pin,
}

impl Pinned<'_> {
    /// Returns the handle of the pages, or 0 if no page was taken.
    pub fn handle(&self) -> u64 {
        self.taken.handle
    }

    /// Returns the number of pages taken, counted from the page that holds the first byte.
    pub fn nr_pages(&self) -> u64 {
        self.taken.nr_pages
    }

    /// Returns how many of the pages the fast walk took.
    pub fn nr_fast(&self) -> u64 {
        self.taken.nr_fast
    }

    /// Returns the number of physically contiguous runs of the pages.
    pub fn nr_runs(&self) -> u64 {
        self.taken.nr_runs
    }

    /// Returns how many of the [`Pinned::nr_fast`] pages a leaf of each level maps.
    pub fn nr_by_level(&self) -> [u64; RUST_GUP_NR_LEVELS as usize] {
        self.taken.nr_by_level
    }

    /// Returns why and where the fast walk first stopped.
    pub fn stop(&self) -> Option<StopAt> {
        StopAt::from_raw(self.taken.stop, self.taken.stop_addr)
    }

    /// Returns the structure as the module returned it.
    pub fn raw(&self) -> &raw::rust_gup_pin {
        &self.taken
    }

    /// Reads memory through the pages that are held. `offset` counts from the first byte of the request.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut copy = raw::rust_gup_copy {
            handle: self.taken.handle,
            offset,
            len_bytes: address(buffer.len()),
            buf: address(buffer.as_mut_ptr().expose_provenance()),
        };
        self.device
            .call(raw::RUST_GUP_IOC_READ, "RUST_GUP_IOC_READ", &mut copy)
    }

    /// Writes memory through the pages that are held. `offset` counts from the first byte of the request.
    ///
    /// # Safety
    ///
    /// The pages change without the compiler's knowledge, as under DMA: nothing in this process may hold a reference to
    /// the bytes that are written. A mapping of the crate `rust_gup_memory` never lends one.
    pub unsafe fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut copy = raw::rust_gup_copy {
            handle: self.taken.handle,
            offset,
            len_bytes: address(data.len()),
            buf: address(data.as_ptr().expose_provenance()),
        };
        self.device
            .call(raw::RUST_GUP_IOC_WRITE, "RUST_GUP_IOC_WRITE", &mut copy)
    }

    /// Lists the physically contiguous runs.
    pub fn runs(&self) -> io::Result<Vec<Run>> {
        const CAPACITY: usize = 1024;
        let mut runs = Vec::new();
        loop {
            let mut buffer = vec![raw::rust_gup_run::default(); CAPACITY];
            let mut list = raw::rust_gup_runs {
                handle: self.taken.handle,
                first: address(runs.len()),
                buf: address(buffer.as_mut_ptr().expose_provenance()),
                capacity: address(buffer.len()),
                ..Default::default()
            };
            self.device
                .call(raw::RUST_GUP_IOC_RUNS, "RUST_GUP_IOC_RUNS", &mut list)?;
            let written = usize::try_from(list.nr_runs).unwrap_or(usize::MAX);
            runs.extend(buffer.iter().take(written).map(|run| Run {
                pfn: (run.pfn != 0).then_some(run.pfn),
                nr_pages: run.nr_pages,
            }));
            if written == 0 || address(runs.len()) >= list.nr_total {
                return Ok(runs);
            }
        }
    }

    /// Releases the pages, and returns an error if that fails.
    pub fn release(self) -> io::Result<()> {
        ManuallyDrop::new(self).unpin()
    }

    /// Leaves the pages to the open device, and returns their handle. Closing the device releases them.
    pub fn into_handle(self) -> u64 {
        ManuallyDrop::new(self).taken.handle
    }

    fn unpin(&self) -> io::Result<()> {
        if self.taken.handle == 0 {
            return Ok(());
        }
        let mut unpin = raw::rust_gup_unpin {
            handle: self.taken.handle,
        };
        self.device
            .call(raw::RUST_GUP_IOC_UNPIN, "RUST_GUP_IOC_UNPIN", &mut unpin)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // Releasing can only fail if the handle is no longer known, and closing the device releases everything anyway.
        let _ = self.unpin();
    }
}

/// The result of a comparison of both engines on the same range.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The structure as the module returned it.
    pub raw: raw::rust_gup_compare,
}

impl Compared {
    /// Returns whether the engines agree in everything.
    pub fn is_equal(&self) -> bool {
        self.raw.differences == 0
    }

    /// Returns the names of the differences.
    pub fn differences(&self) -> Vec<&'static str> {
        let known = [
            (raw::RUST_GUP_DIFF_RESULT, "result"),
            (raw::RUST_GUP_DIFF_NR_PAGES, "nr-pages"),
            (raw::RUST_GUP_DIFF_PAGE, "page"),
            (raw::RUST_GUP_DIFF_REFCOUNT, "refcount"),
            (raw::RUST_GUP_DIFF_PINCOUNT, "pincount"),
            (raw::RUST_GUP_DIFF_REFERENCED, "referenced"),
            (raw::RUST_GUP_DIFF_FIRST, "first"),
        ];
        let unknown = known
            .iter()
            .fold(self.raw.differences, |rest, (bit, _)| rest & !bit);
        known
            .into_iter()
            .filter(|(bit, _)| self.raw.differences & bit != 0)
            .map(|(_, name)| name)
            .chain((unknown != 0).then_some("unknown"))
            .collect()
    }

    /// Returns why and where the fast walk first stopped.
    pub fn stop(&self) -> Option<StopAt> {
        StopAt::from_raw(self.raw.stop, self.raw.stop_addr)
    }

    /// Returns the first stop of the fast walk on the memory as it was found.
    pub fn stop_first(&self) -> Option<StopAt> {
        StopAt::from_raw(self.raw.stop_first, self.raw.stop_addr_first)
    }
}

/// A measurement.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The structure as the module returned it. Its field `samples` is the address of a buffer that may be gone.
    pub raw: raw::rust_gup_measure,
    /// One sample for each round.
    pub samples: Vec<raw::rust_gup_sample>,
}

/// The module's counters since it was loaded.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The structure as the module returned it.
    pub raw: raw::rust_gup_stats,
}

impl Stats {
    /// Returns how often the fast walk stopped for each reason.
    pub fn stops(&self) -> impl Iterator<Item = (Stop, u64)> + '_ {
        Stop::all().zip(self.raw.stops.iter().skip(1).copied())
    }
}
