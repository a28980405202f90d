// SPDX-License-Identifier: GPL-2.0

//! Waiting for an interrupt with a timeout, which the kernel crate's `Completion` does not support.

use kernel::{bindings, prelude::*, types::Opaque};

use super::helpers;

/// An event that an interrupt handler completes.
#[pin_data]
pub(crate) struct Done {
    #[pin]
    completion: Opaque<bindings::completion>,
}

// SAFETY: Any task may use a completion.
unsafe impl Send for Done {}
// SAFETY: All its functions may be called at once.
unsafe impl Sync for Done {}

impl Done {
    /// Returns an event that is not completed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            completion <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid, and the memory stays where it is.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Makes the event not completed again. Nobody may wait for it meanwhile.
    pub(crate) fn reset(&self) {
        // SAFETY: It is initialised.
        unsafe { helpers::edu_dma_reset_completion(self.completion.get()) };
    }

    /// Completes the event. May be called in any context.
    pub(crate) fn complete(&self) {
        // SAFETY: It is initialised.
        unsafe { bindings::complete(self.completion.get()) };
    }

    /// Waits until the event is completed, or the time is over. Signals do not interrupt the wait. Must be called in
    /// process context.
    pub(crate) fn wait(&self, timeout_ms: u32) {
        // SAFETY: It is initialised; the callers are in process context.
        unsafe { helpers::edu_dma_wait(self.completion.get(), timeout_ms) };
    }
}

/// Returns whether the current task has been killed.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { helpers::edu_dma_fatal_signal_pending() }
}
