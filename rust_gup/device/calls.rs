// SPDX-License-Identifier: GPL-2.0

//! The calls of the ABI, one function each. `uapi/rust_gup.h` says what they do.

use core::sync::atomic::Ordering::Relaxed;

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    argument::Argument,
    convert,
    file_charge::HeldRange,
    handles::Handles,
    OpenFile, //
};
use crate::{
    gup::{
        self,
        stats::{
            Counter,
            IRQS_OFF_MAX_CYCLES, //
        },
        PinnedRange,
        Taken,
        WINDOW_ENTRIES, //
    },
    kapi::{
        self,
        NO_MM, //
    },
    sys::{
        files::abi::write_element,
        machine,
        mm,
        task,
        Buffer,
        Direction, //
    },
    uapi,
    walk::{
        Level,
        Stop, //
    },
};

/// Serves `RUST_GUP_IOC_INFO`.
pub(super) fn info() -> uapi::rust_gup_info {
    let mut module_version = [0; 16];
    for (to, from) in module_version.iter_mut().zip(crate::VERSION.bytes()) {
        *to = from;
    }
    // A task in a system call has an address space.
    let root_level = mm::with_current(|mm| mm.root_level()).unwrap_or(Level::PTE);
    uapi::rust_gup_info {
        abi_version: uapi::RUST_GUP_ABI_VERSION,
        format: machine::FORMAT,
        page_size_bytes: machine::PAGE_SIZE as u32,
        levels: root_level.index() as u32 + 1,
        features: convert::features(),
        cycles_khz: machine::cycles_khz(),
        window_entries: WINDOW_ENTRIES.load(Relaxed),
        reserved: 0,
        module_version,
        user_limit: machine::user_limit(),
        entry_shift: convert::entry_shift(root_level),
        leaf_levels: convert::leaf_levels(root_level),
    }
}

/// Returns the number of runs that the caller may see for `nr_pages` pages. Only the administrator may see how memory
/// lies physically, as in `/proc/PID/pagemap`. For others each page is a run.
fn visible_runs(nr_runs: u64, nr_pages: u64) -> u64 {
    if task::is_admin() {
        nr_runs
    } else {
        nr_pages
    }
}

/// Serves `RUST_GUP_IOC_PIN`.
pub(super) fn pin(file: &OpenFile, mut pin: uapi::rust_gup_pin, argument: &Argument) -> Result {
    if pin.reserved != 0 {
        return Err(EINVAL);
    }
    let request = convert::handle_request(pin.addr, pin.len_bytes, pin.flags)?;
    let engine = convert::handle_engine(pin.engine)?;
    let reservation = Handles::reserve()?;
    let mut charge = file.held.charge(request.range.nr_pages())?;
    let mut taken = Taken::new(&request.range);
    let result = kapi::take(engine, &request, &mut taken);
    (pin.stop, pin.stop_addr) = kapi::stop(&taken);
    let range = match result {
        Ok(range) => range,
        Err(error) => {
            // The error of the request matters more to the caller than a failure of this write.
            let _ = argument.write(&pin);
            return Err(error);
        }
    };
    pin.nr_pages = range.nr_pages();
    pin.nr_fast = taken.nr_fast();
    pin.nr_runs = visible_runs(range.nr_runs() as u64, range.nr_pages());
    pin.nr_by_level = convert::by_level(&taken);
    if range.nr_pages() == 0 {
        pin.handle = 0;
        return argument.write(&pin);
    }
    charge.shrink_to(range.nr_pages());
    let range = HeldRange {
        pages: range,
        _charge: charge,
    };
    let range = Arc::new(range, GFP_KERNEL_ACCOUNT)?;
    // Write the handle to the caller before it exists: if that fails, no handle is left behind.
    pin.handle = file.handles.lock().next();
    argument.write(&pin)?;
    file.handles.lock().insert(reservation, pin.handle, range);
    Ok(())
}

/// Serves `RUST_GUP_IOC_UNPIN`.
pub(super) fn unpin(file: &OpenFile, unpin: uapi::rust_gup_unpin) -> Result {
    // Release the range after the lock: that can take long, and sleep.
    let range = file.handles.lock().remove(unpin.handle)?;
    drop(range);
    Ok(())
}

