// SPDX-License-Identifier: GPL-2.0

//! Waiting for an interrupt with a timeout, which the kernel crate's `Completion` cannot.

use kernel::{bindings, prelude::*, types::Opaque};

use super::helpers;

/// Something that an interrupt handler completes.
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
    /// Not done.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            completion <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: The memory is there, and stays where it is.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Not done any more. Nobody waits meanwhile.
    pub(crate) fn reset(&self) {
        // SAFETY: It is initialised.
        unsafe { helpers::edu_dma_reset_completion(self.completion.get()) };
    }

    /// Done. In any context.
    pub(crate) fn complete(&self) {
        // SAFETY: It is initialised.
        unsafe { bindings::complete(self.completion.get()) };
    }

    /// Waits until it is done, or the time is over. Not interrupted by signals.
    pub(crate) fn wait(&self, timeout_ms: u32) {
        // SAFETY: It is initialised; the callers are in process context.
        unsafe { helpers::edu_dma_wait(self.completion.get(), timeout_ms) };
    }
}

/// Whether the current task has been killed.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Always safe to call in process context.
    unsafe { helpers::edu_dma_fatal_signal_pending() }
}
