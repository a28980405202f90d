// SPDX-License-Identifier: GPL-2.0

//! The API for other modules (`include/rust_gup_api.h`) and, through the device, for user land. It makes requests from
//! the flags of both, and is the one way to have them served.

#![deny(unsafe_code)]

/// The border to C.
#[allow(unsafe_code)]
mod exports;

use kernel::prelude::*;

use crate::{
    gup::{
        Engine,
        Fallback,
        How,
        PinnedRange,
        Request,
        Taken,
        Terms, //
    },
    sys::{
        mm,
        task,
        Buffer,
        Contents,
        Direction,
        SlowOnly, //
    },
    uapi,
    walk::{
        Access,
        Run, //
    },
};

/// Flags for the slow path: the number in the ABI, and the value here.
const SLOW_ONLY: [(u32, SlowOnly); 4] = [
    (uapi::RUST_GUP_FORCE, SlowOnly::FORCE),
    (uapi::RUST_GUP_NOFAULT, SlowOnly::NOFAULT),
    (uapi::RUST_GUP_PCI_P2PDMA, SlowOnly::PCI_P2PDMA),
    (uapi::RUST_GUP_HONOR_NUMA_FAULT, SlowOnly::HONOR_NUMA_FAULT),
];

/// The flags that a driver may use. The others are for tests on the device: a driver that passes on flags of user space
/// must not hand out `FOLL_FORCE` that way.
pub(crate) const DRIVER_FLAGS: u32 =
    uapi::RUST_GUP_WRITE | uapi::RUST_GUP_PIN | uapi::RUST_GUP_LONGTERM | uapi::RUST_GUP_FAST_ONLY;

/// The flags that user space may use.
pub(crate) const DEVICE_FLAGS: u32 = DRIVER_FLAGS
    | uapi::RUST_GUP_FORCE
    | uapi::RUST_GUP_NOFAULT
    | uapi::RUST_GUP_PCI_P2PDMA
    | uapi::RUST_GUP_HONOR_NUMA_FAULT
    | uapi::RUST_GUP_SHORT_TERM;

/// The error for a task without an address space, which is a kernel thread.
pub(crate) const NO_MM: Error = EFAULT;

/// Fails outside of process context.
///
/// # Errors
///
/// `EPERM` if the caller must not sleep.
pub(crate) fn check_context() -> Result {
    if task::may_sleep() {
        Ok(())
    } else {
        Err(EPERM)
    }
}

/// Makes the request of a caller that may use the flags `known_flags`.
///
/// # Errors
///
/// `EINVAL` for flags that are unknown or do not go together; otherwise as [`Request::new()`].
pub(crate) fn request(addr: u64, len_bytes: u64, flags: u32, known_flags: u32) -> Result<Request> {
    if flags & !known_flags != 0 {
        return Err(EINVAL);
    }
    let has = |flag| flags & flag != 0;
    let how = match (
        has(uapi::RUST_GUP_PIN),
        has(uapi::RUST_GUP_LONGTERM),
        has(uapi::RUST_GUP_SHORT_TERM),
    ) {
        (false, false, false) => How::Get,
        (true, false, _) => How::Pin,
        (true, true, false) => How::PinLongterm,
        // `mm/gup.c` does not allow FOLL_LONGTERM without FOLL_PIN either.
        _ => return Err(EINVAL),
    };
    let access = if has(uapi::RUST_GUP_WRITE) {
        Access::Write
    } else {
        Access::Read
    };
    let fallback = if has(uapi::RUST_GUP_FAST_ONLY) {
        Fallback::None
    } else {
        Fallback::Slow
    };
    let slow_only = SLOW_ONLY
        .iter()
        .filter(|(flag, _)| has(*flag))
        .fold(SlowOnly::default(), |all, (_, one)| all.and(*one));
    // Device memory must be able to go away at any time (`mm/gup.c:2532`).
    if how == How::PinLongterm && slow_only.has(SlowOnly::PCI_P2PDMA) {
        return Err(EINVAL);
    }
    let terms = Terms {
        access,
        how,
        fallback,
        slow_only,
    };
    Request::new(addr, len_bytes, terms)
}

/// Returns why and where the fast walk first stopped, as two fields of the ABI.
pub(crate) fn stop(taken: &Taken) -> (u32, u64) {
    match taken.first_stop {
        None => (uapi::RUST_GUP_STOP_NONE, 0),
        Some((stop, addr)) => (stop as u32, addr),
    }
}

/// Takes pages of the current process. Fills in `taken`, also in case of an error.
///
/// # Errors
///
/// `EPERM` outside of process context, `EFAULT` without an address space, `EINVAL` for an engine that takes no ranges
/// to hold; otherwise as [`PinnedRange::take()`].
pub(crate) fn take(engine: Engine, request: &Request, taken: &mut Taken) -> Result<PinnedRange> {
    check_context()?;
    mm::with_current(|mm| {
        if request.terms.fallback == Fallback::Slow {
            mm.might_lock_read();
        }
        match engine {
            Engine::Rust => PinnedRange::take(mm, request, taken),
            Engine::Kernel => PinnedRange::take_with_kernel(mm, request),
            Engine::RustPages | Engine::KernelRanges => Err(EINVAL),
        }
    })
    .ok_or(NO_MM)?
}

/// Calls `f` with each run from the one with index `first` on, until it returns an error.
///
/// # Errors
///
/// `EPERM` outside of process context, and what `f` returns.
pub(crate) fn for_each_run(
    range: &PinnedRange,
    first: usize,
    f: impl FnMut(Run) -> Result,
) -> Result {
    check_context()?;
    range.for_each_run(first, f)
}

/// Copies between a buffer and the range.
///
/// # Errors
///
/// `EPERM` outside of process context; otherwise as [`PinnedRange::copy()`].
pub(crate) fn copy(
    range: &PinnedRange,
    direction: Direction,
    offset: u64,
    len_bytes: u64,
    buffer: Buffer<'_>,
) -> Result {
    check_context()?;
    range.copy(direction, offset, len_bytes, buffer)
}

/// Records what happened to the contents of a range that is about to be released. If this fails, the caller must not
/// release the range.
///
/// # Errors
///
/// `EPERM` outside of process context, `EACCES` if the range was written to but not pinned for writing.
pub(crate) fn before_release(range: &PinnedRange, contents: Contents) -> Result {
    check_context()?;
    match contents {
        Contents::Unchanged => Ok(()),
        Contents::Written => range.set_written(),
    }
}
