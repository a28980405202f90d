// SPDX-License-Identifier: GPL-2.0

//! `/dev/edu_dma`. `edu_dma.h` says what the calls do.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    time::{Instant, Monotonic},
};

use crate::{
    buffer::{Buffer, Method, Report},
    device::{Direction, Edu},
    ioctl_file::IoctlFile,
    sys::{
        abi::{self, Argument},
        slot,
    },
};

/// An open file: the device, and the buffers that were registered through it. Closing it unregisters them.
#[pin_data]
pub(crate) struct OpenFile {
    edu: Arc<Edu>,
    /// By handle, which is the index and one. A buffer is shared with the copies that use it at the moment.
    #[pin]
    buffers: Mutex<KVec<Option<Arc<Buffer>>>>,
}

impl IoctlFile for OpenFile {
    fn open() -> Result<Pin<KBox<Self>>> {
        let edu = slot::current().ok_or(ENODEV)?;
        KBox::pin_init(
            pin_init!(Self {
                edu,
                buffers <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        let argument = Argument::new(arg);
        match cmd {
            abi::EDU_DMA_IOC_REGISTER => self.register(argument)?,
            abi::EDU_DMA_IOC_UNREGISTER => self.unregister(argument)?,
            abi::EDU_DMA_IOC_TRANSFER => self.transfer(argument)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

impl OpenFile {
    fn register(&self, argument: Argument) -> Result {
        let mut register: abi::edu_dma_register = argument.read()?;
        let is_valid = register.reserved == 0
            && register.flags & !abi::EDU_DMA_WRITABLE == 0
            && (1..=u64::from(abi::EDU_DMA_MAX_BYTES)).contains(&register.len_bytes);
        if !is_valid {
            return Err(EINVAL);
        }
        let method = match register.method {
            abi::EDU_DMA_RUNS => Method::Runs,
            abi::EDU_DMA_PAGES => Method::Pages,
            abi::EDU_DMA_KERNEL => Method::Kernel,
            _ => return Err(EINVAL),
        };
        let mut report = Report::default();
        let result = Buffer::register(
            &self.edu,
            method,
            usize::try_from(register.addr)?,
            usize::try_from(register.len_bytes)?,
            register.flags & abi::EDU_DMA_WRITABLE != 0,
            &mut report,
        );
        register.nr_pages = report.nr_pages as u64;
        register.nr_fast = report.nr_fast as u64;
        register.nr_entries = report.nr_entries as u64;
        register.nr_segments = report.nr_segments as u64;
        register.list_bytes = report.list_bytes as u64;
        register.take_ns = report.take_ns;
        register.list_ns = report.list_ns;
        register.map_ns = report.map_ns;
        register.stop = report.stop;
        register.stop_addr = report.stop_addr;
        register.dma_addr = if abi::may_see_addresses() {
            report.dma_addr
        } else {
            0
        };
        let buffer = match result {
            Ok(buffer) => Arc::new(buffer, GFP_KERNEL_ACCOUNT)?,
            Err(error) => {
                // Where and why it stopped is worth knowing all the same.
                let _ = argument.write(&register);
                return Err(error);
            }
        };
        let index = self.insert(buffer)?;
        register.handle = (index as u64).wrapping_add(1);
        argument.write(&register).inspect_err(|_| {
            // Nobody knows the handle.
            self.remove(register.handle).ok();
        })
    }

    fn unregister(&self, argument: Argument) -> Result {
        let mut unregister: abi::edu_dma_unregister = argument.read()?;
        let buffer = self.remove(unregister.handle)?;
        // If a copy still uses it, that one closes it.
        if let Some(buffer) = Arc::into_unique_or_drop(buffer) {
            let closed = Pin::into_inner(buffer).close();
            unregister.unmap_ns = closed.unmap_ns;
            unregister.release_ns = closed.release_ns;
        }
        argument.write(&unregister)
    }

    fn transfer(&self, argument: Argument) -> Result {
        let mut transfer: abi::edu_dma_transfer = argument.read()?;
        let direction = match transfer.direction {
            abi::EDU_DMA_TO_DEVICE => Direction::ToDevice,
            abi::EDU_DMA_FROM_DEVICE => Direction::FromDevice,
            _ => return Err(EINVAL),
        };
        let buffer = self.get(transfer.handle)?;
        let start = Instant::<Monotonic>::now();
        let mut done_bytes = 0u64;
        let result = buffer.copy(
            &self.edu,
            direction,
            usize::try_from(transfer.offset)?,
            transfer.device_offset as usize,
            usize::try_from(transfer.len_bytes)?,
            |nr| done_bytes = done_bytes.wrapping_add(nr as u64),
        );
        transfer.done_bytes = done_bytes;
        transfer.transfer_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(0);
        argument.write(&transfer)?;
        result
    }

    fn insert(&self, buffer: Arc<Buffer>) -> Result<usize> {
        let mut buffers = self.buffers.lock();
        if let Some(index) = buffers.iter().position(|slot| slot.is_none()) {
            if let Some(slot) = buffers.get_mut(index) {
                *slot = Some(buffer);
            }
            return Ok(index);
        }
        if buffers.len() >= abi::EDU_DMA_MAX_BUFFERS as usize {
            return Err(ENOSPC);
        }
        buffers.push(Some(buffer), GFP_KERNEL_ACCOUNT)?;
        Ok(buffers.len().wrapping_sub(1))
    }

    fn index(handle: u64) -> Result<usize> {
        Ok(usize::try_from(handle.checked_sub(1).ok_or(ENOENT)?)?)
    }

    fn get(&self, handle: u64) -> Result<Arc<Buffer>> {
        let buffers = self.buffers.lock();
        let slot = buffers.get(Self::index(handle)?).ok_or(ENOENT)?;
        slot.clone().ok_or(ENOENT)
    }

    fn remove(&self, handle: u64) -> Result<Arc<Buffer>> {
        let mut buffers = self.buffers.lock();
        let slot = buffers.get_mut(Self::index(handle)?).ok_or(ENOENT)?;
        slot.take().ok_or(ENOENT)
    }
}
