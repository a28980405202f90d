// SPDX-License-Identifier: GPL-2.0

//! Checks the effects of a call: the outputs make sense, they show nothing of the kernel, and nothing else has changed.

use std::{
    mem::offset_of,
    ops, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::raw;

use super::{
    call::Call,
    caller::{
        Caller,
        Held,
        Prepared,
        Range,
        Subject,
        Use, //
    },
    structure::from_bytes, //
};
use crate::{
    arch,
    harness::fixture::user_limit, //
};

/// Number of bytes that are watched on each side of a structure or buffer.
pub(super) const MARGIN: usize = 64;
/// The lowest kernel address on a machine of 64 bits, with any number of page table levels. Addresses of 32 bits cannot
/// be told from numbers.
const KERNEL: u64 = 0xff00_0000_0000_0000;
/// A number larger than any count on any machine, and smaller than any kernel address.
const MANY: u64 = 1 << 52;

/// A number of runs that no handle has. Only the beginning of a larger buffer is watched.
const MOST_RUNS: u64 = 2048;

/// The effect of a call on handles.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Nothing,
    Taken(Held),
    Released(u64),
}

/// Memory that a call may write to, as it is before the call.
pub(super) struct Watched {
    argument: Option<Window>,
    buffer: Option<Window>,
}

/// A piece of memory with its former contents. A call may write to the part in the middle.
struct Window {
    start: usize,
    bytes: Vec<u8>,
    /// Offset and length of the part that a call may write to.
    inner: (usize, usize),
}

impl Window {
    fn around(caller: &Caller<'_>, addr: u64, len_bytes: u64) -> Option<Self> {
        let arena = &caller.world.arena;
        let (start, end) = arena.own_region_around(caller.thread, addr)?;
        let addr = addr as usize;
        let inner_end = addr.saturating_add(len_bytes as usize).min(end);
        let start = start.max(addr - MARGIN.min(addr));
        let mut bytes = vec![0; (inner_end + MARGIN).min(end) - start];
        arena.load(start, &mut bytes);
        Some(Self {
            start,
            bytes,
            inner: (addr - start, inner_end - addr),
        })
    }

    /// Returns the window without the bytes on either side that overlap `other`, which the call may write to as well.
    fn but(mut self, other: ops::Range<usize>) -> Self {
        let (at, len) = self.inner;
        let (addr, inner_end) = (self.start + at, self.start + at + len);
        let end = self.start + self.bytes.len();
        if other.start < end && other.end > inner_end {
            self.bytes.truncate(other.start.max(inner_end) - self.start);
        }
        if other.start < addr && other.end > self.start {
            let nr_gone = other.end.min(addr) - self.start;
            self.bytes.drain(..nr_gone);
            self.start += nr_gone;
            self.inner.0 -= nr_gone;
        }
        self
    }

    /// Returns the present contents of the inner part. Fails if a byte around it has changed.
    fn inner_now(&self, caller: &Caller<'_>) -> Result<Vec<u8>, String> {
        let mut now = vec![0; self.bytes.len()];
        caller.world.arena.load(self.start, &mut now);
        let (at, len) = self.inner;
        if now[..at] != self.bytes[..at] || now[at + len..] != self.bytes[at + len..] {
            return Err(format!("bytes around {:#x} changed", self.start + at));
        }
        Ok(now[at..at + len].to_vec())
    }

    fn inner_before(&self) -> &[u8] {
        &self.bytes[self.inner.0..][..self.inner.1]
    }
}

impl Watched {
    pub(super) fn before(caller: &Caller<'_>, prepared: &Prepared) -> Self {
        let size = prepared.bytes.len() as u64;
        let argument = prepared
            .is_visible
            .then(|| Window::around(caller, prepared.addr, size))
            .flatten();
        let buffer = match (prepared.call, &prepared.subject) {
            (Some(Call::Read), Subject::Use(using)) => Some((using.buf, using.len_bytes)),
            (Some(Call::Runs), Subject::Use(using)) => {
                let size = size_of::<raw::rust_gup_run>() as u64;
                let nr_most = match using.held {
                    Some(_) => using.nr_listed(),
                    None => using.capacity.min(MOST_RUNS),
                };
                Some((using.buf, nr_most * size))
            }
            (Some(Call::Measure), Subject::Range(range)) => {
                let size = size_of::<raw::rust_gup_sample>() as u64;
                Some((range.samples, u64::from(range.rounds) * size))
            }
            _ => None,
        };
        // The structure may lie next to the buffer.
        let structure = prepared.addr as usize..prepared.addr.saturating_add(size) as usize;
        let buffer = buffer
            .and_then(|(addr, len)| Window::around(caller, addr, len))
            .map(|window| window.but(structure));
        Self { argument, buffer }
    }
}

macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// Checks everything that a call may have written.
pub(super) fn after(
    caller: &Caller<'_>,
    prepared: &Prepared,
    errno: i32,
    before: &Watched,
) -> Result<Outcome, String> {
    let argument = before.argument.as_ref().map(|w| w.inner_now(caller));
    let argument = argument.transpose()?;
    let buffer = before.buffer.as_ref().map(|w| w.inner_now(caller));
    let buffer = buffer.transpose()?;
    for (now, window) in [(&argument, &before.argument), (&buffer, &before.buffer)] {
        if let (Some(now), Some(window)) = (now, window) {
            nothing_of_the_kernel(now, window.inner_before(), prepared)?;
        }
    }
    if errno != 0 {
        if let Some(now) = &argument {
            ensure!(
                without_stop(prepared.call, now) == without_stop(prepared.call, &prepared.bytes),
                "a call that failed changed its structure to {now:x?}"
            );
        }
        // Only a buffer that cannot be written as a whole may be written in part.
        if errno != libc::EFAULT && prepared.call != Some(Call::Measure) {
            if let (Some(now), Some(window)) = (&buffer, &before.buffer) {
                ensure!(
                    *now == window.inner_before(),
                    "a call that failed wrote to its buffer"
                );
            }
        }
        return Ok(Outcome::Nothing);
    }
    let Some(call) = prepared.call else {
        return Err("a call that does not exist worked".to_owned());
    };
    if let Some(now) = &argument {
        if !call.writes_argument() {
            ensure!(*now == prepared.bytes, "the structure changed to {now:x?}");
        } else {
            let unknown = now.get(call.size()..).unwrap_or_default();
            ensure!(
                unknown.iter().all(|&byte| byte == 0),
                "unknown bytes of the structure are {unknown:x?}"
            );
        }
    }
    let Some(now) = argument else {
        // UNPIN with a structure that the thread cannot check.
        return Ok(match (call, &prepared.subject) {
            (Call::Unpin, Subject::Use(using)) => released(using),
            _ => Outcome::Nothing,
        });
    };
    match (call, &prepared.subject) {
        (Call::Info, _) => info(caller, &from_bytes(&now))?,
        (Call::Stats, _) => stats(caller, &from_bytes(&now))?,
        (Call::Pin, Subject::Range(range)) => {
            let asked = from_bytes(&prepared.bytes);
            return pin(caller, range, &asked, &from_bytes(&now));
        }
        (Call::Compare, Subject::Range(range)) => {
            let asked = from_bytes(&prepared.bytes);
            compare(range, &asked, &from_bytes(&now), now.len())?;
        }
        (Call::Measure, Subject::Range(range)) => {
            measure(range, &from_bytes(&prepared.bytes), &from_bytes(&now))?;
        }
        (Call::Unpin, Subject::Use(using)) => return Ok(released(using)),
        (Call::Read, Subject::Use(using)) => {
            if let (Some(buffer), Some(held)) = (&buffer, using.held) {
                read(caller, using, &held, buffer)?;
            }
        }
        (Call::Runs, Subject::Use(using)) => {
            let (asked, now) = (from_bytes(&prepared.bytes), from_bytes(&now));
            runs(caller, using, &asked, &now, &buffer, &before.buffer)?;
        }
        _ => {}
    }
    Ok(Outcome::Nothing)
}

fn released(using: &Use) -> Outcome {
    match using.held {
        Some(held) => Outcome::Released(held.handle),
        None => Outcome::Nothing,
    }
}

