// SPDX-License-Identifier: GPL-2.0

//! khugepaged, which turns small pages into huge ones whenever it finds any. It would disturb tests that check how
//! memory is mapped, and tests that check counts.

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

/// How long a full scan of khugepaged may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Keeps khugepaged asleep.
pub(crate) struct Khugepaged {
    _sleep: Option<Setting>,
    _memory: Map,
}

impl Khugepaged {
    /// Sends khugepaged to sleep as long as the result lives. khugepaged must get memory to scan first. If it has none,
    /// it waits for the first memory to come, and scans that without any delay (`khugepaged_wait_work()`,
    /// `mm/khugepaged.c`).
    ///
    /// On a kernel of 32 bits this works once within the first five minutes. Later calls would have to wake khugepaged,
    /// which compares jiffies with 0 then (`khugepaged_should_wakeup()`), and these begin below zero.
    ///
    /// Returns `None` if the kernel makes no transparent huge pages.
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
        // The kernel registers the memory when a page of an aligned huge page is touched.
        memory.set(memory.addr.next_multiple_of(pmd_bytes()) - memory.addr, 1);
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
