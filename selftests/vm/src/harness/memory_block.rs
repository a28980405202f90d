// SPDX-License-Identifier: GPL-2.0

//! Blocks of memory that can be taken offline and online (`Documentation/admin-guide/mm/memory-hotplug.rst`).

use std::{
    fs::{
        self,
        File, //
    },
    io::Write,
    ops::Range,
    panic::{
        catch_unwind,
        resume_unwind,
        AssertUnwindSafe, //
    },
    path::PathBuf,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
    thread,
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;

use crate::harness::fixture::check;

/// What the kernel logs about a page that somebody holds, so that its block cannot go offline.
pub(crate) const PAGE_IS_HELD: [&str; 3] = [
    "migrating pfn",
    "failed to isolate pfn",
    "do_migrate_range: ",
];

/// After that the kernel dumps the page: `do_migrate_range()` (mm/memory_hotplug.c), `set_migratetype_isolate()`
/// (mm/page_isolation.c). A leaked pin causes the same dumps.
pub(crate) const HELD_PAGE_DUMPS: [&str; 3] = [
    "page dumped because: isolation failed",
    "page dumped because: migration failure",
    "page dumped because: unmovable page",
];

/// A block of memory.
pub(crate) struct Block {
    dir: PathBuf,
    pub(crate) frames: Range<u64>,
}

impl Block {
    /// Returns the online blocks that hold only movable memory.
    pub(crate) fn movable() -> Vec<Self> {
        let Ok(all) = fs::read_dir("/sys/devices/system/memory") else {
            return Vec::new();
        };
        let hex = |path: PathBuf| {
            let text = fs::read_to_string(path).ok()?;
            u64::from_str_radix(text.trim(), 16).ok()
        };
        all.filter_map(|entry| {
            let dir = entry.ok()?.path();
            let is = |file: &str, value: &str| {
                fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim() == value)
            };
            if !is("state", "online") || !is("valid_zones", "Movable") {
                return None;
            }
            let nr_bytes = hex(dir.with_file_name("block_size_bytes"))?;
            let (number, len) = (hex(dir.join("phys_index"))?, nr_bytes / page_bytes() as u64);
            let frames = number * len..(number + 1) * len;
            Some(Self { dir, frames })
        })
        .collect()
    }

    /// Tries to take the block offline while `body` runs. The flag that `body` gets becomes true when the attempt is
    /// over. Returns whether the block went offline, and the result of `body`.
    ///
    /// The kernel keeps trying while somebody holds a page of the block, until a signal arrives.
    pub(crate) fn take_away_while<T: Send>(
        &self,
        body: impl FnOnce(&AtomicBool) -> T + Send,
    ) -> (bool, T) {
        extern "C" fn ignore(_: libc::c_int) {}
        // SAFETY: All zeroes is a valid value. Without flags, system calls are not restarted after the signal.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: The handler does nothing.
        check(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) })
            .expect("sigaction");
        // SAFETY: `pthread_self()` takes no pointers.
        let this = unsafe { libc::pthread_self() };
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let result = catch_unwind(AssertUnwindSafe(|| body(&is_over)));
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: The thread `this` waits for the present one to end, so it still exists.
                    unsafe { libc::pthread_kill(this, libc::SIGUSR1) };
                    thread::sleep(Duration::from_millis(10));
                }
                result
            });
            let state = self.dir.join("state");
            let mut file = File::options().write(true).open(state).expect("state");
            let went = file.write(b"offline").is_ok();
            is_over.store(true, Ordering::Relaxed);
            let result = watch.join().expect("its panic was caught");
            (went, result.unwrap_or_else(|e| resume_unwind(e)))
        })
    }

    /// Brings the block online, for all memory (`online_kernel`) or for movable memory (`online_movable`).
    pub(crate) fn bring_back(&self, how: &str) {
        fs::write(self.dir.join("state"), how).expect("memory comes back");
    }
}
