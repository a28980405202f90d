// SPDX-License-Identifier: GPL-2.0

//! Memory at addresses that the program chooses.

use std::fs;

use anyhow::{
    bail,
    Context,
    Result, //
};
use rustix::mm::{
    madvise,
    mmap_anonymous,
    munmap,
    Advice,
    MapFlags,
    ProtFlags, //
};

/// Size of a huge page, in bytes.
pub(crate) const HUGE: usize = 2 << 20;

/// A private mapping, which is zeroed at first. It is removed when the value is dropped.
pub(crate) struct Area {
    addr: usize,
    len_bytes: usize,
}

impl Area {
    /// Maps `len_bytes` at `addr`, where nothing may be yet, for data and for code.
    pub(crate) fn fixed(addr: u64, len_bytes: usize) -> Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        let prot = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        // SAFETY: With these flags, no mapping that exists is replaced.
        let mapped = unsafe { mmap_anonymous(addr as *mut _, len_bytes, prot, flags) }
            .with_context(|| format!("cannot map {len_bytes:#x} bytes at {addr:#x}"))?;
        Ok(Self {
            addr: mapped as usize,
            len_bytes,
        })
    }

    /// Maps `len_bytes` for data, in huge pages, at a multiple of `align`, which must be a multiple of [`HUGE`].
    pub(crate) fn aligned(len_bytes: usize, align: usize) -> Result<Self> {
        let whole = len_bytes + align;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: The kernel chooses an address at which nothing is.
        let mapped = unsafe { mmap_anonymous(core::ptr::null_mut(), whole, prot, flags) }
            .with_context(|| format!("cannot map {whole:#x} bytes"))? as usize;
        let addr = mapped.next_multiple_of(align);
        // SAFETY: These are parts of the new mapping; nobody uses the first and the last one.
        unsafe {
            if addr != mapped {
                munmap(mapped as *mut _, addr - mapped)?;
            }
            let rest = mapped + whole - (addr + len_bytes);
            if rest != 0 {
                munmap((addr + len_bytes) as *mut _, rest)?;
            }
            madvise(addr as *mut _, len_bytes, Advice::LinuxHugepage)
                .context("this machine has no huge pages")?;
        }
        Ok(Self { addr, len_bytes })
    }

    /// Returns the address of the first byte.
    pub(crate) fn addr(&self) -> usize {
        self.addr
    }

    /// Zeroes the whole area, and gives its memory back to the kernel.
    pub(crate) fn clear(&mut self) -> Result<()> {
        // SAFETY: The area belongs to this value, and private anonymous memory is zeroed by this.
        unsafe { madvise(self.addr as *mut _, self.len_bytes, Advice::LinuxDontNeed)? };
        Ok(())
    }

    /// Checks that the first `len_bytes` that were written to are in huge pages.
    pub(crate) fn require_huge_pages(&self, len_bytes: usize) -> Result<()> {
        let smaps = fs::read_to_string("/proc/self/smaps")?;
        let begin = format!("{:08x}-", self.addr);
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&begin));
        let kib = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
        let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB"));
        let kib: usize = kib
            .context("/proc/self/smaps has no AnonHugePages")?
            .parse()?;
        if kib << 10 < len_bytes {
            bail!(
                "only {kib} KiB of the memory map are in huge pages, and not all {} KiB: free some memory, or write \
                 \"madvise\" to /sys/kernel/mm/transparent_hugepage/enabled",
                len_bytes >> 10
            );
        }
        Ok(())
    }

    /// Returns the bytes `[addr, addr + len_bytes)`.
    ///
    /// # Errors
    ///
    /// If they are not all in this area.
    pub(crate) fn bytes(&mut self, addr: u64, len_bytes: usize) -> Result<&mut [u8]> {
        let offset = (addr as usize).wrapping_sub(self.addr);
        if offset > self.len_bytes || len_bytes > self.len_bytes - offset {
            bail!("{len_bytes:#x} bytes at {addr:#x} are not in the area");
        }
        // SAFETY: They are part of this mapping, and the caller has borrowed the only value that stands for it.
        Ok(unsafe { core::slice::from_raw_parts_mut(addr as *mut u8, len_bytes) })
    }

    /// Adds to a word of 32 bits.
    pub(crate) fn add_u32(&mut self, addr: u64, n: u32) -> Result<()> {
        let bytes: &mut [u8; 4] = self.bytes(addr, 4)?.try_into()?;
        *bytes = u32::from_le_bytes(*bytes).wrapping_add(n).to_le_bytes();
        Ok(())
    }

    /// Adds to a word of 64 bits.
    pub(crate) fn add_u64(&mut self, addr: u64, n: u64) -> Result<()> {
        let bytes: &mut [u8; 8] = self.bytes(addr, 8)?.try_into()?;
        *bytes = u64::from_le_bytes(*bytes).wrapping_add(n).to_le_bytes();
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The area belongs to this value. An error would leave the mapping, which does no harm.
        let _ = unsafe { munmap(self.addr as *mut _, self.len_bytes) };
    }
}
