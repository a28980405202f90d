// SPDX-License-Identifier: GPL-2.0

//! Conversions between the numbers of the ABI and the types of `gup/`.

use kernel::prelude::*;

use crate::{
    gup::{
        stats::NR_BUCKETS,
        Engine,
        How,
        Request,
        Taken, //
    },
    kapi,
    sys::{
        machine::{
            self,
            LiveFormat, //
        },
        task,
        SlowOnly, //
    },
    uapi,
    walk::{
        Format,
        Level,
        Stop,
        MAX_LEAF_LEVELS, //
    },
};

const NR_LEVELS: usize = uapi::RUST_GUP_NR_LEVELS as usize;

/// Asserts that the numbers of `Stop` are those of the ABI, and that the arrays of the ABI are large enough.
const _: () = {
    assert!(Stop::COUNT as u32 == uapi::RUST_GUP_NR_STOPS);
    assert!(MAX_LEAF_LEVELS <= NR_LEVELS);
    assert!(LiveFormat::HIGHEST_LEAF.index() < MAX_LEAF_LEVELS);
    assert!(LiveFormat::LEVELS.len() <= NR_LEVELS);
    assert!(NR_BUCKETS as u32 == uapi::RUST_GUP_NR_IRQS_OFF_BUCKETS);
    assert!(Stop::Absent as u32 == uapi::RUST_GUP_STOP_ABSENT);
    assert!(Stop::ProtNone as u32 == uapi::RUST_GUP_STOP_PROT_NONE);
    assert!(Stop::ReadOnly as u32 == uapi::RUST_GUP_STOP_READ_ONLY);
    assert!(Stop::NotUser as u32 == uapi::RUST_GUP_STOP_NOT_USER);
    assert!(Stop::Pkey as u32 == uapi::RUST_GUP_STOP_PKEY);
    assert!(Stop::Special as u32 == uapi::RUST_GUP_STOP_SPECIAL);
    assert!(Stop::Bad as u32 == uapi::RUST_GUP_STOP_BAD);
    assert!(Stop::Changed as u32 == uapi::RUST_GUP_STOP_CHANGED);
    assert!(Stop::Unreferenced as u32 == uapi::RUST_GUP_STOP_UNREFERENCED);
    assert!(Stop::Split as u32 == uapi::RUST_GUP_STOP_SPLIT);
    assert!(Stop::Device as u32 == uapi::RUST_GUP_STOP_DEVICE);
    assert!(Stop::ZeroPage as u32 == uapi::RUST_GUP_STOP_ZERO_PAGE);
    assert!(Stop::Longterm as u32 == uapi::RUST_GUP_STOP_LONGTERM);
    assert!(Stop::NoMapping as u32 == uapi::RUST_GUP_STOP_NO_MAPPING);
    assert!(Stop::FileLongterm as u32 == uapi::RUST_GUP_STOP_FILE_LONGTERM);
    assert!(Stop::Secret as u32 == uapi::RUST_GUP_STOP_SECRET);
    assert!(Stop::Unshare as u32 == uapi::RUST_GUP_STOP_UNSHARE);
    assert!(Stop::Inaccessible as u32 == uapi::RUST_GUP_STOP_INACCESSIBLE);
    assert!(Stop::Fork as u32 == uapi::RUST_GUP_STOP_FORK);
    assert!(Stop::Range as u32 == uapi::RUST_GUP_STOP_RANGE);
    assert!(Stop::Off as u32 == uapi::RUST_GUP_STOP_OFF);
    assert!(Stop::Signal as u32 == uapi::RUST_GUP_STOP_SIGNAL);
    assert!(Stop::TooManyRefs as u32 == uapi::RUST_GUP_STOP_TOO_MANY_REFS);
};