/// Serves `RUST_GUP_IOC_READ`.
pub(super) fn read(file: &OpenFile, copy: uapi::rust_gup_copy) -> Result {
    let range = file.handles.lock().get(copy.handle)?;
    kapi::copy(
        &range.pages,
        Direction::FromPages,
        copy.offset,
        copy.len_bytes,
        Buffer::user(copy.buf),
    )
}

/// Serves `RUST_GUP_IOC_WRITE`.
pub(super) fn write(file: &OpenFile, copy: uapi::rust_gup_copy) -> Result {
    let range = file.handles.lock().get(copy.handle)?;
    kapi::copy(
        &range.pages,
        Direction::ToPages,
        copy.offset,
        copy.len_bytes,
        Buffer::user(copy.buf),
    )
}

/// Serves `RUST_GUP_IOC_RUNS`.
pub(super) fn runs(file: &OpenFile, mut runs: uapi::rust_gup_runs) -> Result<uapi::rust_gup_runs> {
    let range = file.handles.lock().get(runs.handle)?;
    let range = &range.pages;
    runs.nr_total = visible_runs(range.nr_runs() as u64, range.nr_pages());
    let nr_wanted = runs.nr_total.saturating_sub(runs.first).min(runs.capacity);
    runs.nr_runs = if nr_wanted == 0 {
        0
    } else if task::is_admin() {
        write_runs(range, runs.first, nr_wanted, runs.buf)?
    } else {
        write_pages(nr_wanted, runs.buf)?
    };
    Ok(runs)
}

/// Writes at most `nr_wanted` runs, from the one with index `first` on. Returns how many.
fn write_runs(range: &PinnedRange, first: u64, nr_wanted: u64, buf: u64) -> Result<u64> {
    let mut nr_written = 0;
    let result = kapi::for_each_run(range, usize::try_from(first)?, |run| {
        if nr_written == nr_wanted {
            // This only ends the loop over the runs; it is no error.
            return Err(ENOSPC);
        }
        let element = uapi::rust_gup_run {
            pfn: run.first().as_u64(),
            nr_pages: run.nr_pages(),
        };
        write_element(buf, nr_written, &element)?;
        nr_written += 1;
        Ok(())
    });
    match result {
        Err(error) if error != ENOSPC => Err(error),
        _ => Ok(nr_written),
    }
}

/// Writes `nr_pages` runs of one page each, for a caller that may not know where they lie. Returns how many.
fn write_pages(nr_pages: u64, buf: u64) -> Result<u64> {
    let element = uapi::rust_gup_run {
        pfn: 0,
        nr_pages: 1,
    };
    (0..nr_pages).try_for_each(|index| write_element(buf, index, &element))?;
    Ok(nr_pages)
}

/// Serves `RUST_GUP_IOC_COMPARE`.
pub(super) fn compare(mut compare: uapi::rust_gup_compare) -> Result<uapi::rust_gup_compare> {
    if compare.reserved != 0 || compare.len_bytes > uapi::RUST_GUP_COMPARE_MAX_BYTES {
        return Err(EINVAL);
    }
    let request = convert::request(compare.addr, compare.len_bytes, compare.flags)?;
    let result = mm::with_current(|mm| gup::compare(mm, &request)).ok_or(NO_MM)??;

    let mut differences = 0;
    for (differs, difference) in [
        (
            result.rust.error != result.kernel.error,
            uapi::RUST_GUP_DIFF_RESULT,
        ),
        (
            result.rust.nr_pages != result.kernel.nr_pages,
            uapi::RUST_GUP_DIFF_NR_PAGES,
        ),
        (result.page_differs, uapi::RUST_GUP_DIFF_PAGE),
        (result.refcount_differs, uapi::RUST_GUP_DIFF_REFCOUNT),
        (result.pincount_differs, uapi::RUST_GUP_DIFF_PINCOUNT),
        (result.referenced_differs, uapi::RUST_GUP_DIFF_REFERENCED),
        (result.first_differs, uapi::RUST_GUP_DIFF_FIRST),
    ] {
        if differs {
            differences |= difference;
        }
    }
    compare.differences = differences;
    compare.errno_rust = convert::errno(result.rust.error);
    compare.errno_kernel = convert::errno(result.kernel.error);
    compare.nr_pages_rust = result.rust.nr_pages;
    compare.nr_pages_kernel = result.kernel.nr_pages;
    compare.nr_equal = result.nr_equal;
    compare.nr_runs = visible_runs(result.nr_runs as u64, result.rust.nr_pages);
    compare.diff_addr = result.first_difference.unwrap_or(0);
    compare.nr_fast = result.taken.nr_fast();
    compare.nr_by_level = convert::by_level(&result.taken);
    (compare.stop, compare.stop_addr) = kapi::stop(&result.taken);
    compare.nr_pages_first = result.first.nr_pages;
    compare.errno_first = convert::errno(result.first.error);
    compare.nr_fast_first = result.first_taken.nr_fast();
    (compare.stop_first, compare.stop_addr_first) = kapi::stop(&result.first_taken);
    compare.nr_retries = result.nr_retries;
    Ok(compare)
}

