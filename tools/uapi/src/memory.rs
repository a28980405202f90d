// SPDX-License-Identifier: GPL-2.0

//! Kinds of memory that the page-table walk distinguishes.

/// Memory of one kind, mapped into this process.
#[derive(Debug)]
pub struct Mapping {
    addr: usize,
    len_bytes: usize,
}

impl Mapping {
    /// First byte.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}
