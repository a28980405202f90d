// SPDX-License-Identifier: GPL-2.0

//! The device that `/dev/edu_dma` stands for, if there is one.

use kernel::{prelude::*, sync::Arc};

use crate::device::Edu;

kernel::sync::global_lock! {
    // SAFETY: `init()` initialises it.
    unsafe(uninit) static DEVICE: Mutex<Option<Arc<Edu>>> = None;
}

/// Initialises the slot. Called once, before any other function of this file.
pub(crate) fn init() {
    // SAFETY: Called once, when the module is loaded, before it registers anything.
    unsafe { DEVICE.init() };
}

/// Lets processes open the device until this value is dropped.
pub(crate) struct Published(());

/// Lets processes open `edu`.
///
/// # Errors
///
/// `EBUSY` if they can open another one: the sample serves one device.
pub(crate) fn publish(edu: Arc<Edu>) -> Result<Published> {
    let mut device = DEVICE.lock();
    if device.is_some() {
        return Err(EBUSY);
    }
    *device = Some(edu);
    Ok(Published(()))
}

/// Returns the device that can be opened.
pub(crate) fn current() -> Option<Arc<Edu>> {
    DEVICE.lock().clone()
}

impl Drop for Published {
    fn drop(&mut self) {
        *DEVICE.lock() = None;
    }
}
