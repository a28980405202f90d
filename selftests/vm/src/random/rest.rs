// SPDX-License-Identifier: GPL-2.0

//! Keeps the machine at rest: nobody but the sequence takes references, moves pages or frees them. Also checks whether
//! pages were left behind: each page on a list of pages in use must belong to a process or to a file.

use std::{
    fs,
    io,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::Setting;

use crate::harness::fixture::field;

/// How long it may take until pages are freed.
const LIMIT: Duration = Duration::from_secs(3);

/// Stops background work of the kernel, as long as the result lives.
pub(super) fn settings() -> Vec<Setting> {
    [
        ("/sys/kernel/mm/ksm/run", "0"),
        ("/proc/sys/vm/compaction_proactiveness", "0"),
        ("/proc/sys/vm/dirty_writeback_centisecs", "0"),
        ("/proc/sys/kernel/numa_balancing", "0"),
    ]
    .into_iter()
    .filter_map(|(path, value)| Setting::set(path, value).ok())
    .collect()
}

/// Sets whether this process, and the processes that it forks from now on, get huge pages unasked. If a process frees a
/// part of a huge page, the rest looks as if it belonged to nobody.
pub(super) fn allow_huge_pages(allowed: bool) -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(!allowed)?)
}

/// Pages in use that belong to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orphans {
    /// Pages on lists of pages in use that are neither mapped nor in a file.
    nr_pages: i64,
    /// Huge pages that are taken from the pool.
    nr_huge: i64,
}

impl Orphans {
    pub(super) fn count() -> Self {
        // Pages on their way to a list are in neither of the counts. This moves them to their list.
        let _ = fs::write("/proc/sys/vm/drop_caches", "1");
        let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
        let vmstat = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
        let sum = |names: &[&str]| -> i64 {
            let value = |name| field(&vmstat, name).unwrap_or(0) as i64;
            names.iter().map(|name| value(name)).sum()
        };
        let on_lists = sum(&[
            "nr_inactive_anon",
            "nr_active_anon",
            "nr_inactive_file",
            "nr_active_file",
            "nr_unevictable",
        ]);
        let owned = sum(&["nr_anon_pages", "nr_file_pages"]);
        let pool = "/sys/kernel/mm/hugepages/hugepages-2048kB";
        let huge = |name: &str| -> i64 {
            let text = fs::read_to_string(format!("{pool}/{name}")).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        Self {
            nr_pages: on_lists - owned,
            nr_huge: huge("nr_hugepages") - huge("free_hugepages"),
        }
    }

    /// Fails if there are more of them than before.
    pub(super) fn no_more_than(before: Self) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = Self::count();
            if now.nr_pages <= before.nr_pages && now.nr_huge <= before.nr_huge {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "left behind: {} pages and {} huge pages that nobody has",
                    now.nr_pages - before.nr_pages,
                    now.nr_huge - before.nr_huge
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