/// Returns the structure without the two fields that a failed PIN may write.
fn without_stop(call: Option<Call>, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if call == Some(Call::Pin) {
        let fields = [
            (offset_of!(raw::rust_gup_pin, stop_addr), size_of::<u64>()),
            (offset_of!(raw::rust_gup_pin, stop), size_of::<u32>()),
        ];
        for (at, size) in fields {
            if let Some(field) = bytes.get_mut(at..at + size) {
                field.fill(0);
            }
        }
    }
    bytes
}

/// Fails if the call wrote a word that may be a kernel address, and is not the end of user space, which INFO tells. READ is not checked, because it copies the caller's own
/// memory, which may hold anything.
fn nothing_of_the_kernel(now: &[u8], before: &[u8], prepared: &Prepared) -> Result<(), String> {
    if prepared.call == Some(Call::Read) {
        return Ok(());
    }
    let words = now.chunks_exact(8).zip(before.chunks_exact(8));
    for (at, (now, before)) in words.enumerate() {
        let word: u64 = from_bytes(now);
        ensure!(
            now == before || word < KERNEL || word == user_limit() as u64,
            "word {at} is {word:#x}, which looks like an address of the kernel"
        );
    }
    Ok(())
}

fn info(caller: &Caller<'_>, now: &raw::rust_gup_info) -> Result<(), String> {
    ensure!(
        now.abi_version == raw::RUST_GUP_ABI_VERSION
            && now.format == arch::format()
            && now.page_size_bytes as usize == page_bytes()
            && arch::LEVELS.contains(&now.levels)
            && (1..=65536).contains(&now.window_entries)
            && now.reserved == 0
            && now.module_version.contains(&0),
        "{now:x?}"
    );
    let sees_frames = now.features & u64::from(raw::RUST_GUP_FEATURE_HAS_PFN) != 0;
    ensure!(
        sees_frames == caller.world.persona.is_admin(),
        "the caller may see frame numbers: {sees_frames}"
    );
    Ok(())
}

fn stats(caller: &Caller<'_>, now: &raw::rust_gup_stats) -> Result<(), String> {
    ensure!(
        (caller.nr_handles()..MANY).contains(&now.nr_handles)
            && (caller.nr_held_pages()..MANY).contains(&now.nr_held_pages)
            && [now.nr_fast, now.nr_slow, now.nr_runs, now.nr_windows]
                .iter()
                .chain(&now.irqs_off)
                .chain(&now.stops)
                .all(|&nr| nr < MANY),
        "{now:x?}"
    );
    Ok(())
}

/// Checks the stop reason and its address.
fn stop(range: &Range, stop: u32, stop_addr: u64) -> Result<(), String> {
    let is_valid = match stop {
        raw::RUST_GUP_STOP_NONE => stop_addr == 0,
        1..raw::RUST_GUP_NR_STOPS => is_page_of(range, stop_addr),
        _ => false,
    };
    ensure!(is_valid, "stop {stop} at {stop_addr:#x}");
    Ok(())
}

/// Returns whether `addr` is the address of a page of the range.
fn is_page_of(range: &Range, addr: u64) -> bool {
    let start = range.untagged_addr();
    let first = start & !(page_bytes() as u64 - 1);
    let end = start.saturating_add(range.len_bytes);
    (first..end).contains(&addr) && addr % page_bytes() as u64 == 0
}

/// Checks the numbers of pages that were taken.
fn counts(
    range: &Range,
    nr_pages: u64,
    nr_fast: u64,
    nr_runs: u64,
    nr_by_level: &[u64],
) -> Result<(), String> {
    let by_level = nr_by_level.iter().fold(0_u64, |a, b| a.saturating_add(*b));
    let is_expected = match range.nr_takeable {
        Some(nr) if range.is_fast_only() => nr_pages <= nr,
        Some(nr) => nr_pages == nr,
        None => nr_pages <= range.nr_pages() && (nr_pages != 0 || range.is_fast_only()),
    };
    ensure!(
        is_expected
            && nr_fast <= nr_pages
            && by_level == nr_fast
            && nr_runs <= nr_pages
            && (nr_runs != 0 || nr_pages == 0),
        "{nr_pages} pages, {nr_fast} fast, {nr_runs} runs, {nr_by_level:x?} by level"
    );
    Ok(())
}

