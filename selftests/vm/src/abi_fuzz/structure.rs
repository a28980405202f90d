// SPDX-License-Identifier: GPL-2.0

//! The structures of the ABI as bytes.

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use super::{
    call::Call,
    caller::Subject,
    script::CallOperation, //
};
use crate::harness::fixture::bytes_of;

/// Builds the structure of an operation as the header declares it. Fields that are only for output hold garbage.
pub(super) fn structure(operation: &CallOperation, subject: &Subject) -> Vec<u8> {
    let garbage = operation.garbage;
    let garbage_u32 = garbage as u32;
    match (Call::of(operation.number), subject) {
        (Some(Call::Pin), Subject::Range(range)) => bytes_of(raw::rust_gup_pin {
            addr: range.addr,
            len_bytes: range.len_bytes,
            flags: range.flags,
            engine: range.engine,
            handle: garbage,
            nr_pages: garbage,
            nr_fast: garbage,
            nr_runs: garbage,
            nr_by_level: [garbage; 5],
            stop_addr: garbage,
            stop: garbage_u32,
            reserved: range.reserved,
        }),
        (Some(Call::Compare), Subject::Range(range)) => bytes_of(raw::rust_gup_compare {
            addr: range.addr,
            len_bytes: range.len_bytes,
            flags: range.flags,
            differences: garbage_u32,
            errno_rust: garbage_u32 as i32,
            errno_kernel: garbage_u32 as i32,
            nr_pages_rust: garbage,
            nr_pages_kernel: garbage,
            nr_equal: garbage,
            nr_fast: garbage,
            nr_runs: garbage,
            nr_by_level: [garbage; 5],
            diff_addr: garbage,
            stop_addr: garbage,
            stop: garbage_u32,
            reserved: range.reserved,
            nr_pages_first: garbage,
            nr_fast_first: garbage,
            stop_addr_first: garbage,
            stop_first: garbage_u32,
            errno_first: garbage_u32 as i32,
            nr_retries: garbage,
        }),
        (Some(Call::Measure), Subject::Range(range)) => bytes_of(raw::rust_gup_measure {
            addr: range.addr,
            len_bytes: range.len_bytes,
            flags: range.flags,
            rounds: range.rounds,
            engine_a: range.engine,
            engine_b: range.engine_b,
            pages_per_call: range.pages_per_call,
            reserved: range.reserved,
            samples: range.samples,
            rounds_done: garbage,
            nr_pages: garbage,
            overhead_cycles: garbage,
            bookkeeping_a_bytes: garbage,
            bookkeeping_b_bytes: garbage,
            irqs_off_a_cycles: garbage,
            irqs_off_b_cycles: garbage,
        }),
        (Some(Call::Unpin), Subject::Use(using)) => bytes_of(raw::rust_gup_unpin {
            handle: using.handle,
        }),
        (Some(Call::Read | Call::Write), Subject::Use(using)) => bytes_of(raw::rust_gup_copy {
            handle: using.handle,
            offset: using.offset,
            len_bytes: using.len_bytes,
            buf: using.buf,
        }),
        (Some(Call::Runs), Subject::Use(using)) => bytes_of(raw::rust_gup_runs {
            handle: using.handle,
            first: using.first,
            buf: using.buf,
            capacity: using.capacity,
            nr_runs: garbage,
            nr_total: garbage,
        }),
        (Some(call), _) => vec![garbage as u8; call.size()],
        (None, _) => vec![garbage as u8; page_bytes()],
    }
}

/// Reads a structure from its first bytes. Fields beyond the last byte are zero.
pub(super) fn from_bytes<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut value = T::new_zeroed();
    let nr = bytes.len().min(size_of::<T>());
    value.as_mut_bytes()[..nr].copy_from_slice(&bytes[..nr]);
    value
}
