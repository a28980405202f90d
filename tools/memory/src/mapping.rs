// SPDX-License-Identifier: GPL-2.0

//! Memory of one kind.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{
        AsFd,
        BorrowedFd, //
    },
    ptr, //
};

use rust_gup_uapi::Request;

use crate::{
    child::Child,
    Area,
    Kind, //
};

/// Memory of one kind, mapped into this process, resident and filled with data.
///
/// A mapping never lends a reference to its bytes, because the module may write to them at any time.
#[derive(Debug)]
pub struct Mapping {
    kind: Kind,
    area: Area,
    file: Option<File>,
    /// Keeps the pages of [`Kind::AnonForked`] shared.
    child: Option<Child>,
    /// Offsets that the CPU must not touch.
    forbidden: Range<usize>,
}

impl Mapping {
    /// Returns the kind that the mapping was made as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the address of the first byte.
    pub fn addr(&self) -> usize {
        self.area.addr()
    }

    /// Returns the number of bytes.
    pub fn len_bytes(&self) -> usize {
        self.area.len_bytes()
    }

    /// Returns the number of base pages.
    pub fn nr_pages(&self) -> usize {
        self.area.nr_pages()
    }

    /// Returns a pointer to the first byte, for system calls on the mapping. After a change of the mapping, the
    /// promises of [`Mapping::kind`] no longer hold.
    pub fn as_ptr(&self) -> *mut u8 {
        self.area.as_ptr()
    }

    /// Returns the file that is mapped, if there is one.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(File::as_fd)
    }

    /// Reads from the mapping with the CPU. Fails with `EFAULT` where a fault would kill the process.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
        let from = self.accessible(offset, buffer.len())?;
        // SAFETY: `accessible()` checked that the bytes are mapped and may be accessed. The buffer is a Rust reference,
        // so it does not overlap with the mapping, to which there are no references.
        unsafe { ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// Writes to the mapping with the CPU. Fails with `EFAULT` where a fault would kill the process.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        let to = self.accessible(offset, data.len())?;
        // SAFETY: As in `read()`. All accessible mappings are writable.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        Ok(())
    }

    /// Returns how many of the pages are present in the page tables now.
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
                Ok(unsafe { self.as_ptr().add(offset) })
            }
            _ => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
    }

    pub(crate) fn new(kind: Kind, area: Area, file: Option<File>) -> Self {
        Self {
            kind,
            area,
            file,
            child: None,
            forbidden: 0..0,
        }
    }

    pub(crate) fn area(&self) -> &Area {
        &self.area
    }

    /// Keeps the pages shared copy-on-write for as long as the mapping lives.
    pub(crate) fn shared_with(mut self, child: Child) -> Self {
        self.child = Some(child);
        self
    }

    /// Forbids the CPU to touch any of the mapping from now on.
    pub(crate) fn forbid(&mut self) -> io::Result<()> {
        self.area.protect(0, self.len_bytes(), libc::PROT_NONE)?;
        self.forbidden = 0..self.len_bytes();
        Ok(())
    }

    /// Unmaps a part of the mapping for good.
    pub(crate) fn punch(&mut self, hole: Range<usize>) -> io::Result<()> {
        self.area.punch(hole.clone())?;
        self.forbidden = hole;
        Ok(())
    }
}

impl From<&Mapping> for Request {
    /// Makes a request for the whole mapping.
    fn from(mapping: &Mapping) -> Self {
        Self::new(mapping.addr(), mapping.len_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
