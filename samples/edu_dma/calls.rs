// SPDX-License-Identifier: GPL-2.0

//! The calls of `/dev/edu_dma`. `edu_dma.h` says what they do.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    time::{Instant, Monotonic},
};

use crate::{
    buffer::{Buffer, Closed, Method, Report},
    device::{Direction, Edu},
    handles::Handles,
    ioctl_file::IoctlFile,
    sys::{
        abi::{self, Argument},
        slot,
    },
};

/// An open file: the device, and the buffers that were registered through it. Closing the file unregisters them.
///
/// The file is the capability, like a file of `/dev/rust_gup`: a process that gets it, by fork() or over a socket, can
/// use its buffers.
#[pin_data]
pub(crate) struct OpenFile {
    edu: Arc<Edu>,
    #[pin]
    buffers: Mutex<Buffers>,
}

struct Buffers {
    handles: Handles<Buffer>,
    /// The number of buffers, including those that are being registered.
    nr: u32,
}

impl IoctlFile for OpenFile {
    fn open() -> Result<Pin<KBox<Self>>> {
        let edu = slot::current().ok_or(ENODEV)?;
        KBox::pin_init(
            pin_init!(Self {
                edu,
                buffers <- new_mutex!(Buffers {
                    handles: Handles::new(),
                    nr: 0,
                }),
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
        {
            let mut buffers = self.buffers.lock();
            if buffers.nr >= abi::EDU_DMA_MAX_BUFFERS {
                return Err(ENOSPC);
            }
            buffers.nr = buffers.nr.wrapping_add(1);
        }
        let result = self.register_one(argument);
        if result.is_err() {
            self.forget_one();
        }
        result
    }

    fn forget_one(&self) {
        let mut buffers = self.buffers.lock();
        buffers.nr = buffers.nr.wrapping_sub(1);
    }

    fn register_one(&self, argument: Argument) -> Result {
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
        let reservation = Handles::reserve()?;
        let mut report = Report::default();
        let result = Buffer::register(
            &self.edu,
            method,
            usize::try_from(register.addr)?,
            usize::try_from(register.len_bytes)?,
            register.flags & abi::EDU_DMA_WRITABLE != 0,
            &mut report,
        );
        if !abi::may_see_layout() {
            report.hide_layout();
        }
        register.nr_pages = report.nr_pages as u64;
        register.nr_fast = report.walk.nr_fast as u64;
        register.nr_entries = report.nr_entries as u64;
        register.nr_segments = report.nr_segments as u64;
        register.list_bytes = report.list_bytes as u64;
        register.dma_addr = report.dma_addr;
        register.take_ns = report.take_ns;
        register.list_ns = report.list_ns;
        register.map_ns = report.map_ns;
        register.stop = report.walk.stop;
        register.stop_addr = report.walk.stop_addr;
        let buffer = match result {
            Ok(buffer) => Arc::new(buffer, GFP_KERNEL_ACCOUNT)?,
            Err(error) => {
                // The caller learns where and why the walk stopped all the same.
                let _ = argument.write(&register);
                return Err(error);
            }
        };
        // The caller learns the handle before it exists. In the other order, another thread could already have
        // unregistered the buffer when this thread has to take the handle back.
        register.handle = self.buffers.lock().handles.next();
        argument.write(&register)?;
        let mut buffers = self.buffers.lock();
        buffers.handles.insert(reservation, register.handle, buffer);
        Ok(())
    }

    fn unregister(&self, argument: Argument) -> Result {
        let mut unregister: abi::edu_dma_unregister = argument.read()?;
        let buffer = self.buffers.lock().handles.remove(unregister.handle)?;
        self.forget_one();
        // If a transfer still uses the buffer, that transfer closes it.
        let mut closed = Closed::default();
        if let Some(buffer) = Arc::into_unique_or_drop(buffer) {
            closed = Pin::into_inner(buffer).close();
        }
        if !abi::may_see_layout() {
            closed = Closed::default();
        }
        unregister.unmap_ns = closed.unmap_ns;
        unregister.release_ns = closed.release_ns;
        argument.write(&unregister)
    }

    fn transfer(&self, argument: Argument) -> Result {
        let mut transfer: abi::edu_dma_transfer = argument.read()?;
        let direction = match transfer.direction {
            abi::EDU_DMA_TO_DEVICE => Direction::ToDevice,
            abi::EDU_DMA_FROM_DEVICE => Direction::FromDevice,
            _ => return Err(EINVAL),
        };
        let buffer = self.buffers.lock().handles.get(transfer.handle)?;
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
}