/// Serves `RUST_GUP_IOC_MEASURE`.
pub(super) fn measure(mut measure: uapi::rust_gup_measure) -> Result<uapi::rust_gup_measure> {
    let is_valid = measure.reserved == 0
        && (1..=uapi::RUST_GUP_MEASURE_MAX_ROUNDS).contains(&measure.rounds)
        && (1..=uapi::RUST_GUP_MEASURE_MAX_PAGES_PER_CALL).contains(&measure.pages_per_call)
        && measure.flags & uapi::RUST_GUP_FAST_ONLY == 0;
    if !is_valid {
        return Err(EINVAL);
    }
    let request = convert::request(measure.addr, measure.len_bytes, measure.flags)?;
    let engines = (
        convert::engine(measure.engine_a)?,
        convert::engine(measure.engine_b)?,
    );
    let samples = measure.samples;
    let result = mm::with_current(|mm| {
        gup::measure(
            mm,
            &request,
            engines,
            measure.rounds,
            measure.pages_per_call,
            |round, sample| {
                let element = uapi::rust_gup_sample {
                    take_a: sample.a.take,
                    take_b: sample.b.take,
                    release_a: sample.a.release,
                    release_b: sample.b.release,
                };
                write_element(samples, round.into(), &element)
            },
        )
    })
    .ok_or(NO_MM)??;
    measure.rounds_done = result.rounds_done.into();
    measure.nr_pages = result.nr_pages;
    measure.overhead_cycles = result.overhead_cycles;
    // The size of a list of runs tells how many runs there are.
    if task::is_admin() {
        measure.bookkeeping_a_bytes = result.bookkeeping_a_bytes as u64;
        measure.bookkeeping_b_bytes = result.bookkeeping_b_bytes as u64;
    } else {
        measure.bookkeeping_a_bytes = 0;
        measure.bookkeeping_b_bytes = 0;
    }
    measure.irqs_off_a_cycles = result.irqs_off_a_cycles;
    measure.irqs_off_b_cycles = result.irqs_off_b_cycles;
    Ok(measure)
}

/// Serves `RUST_GUP_IOC_STATS`.
pub(super) fn stats() -> uapi::rust_gup_stats {
    let mut stats = uapi::rust_gup_stats {
        nr_fast: Counter::Fast.sum(),
        nr_slow: Counter::Slow.sum(),
        nr_handles: Counter::Handles.sum(),
        nr_held_pages: Counter::HeldPages.sum(),
        ..uapi::rust_gup_stats::default()
    };
    // A window ends where there is no room for a run, so the number of windows also tells about runs.
    if task::is_admin() {
        stats.nr_runs = Counter::Grabs.sum();
        stats.irqs_off_max_cycles = IRQS_OFF_MAX_CYCLES.load(Relaxed);
        for (bucket, nr_windows) in stats.irqs_off.iter_mut().enumerate() {
            *nr_windows = Counter::IrqsOff(bucket).sum();
            stats.nr_windows = stats.nr_windows.wrapping_add(*nr_windows);
        }
    }
    for stop in Stop::ALL {
        if let Some(nr_stops) = stats.stops.get_mut(stop as usize) {
            *nr_stops = Counter::Stop(stop).sum();
        }
    }
    stats
}
