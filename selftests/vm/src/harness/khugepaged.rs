// SPDX-License-Identifier: GPL-2.0

//! khugepaged, which makes huge pages of small ones whenever it comes across them. Tests that look at how memory is
//! mapped, and at counts, want none of that.

use std::{
    fs,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::pmd_bytes,
    Setting, //
};

use crate::harness::{
    fixture::scaled,
    memory::{
        Map,
        RW, //
    }, //
};

/// How long it may take to look around once.
const LIMIT: Duration = Duration::from_secs(10);

/// khugepaged, asleep.
pub(crate) struct Khugepaged {
    _sleep: Option<Setting>,
    _memory: Map,
}

impl Khugepaged {
    /// Sends it to sleep as long as the result lives. It has to be given memory to look at: with none it waits for the
    /// first that comes, and looks at that without any delay (`khugepaged_wait_work()`, `mm/khugepaged.c`).
    ///
    /// None if the kernel makes no transparent huge pages.
    pub(crate) fn sleep() -> Option<Self> {
        const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
        const FULL_SCANS: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans";
        const SLEEP: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs";
        let enabled = fs::read_to_string(ENABLED).ok()?;
        let before = fs::read_to_string(FULL_SCANS).ok()?;
        if enabled.contains("[never]") {
            return None;
        }
        let sleep = Setting::set(SLEEP, "4000000000").ok();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = Map::new(0, 2 * pmd_bytes(), RW, flags, -1).expect("memory");
        memory
            .try_advise(0, 2 * pmd_bytes(), libc::MADV_HUGEPAGE)
            .ok()?;
        memory.advise(0, 2 * pmd_bytes(), libc::MADV_DONTFORK);
        memory.set(0, 1);
        let deadline = Instant::now() + scaled(LIMIT);
        while fs::read_to_string(FULL_SCANS).ok()? == before {
            assert!(Instant::now() < deadline, "khugepaged looks at no memory");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            _sleep: sleep,
            _memory: memory,
        })
    }
}
