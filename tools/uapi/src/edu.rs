// SPDX-License-Identifier: GPL-2.0

//! `/dev/edu_dma`, through which QEMU's edu device reads and writes memory of this process.

use std::{
    ffi::CStr,
    fs::{
        File,
        OpenOptions, //
    },
    io,
    mem::ManuallyDrop,
    os::{
        fd::AsRawFd,
        unix::ffi::OsStrExt, //
    },
    path::Path,
    ptr::from_mut, //
};

use crate::error::failed;

/// The ABI as bindgen generates it from `edu_dma.h`, which documents it.
#[allow(
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    clippy::as_underscore,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
pub mod raw {
    include!(concat!(env!("OUT_DIR"), "/edu_dma.rs"));
}

/// How the driver pins and lists a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By rust_gup, from runs.
    Runs,
    /// By rust_gup, from an array of pages.
    Pages,
    /// By the kernel's `pin_user_pages_fast()`.
    Kernel,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Runs, Self::Pages, Self::Kernel];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "rust-runs",
            Self::Pages => "rust-pages",
            Self::Kernel => "kernel",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Runs => raw::EDU_DMA_RUNS,
            Self::Pages => raw::EDU_DMA_PAGES,
            Self::Kernel => raw::EDU_DMA_KERNEL,
        }
    }
}

/// What the device may do with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// An open `/dev/edu_dma`. Closing it unregisters all buffers.
#[derive(Debug)]
pub struct Edu {
    file: File,
}

impl Edu {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let path = CStr::from_bytes_until_nul(raw::EDU_DMA_DEVICE_PATH)
            .expect("a C string literal ends in a zero byte");
        let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self { file }),
            Err(err) => {
                let hint = match err.raw_os_error() {
                    Some(libc::ENOENT) => Some("load the driver first: edu_dma.ko"),
                    Some(libc::ENODEV | libc::ENXIO) => {
                        Some("this machine has no edu device: start QEMU with -device edu")
                    }
                    Some(libc::EACCES | libc::EPERM) => Some("run this as root"),
                    _ => None,
                };
                Err(failed(format!("cannot open {}", path.display()), err, hint))
            }
        }
    }

    /// Pins `[addr, addr + len_bytes)` and maps it for the device.
    pub fn register(
        &self,
        addr: usize,
        len_bytes: usize,
        allowed: Use,
        method: Method,
    ) -> io::Result<Buffer<'_>> {
        let mut register = raw::edu_dma_register {
            addr: addr as u64,
            len_bytes: len_bytes as u64,
            flags: match allowed {
                Use::Read => 0,
                Use::ReadWrite => raw::EDU_DMA_WRITABLE,
            },
            method: method.number(),
            ..Default::default()
        };
        self.call(
            raw::EDU_DMA_IOC_REGISTER,
            "EDU_DMA_IOC_REGISTER",
            &mut register,
        )?;
        Ok(Buffer {
            edu: self,
            register,
        })
    }

    /// Issues one call with a structure of the caller's own.
    ///
    /// # Safety
    ///
    /// `argument` must be what `request` expects. The device writes to memory of this process while it serves a
    /// transfer from the device: no reference to the bytes may exist.
    pub unsafe fn ioctl<T>(&self, request: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: The file is open, and the rest is the caller's promise.
        let result = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::c_ulong::from(request),
                from_mut(argument),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn call<T>(&self, request: u32, name: &'static str, argument: &mut T) -> io::Result<()> {
        // SAFETY: All callers pass the structure of the request. Who transfers from the device has promised the rest.
        unsafe { self.ioctl(request, argument) }.map_err(|err| {
            let hint = match err.raw_os_error() {
                Some(libc::EIO) => Some(
                    "the device cannot reach the memory: give QEMU's edu a wider dma_mask, and edu_dma.ko the same \
                     dma_bits, or use an IOMMU",
                ),
                Some(libc::ENOMEM) => {
                    Some(
                        "the limit of locked memory may be too low (ulimit -l), or the device's addresses are used up: \
                         a wider dma_mask helps",
                    )
                }
                _ => None,
            };
            failed(name, err, hint)
        })
    }

    fn transfer(&self, transfer: &mut raw::edu_dma_transfer) -> io::Result<()> {
        self.call(raw::EDU_DMA_IOC_TRANSFER, "EDU_DMA_IOC_TRANSFER", transfer)
    }
}

/// A buffer that the device can access. Dropping it unregisters it.
#[derive(Debug)]
pub struct Buffer<'edu> {
    edu: &'edu Edu,
    register: raw::edu_dma_register,
}

impl Buffer<'_> {
    /// What the driver said when it was registered.
    pub fn raw(&self) -> &raw::edu_dma_register {
        &self.register
    }

    fn request(
        &self,
        offset: usize,
        len_bytes: usize,
        device_offset: u32,
        direction: u32,
    ) -> raw::edu_dma_transfer {
        raw::edu_dma_transfer {
            handle: self.register.handle,
            offset: offset as u64,
            len_bytes: len_bytes as u64,
            device_offset,
            direction,
            ..Default::default()
        }
    }

    /// Copies bytes of the buffer to the device's memory. Returns how long that took, in nanoseconds.
    pub fn copy_to_device(
        &self,
        offset: usize,
        len_bytes: usize,
        device_offset: u32,
    ) -> io::Result<u64> {
        let mut request = self.request(offset, len_bytes, device_offset, raw::EDU_DMA_TO_DEVICE);
        self.edu.transfer(&mut request)?;
        Ok(request.transfer_ns)
    }

    /// Copies bytes of the device's memory to the buffer. Returns how long that took, in nanoseconds.
    ///
    /// # Safety
    ///
    /// The bytes change without a word to the compiler: nothing in this process may hold a reference to them.
    pub unsafe fn copy_from_device(
        &self,
        offset: usize,
        len_bytes: usize,
        device_offset: u32,
    ) -> io::Result<u64> {
        let mut request = self.request(offset, len_bytes, device_offset, raw::EDU_DMA_FROM_DEVICE);
        self.edu.transfer(&mut request)?;
        Ok(request.transfer_ns)
    }

    /// Unmaps and releases the buffer, and says what that cost.
    pub fn unregister(self) -> io::Result<raw::edu_dma_unregister> {
        ManuallyDrop::new(self).end()
    }

    fn end(&self) -> io::Result<raw::edu_dma_unregister> {
        let mut unregister = raw::edu_dma_unregister {
            handle: self.register.handle,
            ..Default::default()
        };
        self.edu.call(
            raw::EDU_DMA_IOC_UNREGISTER,
            "EDU_DMA_IOC_UNREGISTER",
            &mut unregister,
        )?;
        Ok(unregister)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // It is gone already, or goes with the file.
        let _ = self.end();
    }
}