fn pin(
    caller: &Caller<'_>,
    range: &Range,
    asked: &raw::rust_gup_pin,
    now: &raw::rust_gup_pin,
) -> Result<Outcome, String> {
    ensure!(
        (now.addr, now.len_bytes, now.flags, now.engine, now.reserved)
            == (asked.addr, asked.len_bytes, asked.flags, asked.engine, 0),
        "{now:x?}: fields that are only read changed"
    );
    counts(
        range,
        now.nr_pages,
        now.nr_fast,
        now.nr_runs,
        &now.nr_by_level,
    )?;
    stop(range, now.stop, now.stop_addr)?;
    ensure!(
        !range.is_by_kernel() || now.nr_fast == 0 && now.stop == raw::RUST_GUP_STOP_NONE,
        "{now:x?}: the kernel does not say"
    );
    ensure!(
        now.nr_fast == now.nr_pages || now.stop != 0 || range.is_by_kernel(),
        "{now:x?}: no stop"
    );
    ensure!(
        (now.handle != 0) == (now.nr_pages != 0) && now.handle < MANY,
        "{now:x?}: the handle"
    );
    if now.handle == 0 {
        return Ok(Outcome::Nothing);
    }
    ensure!(
        caller.world.persona.is_admin() || now.nr_runs == now.nr_pages,
        "{now:x?}: the caller may not see how the pages lie"
    );
    let offset = range.addr % page_bytes() as u64;
    let len_bytes = range
        .len_bytes
        .min(now.nr_pages * page_bytes() as u64 - offset);
    let arena = &caller.world.arena;
    Ok(Outcome::Taken(Held {
        handle: now.handle,
        nr_pages: now.nr_pages,
        nr_runs: now.nr_runs,
        len_bytes,
        writable: range.has(raw::RUST_GUP_PIN) && range.has(raw::RUST_GUP_WRITE),
        stable: arena.stable_offset(caller.thread, range.untagged_addr(), len_bytes),
    }))
}

fn compare(
    range: &Range,
    asked: &raw::rust_gup_compare,
    now: &raw::rust_gup_compare,
    nr_bytes: usize,
) -> Result<(), String> {
    ensure!(
        (now.addr, now.len_bytes, now.flags, now.reserved)
            == (asked.addr, asked.len_bytes, asked.flags, 0),
        "{now:x?}: fields that are only read changed"
    );
    let known = raw::RUST_GUP_DIFF_RESULT
        | raw::RUST_GUP_DIFF_NR_PAGES
        | raw::RUST_GUP_DIFF_PAGE
        | raw::RUST_GUP_DIFF_REFCOUNT
        | raw::RUST_GUP_DIFF_PINCOUNT
        | raw::RUST_GUP_DIFF_REFERENCED
        | raw::RUST_GUP_DIFF_FIRST;
    ensure!(now.differences & !known == 0, "{now:x?}: the differences");
    let error = match range.nr_takeable {
        Some(0) if !range.is_fast_only() => Some(libc::EFAULT),
        Some(_) => Some(0),
        None => None,
    };
    let is_expected = |found| match error {
        Some(error) => found == error,
        None => found == 0 || found == libc::EFAULT,
    };
    ensure!(
        is_expected(now.errno_rust) && is_expected(now.errno_kernel),
        "{now:x?}: the error of an engine"
    );
    let nr_both = now.nr_pages_rust.min(now.nr_pages_kernel);
    ensure!(
        now.nr_equal <= nr_both && (now.differences != 0 || now.nr_equal == nr_both),
        "{now:x?}: equal pages"
    );
    let is_place = if now.differences == 0 {
        now.diff_addr == 0
    } else {
        is_page_of(range, now.diff_addr)
    };
    ensure!(is_place, "{now:x?}: where they differ");
    if now.errno_rust == 0 {
        counts(
            range,
            now.nr_pages_rust,
            now.nr_fast,
            now.nr_runs,
            &now.nr_by_level,
        )?;
    }
    stop(range, now.stop, now.stop_addr)?;
    if nr_bytes < size_of::<raw::rust_gup_compare>() {
        // The structure is that of an older version, or it ends in the middle of a field.
        return Ok(());
    }
    ensure!(
        is_expected(now.errno_first),
        "{now:x?}: the error of the first engine"
    );
    ensure!(
        now.nr_fast_first <= now.nr_pages_first && now.nr_pages_first <= range.nr_pages(),
        "{now:x?}: pages at first"
    );
    ensure!(now.nr_retries < 4, "{now:x?}: tries");
    stop(range, now.stop_first, now.stop_addr_first)
}

