// SPDX-License-Identifier: GPL-2.0

//! The parts that lack an abstraction in the kernel crate, or that differ between its versions. This is the only place
//! with `unsafe`.

pub(crate) mod abi;
mod charge;
pub(crate) mod dma;
pub(crate) mod done;
pub(crate) mod page_array;
pub(crate) mod pci_id;
pub(crate) mod sg;
pub(crate) mod slot;

#[cfg_attr(linux_7_2, path = "linux_7_2.rs")]
#[cfg_attr(not(linux_7_2), path = "linux_7_3.rs")]
pub(crate) mod linux;

/// The functions of `helpers.c`. Some types of the kernel have no fields in this configuration, which does not matter
/// behind a pointer.
#[allow(improper_ctypes)]
mod helpers {
    use kernel::{bindings, prelude::*};

    extern "C" {
        pub(super) fn edu_dma_reset_completion(x: *mut bindings::completion);
        pub(super) fn edu_dma_wait(x: *mut bindings::completion, timeout_ms: c_uint);
        pub(super) fn edu_dma_fatal_signal_pending() -> bool;
        pub(super) fn edu_dma_memlock_limit_bytes() -> usize;
        pub(super) fn edu_dma_get_current_user() -> *mut bindings::user_struct;
        pub(super) fn edu_dma_user_locked_vm(user: *mut bindings::user_struct) -> *mut isize;
        pub(super) fn edu_dma_mm_pinned_vm(mm: *mut bindings::mm_struct) -> *mut i64;
        pub(super) fn edu_dma_sg_set_page(
            sg: *mut bindings::scatterlist,
            page: *mut bindings::page,
            len: c_uint,
            offset: c_uint,
        );
        pub(super) fn edu_dma_sync_for_device(
            dev: *mut bindings::device,
            addr: u64,
            len: usize,
            direction: c_int,
        );
        pub(super) fn edu_dma_sync_for_cpu(
            dev: *mut bindings::device,
            addr: u64,
            len: usize,
            direction: c_int,
        );
    }
}
