// SPDX-License-Identifier: GPL-2.0

//! Reads the kernel's memory map through /proc/kcore. It shows the references of a page, which no other file shows. The
//! note VMCOREINFO describes the layout of the map. The module has no part in that.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::{
    memory::frames,
    proof::{
        kpageflags,
        kpf, //
    }, //
};

/// The largest folio has 1 GiB, 2^18 base pages.
const MAX_ORDER: u32 = 18;

/// The fields of a `struct page` that the tests need. In a large folio those of the head count for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StructPage {
    pub(super) refs: i32,
    pub(super) mapping: u64,
}

/// A piece of the kernel's memory, and its offset in the file.
struct Segment {
    addr: u64,
    len: u64,
    at: u64,
}

/// The memory map.
pub(super) struct MemoryMap {
    kcore: File,
    segments: Vec<Segment>,
    /// The address of the map, the size of its elements, and the offsets of the fields in them.
    start: u64,
    element: u64,
    refs: u64,
    mapping: u64,
}

impl MemoryMap {
    /// Opens the file. Returns the reason if the kernel does not show the map there.
    pub(super) fn open() -> Result<Self, &'static str> {
        let kcore = match File::open("/proc/kcore") {
            Ok(kcore) => kcore,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err("no /proc/kcore: CONFIG_PROC_KCORE");
            }
            Err(e) => panic!("/proc/kcore: {e}"),
        };
        let read = |at: u64, len: u64| {
            let mut bytes = vec![0; len as usize];
            kcore.read_exact_at(&mut bytes, at).expect("/proc/kcore");
            bytes
        };
        // The layout is that of include/uapi/linux/elf.h.
        let header = read(0, 64);
        let programs = read(number(&header, 32, 8), 56 * number(&header, 56, 2));
        let (mut segments, mut notes) = (Vec::new(), Vec::new());
        for program in programs.chunks_exact(56) {
            let (at, addr, len) = (
                number(program, 8, 8),
                number(program, 16, 8),
                number(program, 32, 8),
            );
            match number(program, 0, 4) {
                1 => segments.push(Segment { addr, len, at }),
                4 => notes = read(at, len),
                _ => (),
            }
        }
        let notes = String::from_utf8_lossy(&notes);
        let value = |name: &str, radix: u32| {
            let mut lines = notes.split(['\n', '\0']);
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            let value = value.unwrap_or_else(|| panic!("VMCOREINFO of /proc/kcore: no {name}"));
            u64::from_str_radix(value, radix).expect("a number")
        };
        let map = Self {
            start: value("SYMBOL(vmemmap)", 16),
            element: value("SIZE(page)", 10),
            refs: value("OFFSET(page._refcount)", 10),
            mapping: value("OFFSET(page.mapping)", 10),
            segments,
            kcore,
        };
        // Memory below the direct map has a negative offset (kc_vaddr_to_offset(), fs/proc/kcore.c:45), which pread(2)
        // refuses. On RISC-V the map is there.
        let frame = frames(header.as_ptr().addr() / page_bytes() * page_bytes(), 1)[0];
        match map.offset(frame) {
            Some(at) if i64::try_from(at).is_err() => {
                Err("/proc/kcore has the memory map at a negative offset")
            }
            _ => Ok(map),
        }
    }

    /// Returns where the file has the struct page of a frame.
    fn offset(&self, frame: u64) -> Option<u64> {
        let addr = self.start + frame * self.element;
        let mut segments = self.segments.iter();
        let segment = segments.find(|s| addr >= s.addr && addr - s.addr < s.len)?;
        Some(segment.at + (addr - segment.addr))
    }

    /// Returns the struct page of a frame, or `None` for device memory, which the file omits.
    pub(super) fn page(&self, frame: u64) -> Option<StructPage> {
        let mut page = vec![0; self.element as usize];
        self.kcore
            .read_exact_at(&mut page, self.offset(frame)?)
            .expect("the memory map");
        Some(StructPage {
            refs: number(&page, self.refs as usize, 4) as i32,
            mapping: number(&page, self.mapping as usize, 8),
        })
    }
}

/// Reads a number of `len` bytes, in the byte order of this machine.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let bytes = &bytes[at..at + len];
    let mut number = [0; 8];
    if cfg!(target_endian = "big") {
        number[8 - len..].copy_from_slice(bytes);
    } else {
        number[..len].copy_from_slice(bytes);
    }
    u64::from_ne_bytes(number)
}

/// Returns the first frame of the folio of a frame. A folio begins at a multiple of its size.
pub(super) fn head(frame: u64) -> u64 {
    if kpageflags(frame, 1)[0] & kpf::COMPOUND_TAIL == 0 {
        return frame;
    }
    let heads = (0..=MAX_ORDER).map(|order| frame >> order << order);
    let is_head = |frame: &u64| kpageflags(*frame, 1)[0] & kpf::COMPOUND_HEAD != 0;
    heads.into_iter().find(is_head).unwrap_or(frame)
}
