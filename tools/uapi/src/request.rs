// SPDX-License-Identifier: GPL-2.0

//! Requests for ranges, with enums instead of flags.

use crate::raw;

/// The access for which the pages are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The pages are only read.
    #[default]
    Read,
    /// The pages are written to, `FOLL_WRITE`.
    Write,
}

impl Access {
    /// Returns the short name, as in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// How the pages are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// By a reference, `FOLL_GET`: for callers that use `struct page` itself, not the contents.
    Get,
    /// By a pin that is soon released, `FOLL_PIN`: for an access to the contents. A handle may have such a pin only for
    /// tests.
    Pin,
    /// By a pin that user space may keep, `FOLL_PIN | FOLL_LONGTERM`. The pages do not stay in movable memory.
    #[default]
    LongTerm,
}

impl How {
    /// Returns the short name, as in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Pin => "pin",
            Self::LongTerm => "longterm",
        }
    }
}

/// What happens where the fast walk stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The kernel's slow path takes the rest. It takes `mmap_lock` and faults pages in.
    #[default]
    Slow,
    /// Nothing. The count is short.
    Never,
}

/// The engine that takes the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The walk in Rust. The pages are kept as runs.
    #[default]
    Rust,
    /// The kernel's `get_user_pages_fast()` and `pin_user_pages_fast()`.
    Kernel,
    /// The walk in Rust. The pages are written out as an array. For measurements only.
    RustPages,
    /// The kernel's functions. The pages are released by physically contiguous runs. For measurements only.
    KernelRanges,
}

impl Engine {
    /// All engines.
    pub const ALL: [Self; 4] = [
        Self::Rust,
        Self::Kernel,
        Self::RustPages,
        Self::KernelRanges,
    ];

    /// Returns the number of the engine in the ABI.
    pub fn number(self) -> u32 {
        match self {
            Self::Rust => raw::RUST_GUP_ENGINE_RUST,
            Self::Kernel => raw::RUST_GUP_ENGINE_KERNEL,
            Self::RustPages => raw::RUST_GUP_ENGINE_RUST_PAGES,
            Self::KernelRanges => raw::RUST_GUP_ENGINE_KERNEL_RANGES,
        }
    }

    /// Returns the short name, as in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Kernel => "kernel",
            Self::RustPages => "rust-pages",
            Self::KernelRanges => "kernel-ranges",
        }
    }
}

/// A range of the calling process, and how to take its pages.
///
/// The default is a long-term pin for reading. The slow path takes over where the fast walk stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Address of the first byte.
    pub addr: usize,
    /// Number of bytes.
    pub len_bytes: usize,
    /// The access for which the pages are taken.
    pub access: Access,
    /// How the pages are held.
    pub how: How,
    /// What happens where the fast walk stops.
    pub fallback: Fallback,
    /// Flags that only the slow path heeds: `RUST_GUP_FORCE`, `_NOFAULT`, `_PCI_P2PDMA`, `_HONOR_NUMA_FAULT`.
    pub slow_only: u32,
}

impl Request {
    /// Makes a default request for the bytes from `addr` on.
    pub fn new(addr: usize, len_bytes: usize) -> Self {
        Self {
            addr,
            len_bytes,
            access: Access::default(),
            how: How::default(),
            fallback: Fallback::default(),
            slow_only: 0,
        }
    }

    /// Sets the access for which the pages are taken.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets how the pages are held.
    #[must_use]
    pub fn how(mut self, how: How) -> Self {
        self.how = how;
        self
    }

    /// Sets what happens where the fast walk stops.
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Sets the flags that only the slow path heeds.
    #[must_use]
    pub fn slow_only(mut self, flags: u32) -> Self {
        self.slow_only = flags;
        self
    }

    /// Returns the request's flags in the ABI.
    pub fn flags(&self) -> u32 {
        let access = match self.access {
            Access::Read => 0,
            Access::Write => raw::RUST_GUP_WRITE,
        };
        let how = match self.how {
            How::Get => 0,
            How::Pin => raw::RUST_GUP_PIN | raw::RUST_GUP_SHORT_TERM,
            How::LongTerm => raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
        };
        let fallback = match self.fallback {
            Fallback::Slow => 0,
            Fallback::Never => raw::RUST_GUP_FAST_ONLY,
        };
        access | how | fallback | self.slow_only
    }
}