fn measure(
    range: &Range,
    asked: &raw::rust_gup_measure,
    now: &raw::rust_gup_measure,
) -> Result<(), String> {
    let read = |m: &raw::rust_gup_measure| {
        let engines = (m.engine_a, m.engine_b);
        let cut = (m.rounds, m.pages_per_call, m.samples, m.reserved);
        (m.addr, m.len_bytes, m.flags, engines, cut)
    };
    ensure!(
        read(now) == read(asked),
        "{now:x?}: fields that are only read changed"
    );
    ensure!(
        now.rounds_done == u64::from(now.rounds)
            && now.nr_pages == range.nr_pages()
            && [
                now.overhead_cycles,
                now.bookkeeping_a_bytes,
                now.bookkeeping_b_bytes,
                now.irqs_off_a_cycles,
                now.irqs_off_b_cycles,
            ]
            .iter()
            .all(|&nr| nr < MANY && nr != asked.rounds_done),
        "{now:x?}: what was measured"
    );
    Ok(())
}

/// Checks what was read, if the caller knows the memory.
fn read(caller: &Caller<'_>, using: &Use, held: &Held, buffer: &[u8]) -> Result<(), String> {
    let Some(stable) = held.stable else {
        return Ok(());
    };
    let start = stable + using.offset as usize;
    let expected = &caller.stable[start..start + using.len_bytes as usize];
    ensure!(
        buffer == expected,
        "what was read is not what the memory holds"
    );
    Ok(())
}

fn runs(
    caller: &Caller<'_>,
    using: &Use,
    asked: &raw::rust_gup_runs,
    now: &raw::rust_gup_runs,
    buffer: &Option<Vec<u8>>,
    before: &Option<Window>,
) -> Result<(), String> {
    ensure!(
        (now.handle, now.first, now.buf, now.capacity)
            == (asked.handle, asked.first, asked.buf, asked.capacity),
        "{now:x?}: fields that are only read changed"
    );
    ensure!(
        now.nr_total < MANY && now.nr_runs <= now.nr_total && now.nr_runs <= now.capacity,
        "{now:x?}"
    );
    if let Some(held) = using.held {
        ensure!(
            (now.nr_total, now.nr_runs) == (held.nr_runs, using.nr_listed()),
            "{now:x?}: how many runs"
        );
    }
    let (Some(buffer), Some(before)) = (buffer, before) else {
        return Ok(());
    };
    let size = size_of::<raw::rust_gup_run>();
    let nr_bytes = now.nr_runs as usize * size;
    ensure!(
        buffer[nr_bytes..] == before.inner_before()[nr_bytes..],
        "{now:x?}: written beyond the last run"
    );
    let mut nr_pages = 0;
    for run in buffer[..nr_bytes].chunks_exact(size) {
        let run: raw::rust_gup_run = from_bytes(run);
        let sees_frames = caller.world.persona.is_admin();
        ensure!(
            (run.pfn != 0) == sees_frames
                && run.pfn < MANY
                && run.nr_pages != 0
                && (sees_frames || run.nr_pages == 1),
            "{run:x?} for a caller who may see frame numbers: {sees_frames}"
        );
        nr_pages += run.nr_pages;
    }
    if let Some(held) = using.held {
        let is_all = now.first == 0 && now.nr_runs == now.nr_total;
        ensure!(
            nr_pages <= held.nr_pages && (!is_all || nr_pages == held.nr_pages),
            "{nr_pages} pages in the runs of {held:x?}"
        );
    }
    Ok(())
}