/// Returns the engine with this number.
///
/// # Errors
///
/// `EINVAL` if there is no such engine.
pub(super) fn engine(number: u32) -> Result<Engine> {
    match number {
        uapi::RUST_GUP_ENGINE_RUST => Ok(Engine::Rust),
        uapi::RUST_GUP_ENGINE_KERNEL => Ok(Engine::Kernel),
        uapi::RUST_GUP_ENGINE_RUST_PAGES => Ok(Engine::RustPages),
        uapi::RUST_GUP_ENGINE_KERNEL_RANGES => Ok(Engine::KernelRanges),
        _ => Err(EINVAL),
    }
}

/// Returns the engine with this number, if a handle can hold its ranges.
///
/// # Errors
///
/// `EINVAL` if there is no such engine, or if a handle cannot hold its ranges.
pub(super) fn handle_engine(number: u32) -> Result<Engine> {
    match engine(number)? {
        engine @ (Engine::Rust | Engine::Kernel) => Ok(engine),
        _ => Err(EINVAL),
    }
}

/// Makes a request from the fields of a structure of the ABI.
///
/// # Errors
///
/// `EPERM` for `RUST_GUP_FORCE` without `CAP_SYS_ADMIN`; otherwise as [`kapi::request()`].
pub(super) fn request(addr: u64, len_bytes: u64, flags: u32) -> Result<Request> {
    let request = kapi::request(addr, len_bytes, flags, kapi::DEVICE_FLAGS)?;
    if request.terms.slow_only.has(SlowOnly::FORCE) && !task::is_admin() {
        return Err(EPERM);
    }
    Ok(request)
}

/// Makes a request for a handle, which lives for as long as user space likes.
///
/// # Errors
///
/// For a pin that is not long-term, `EINVAL` without `RUST_GUP_SHORT_TERM` and `EPERM` without `CAP_SYS_ADMIN`;
/// otherwise as [`request()`].
pub(super) fn handle_request(addr: u64, len_bytes: u64, flags: u32) -> Result<Request> {
    let request = request(addr, len_bytes, flags)?;
    if request.terms.how == How::Pin {
        if flags & uapi::RUST_GUP_SHORT_TERM == 0 {
            return Err(EINVAL);
        }
        if !task::is_admin() {
            return Err(EPERM);
        }
    }
    Ok(request)
}

/// Returns the number of pages by the level of their leaves, as a field of the ABI.
pub(super) fn by_level(taken: &Taken) -> [u64; NR_LEVELS] {
    let mut nr_by_level = [0; NR_LEVELS];
    for (to, from) in nr_by_level.iter_mut().zip(taken.progress.nr_by_level) {
        *to = from;
    }
    nr_by_level
}

/// Returns, for each level, the binary logarithm of the bytes that an entry covers, as a field of the ABI.
pub(super) fn entry_shift(root_level: Level) -> [u32; NR_LEVELS] {
    let mut entry_shift = [0; NR_LEVELS];
    let up_to_root = LiveFormat::LEVELS.iter().take(root_level.index() + 1);
    for (to, level) in entry_shift.iter_mut().zip(up_to_root) {
        *to = level.shift;
    }
    entry_shift
}

/// Returns the levels that can have leaves, one bit each, as a field of the ABI.
pub(super) fn leaf_levels(root_level: Level) -> u32 {
    let highest = LiveFormat::HIGHEST_LEAF.min(root_level);
    (2u32 << highest.index()).wrapping_sub(1)
}

/// Returns an error number as the ABI reports it: positive, or 0 for no error.
pub(super) fn errno(error: Option<Error>) -> i32 {
    error.map_or(0, |error| error.to_errno().wrapping_neg())
}

/// Returns what the module can do on this machine, for this caller, as a field of the ABI.
pub(super) fn features() -> u64 {
    let mut features = 0;
    if machine::is_walkable() {
        features |= uapi::RUST_GUP_FEATURE_FAST;
    }
    if task::is_admin() {
        features |= uapi::RUST_GUP_FEATURE_HAS_PFN;
    }
    machine::features() | u64::from(features)
}
