// SPDX-License-Identifier: GPL-2.0

//! Verify after each test that
//!
//! - the kernel logged nothing at the level of a warning or above, and nothing that looks like a warning, and no record
//!   was lost;
//! - the module logged nothing at all, whatever the test did wrong;
//! - as many pins were released as acquired, according to the kernel's own counters;
//! - the module no longer holds any handle or page.

use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io::{
        self,
        Read,
        Seek,
        SeekFrom, //
    },
    os::unix::fs::OpenOptionsExt,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use crate::harness::fixture;

/// Log levels up to this one (KERN_WARNING) always indicate a problem.
const WARNING: u32 = 4;
const SUSPICIOUS: [&str; 6] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "Call Trace",
    "general protection",
    "rust_gup",
];
/// What `dump_page()` logs about a page besides the reason. With CONFIG_PAGE_OWNER it also logs the page's owner.
pub(crate) const PAGE_DUMP: [&str; 11] = [
    "page: ",
    "head: ",
    "flags: ",
    "raw: ",
    "anon ",
    "aops:",
    "memcg:",
    "page_owner tracks the page",
    "page last allocated",
    "page last free",
    // A line of a stack trace, such as: kfree+0x14a/0x2e0
    "+0x",
];
/// On Linux 7.2 this counter falls below 0. It counts huge pages of the pool when they are freed (`mm/hugetlb.c:1731`),
/// but not when other pages are migrated to them (`alloc_hugetlb_folio_nodemask()`; 7.3 does, `:2228`).
const MISCOUNTED: &str = "vmstat_refresh: nr_hugetlb -";
/// How long it may take until per-CPU counters are folded.
const FOLD_LIMIT: Duration = Duration::from_secs(2);

/// The state of the kernel when a test begins.
pub(crate) struct Guard {
    kmsg: File,
}

impl Guard {
    /// Starts watching. From here on, what the kernel logs belongs to the test.
    pub(crate) fn begin() -> io::Result<Self> {
        let mut kmsg = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        kmsg.seek(SeekFrom::End(0))?;
        Ok(Self { kmsg })
    }

    /// Returns what the test did to the kernel and should not have done, one line each. Log records that contain one of
    /// `allowed` are accepted unless they are warnings. Records that contain one of `expected` are always accepted, and
    /// all records of a warning that contains one of `warnings`.
    pub(crate) fn complaints(
        &mut self,
        allowed: &[&str],
        expected: &[&str],
        warnings: &[&str],
    ) -> Vec<String> {
        let mut found = Vec::new();
        if let Err(complaint) = pins_balance() {
            found.push(complaint);
        }
        if let Err(complaint) = nothing_held() {
            found.push(complaint);
        }
        let (records, lost) = read_records(&mut self.kmsg);
        found.extend(lost);
        let records = without_races_of_the_kernel(&records);
        for record in without_warnings(&records, warnings) {
            if record.text.starts_with(MISCOUNTED)
                || expected.iter().any(|e| record.text.contains(e))
            {
                continue;
            }
            if record.level <= WARNING
                || record.is_suspicious() && !allowed.iter().any(|a| record.text.contains(a))
            {
                found.push(format!(
                    "kernel log, level {}: {}",
                    record.level, record.text
                ));
            }
        }
        found
    }
}

/// Drops KCSAN's reports about two functions of the kernel itself.
fn without_races_of_the_kernel(mut records: &[Record]) -> Vec<&Record> {
    let mut kept = Vec::new();
    while let [record, rest @ ..] = records {
        let report = race_report(records);
        if report.is_some_and(|report| !is_about_a_module(report)) {
            records = &records[report.map_or(0, <[Record]>::len)..];
        } else {
            kept.push(record);
            records = rest;
        }
    }
    kept
}

/// Drops the warnings (`WARN()`) that contain one of `expected`. Two warnings at the same time, on two CPUs, are both kept.
fn without_warnings<'a>(mut records: &[&'a Record], expected: &[&str]) -> Vec<&'a Record> {
    let is_begin = |record: &Record| record.text.starts_with("------------[ cut here ]");
    let is_end = |record: &Record| record.text.starts_with("---[ end trace ");
    let is_expected = |record: &&Record| expected.iter().any(|text| record.text.contains(text));
    let mut kept = Vec::new();
    while let [record, rest @ ..] = records {
        records = rest;
        if is_begin(record) {
            let border = rest.iter().position(|next| is_begin(next) || is_end(next));
            if let Some((warning, [end, behind @ ..])) = border.map(|at| rest.split_at(at)) {
                if is_end(end) && warning.iter().any(is_expected) {
                    records = behind;
                    continue;
                }
            }
        }
        kept.push(*record);
    }
    kept
}

/// Returns whether a report by KCSAN shows a module at work on one of its sides, or does not know one of the sides, since
/// that may be a module in Rust. A stack begins with the access. Behind an exception or an interrupt it shows what was
/// interrupted, which has nothing to do with the access: a module that copies to user space, for example.
fn is_about_a_module(report: &[Record]) -> bool {
    let mut was_interrupted = false;
    report.iter().any(|Record { text, .. }| {
        if !text.starts_with(' ') {
            // A side begins, or ends.
            was_interrupted = false;
        }
        if text.starts_with(" asm_") {
            was_interrupted = true;
        }
        let is_in_a_module = text.ends_with(']') && text.contains(" [");
        is_in_a_module && !was_interrupted || text.contains("unknown origin")
    })
}

/// Returns the records of the data race with which these records begin, if KCSAN has reported one.
fn race_report(records: &[Record]) -> Option<&[Record]> {
    let is_rule =
        |record: &Record| !record.text.is_empty() && record.text.bytes().all(|b| b == b'=');
    let [rule, title, rest @ ..] = records else {
        return None;
    };
    if !is_rule(rule) || !title.text.starts_with("BUG: KCSAN: data-race in ") {
        return None;
    }
    let nr = rest.iter().position(is_rule)? + 3;
    Some(&records[..nr])
}

/// Reads the records that are available, one for each read. Also returns a complaint if records may be missing.
fn read_records(kmsg: &mut impl Read) -> (Vec<Record>, Option<String>) {
    let mut records = Vec::new();
    let mut lost = None;
    let mut buf = vec![0; 8192];
    loop {
        match kmsg.read(&mut buf) {
            Ok(len) => records.extend(Record::parse(&String::from_utf8_lossy(&buf[..len]))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // The records were overwritten by others. The ones after them can be read.
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {
                lost = Some("kernel log: records were lost, boot with log_buf_len=4M".into());
            }
            Err(e) => {
                lost = Some(format!("kernel log: {e}"));
                break;
            }
        }
    }
    (records, lost)
}

/// Writes a line into the kernel log, for `scripts/vm`. Each line uses a new open file, otherwise the kernel would
/// suppress some of the lines.
pub(crate) fn announce(what: &str) -> io::Result<()> {
    fs::write("/dev/kmsg", format!("<5>gup-selftest: {what}"))
}

/// One record of the kernel log.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    level: u32,
    text: String,
}

impl Record {
    /// Parses the format of Documentation/ABI/testing/dev-kmsg. Returns `None` for records that user space wrote.
    fn parse(raw: &str) -> Option<Self> {
        let (prefix, rest) = raw.split_once(';')?;
        let priority: u32 = prefix.split(',').next()?.parse().ok()?;
        let from_kernel = priority >> 3 == 0;
        from_kernel.then(|| Self {
            level: priority & 7,
            text: rest.lines().next().unwrap_or_default().to_owned(),
        })
    }

    fn is_suspicious(&self) -> bool {
        self.level <= WARNING || SUSPICIOUS.iter().any(|s| self.text.contains(s))
    }
}

/// Pages pinned and unpinned since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PinCounters {
    pub(crate) acquired: u64,
    pub(crate) released: u64,
}

impl PinCounters {
    /// Returns the difference to the earlier counters `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            acquired: self.acquired.wrapping_sub(before.acquired),
            released: self.released.wrapping_sub(before.released),
        }
    }
}

/// Reads the kernel's pin counters, summed over all CPUs.
pub(crate) fn pin_counters() -> PinCounters {
    // If this fails, the counters lag behind by up to two seconds, and `settle()` reads them again.
    let _ = fs::write("/proc/sys/vm/stat_refresh", "1");
    let text = fs::read_to_string("/proc/vmstat").expect("/proc/vmstat");
    let value = |name: &str| {
        fixture::field(&text, name).unwrap_or_else(|| panic!("/proc/vmstat has no {name}"))
    };
    PinCounters {
        acquired: value("nr_foll_pin_acquired"),
        released: value("nr_foll_pin_released"),
    }
}

/// Repeats `check` until it succeeds, or until the counters must have been folded.
fn settle(mut check: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + FOLD_LIMIT;
    loop {
        match check() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

fn pins_balance() -> Result<(), String> {
    settle(|| {
        let pins = pin_counters();
        if pins.acquired == pins.released {
            Ok(())
        } else {
            Err(format!(
                "/proc/vmstat: nr_foll_pin_acquired {} but nr_foll_pin_released {}",
                pins.acquired, pins.released
            ))
        }
    })
}

fn nothing_held() -> Result<(), String> {
    let stats = fixture::stats().map_err(|e| format!("statistics cannot be read: {e}"))?;
    if stats.nr_handles == 0 && stats.nr_held_pages == 0 {
        Ok(())
    } else {
        Err(format!(
            "the module still counts {} handles and {} held pages",
            stats.nr_handles, stats.nr_held_pages
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{read_records, without_races_of_the_kernel, without_warnings, Record};
    use std::io::{self, Read};

    /// A fake log. It holds the results of the reads, the last one first.
    struct Log(Vec<Result<&'static str, i32>>);

    impl Read for Log {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let next = self.0.pop().unwrap_or(Err(libc::EAGAIN));
            let text = next.map_err(io::Error::from_raw_os_error)?;
            buf[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    #[test]
    fn records_that_were_lost_are_a_complaint() {
        const FIRST: &str = "6,1,2,-;the first";
        const SECOND: &str = "6,2,2,-;the second";
        let (records, lost) = read_records(&mut Log(vec![Ok(SECOND), Ok(FIRST)]));
        assert_eq!((records.len(), lost), (2, None));
        for errno in [libc::EPIPE, libc::EIO] {
            let (records, lost) = read_records(&mut Log(vec![Ok(SECOND), Err(errno), Ok(FIRST)]));
            assert_eq!(records[0].text, "the first");
            assert!(lost.is_some());
            assert_eq!(records.len() == 2, errno == libc::EPIPE);
        }
    }

    #[test]
    fn kernel_records_are_parsed() {
        let record = Record::parse("4,1234,5678,-;WARNING: at x\n SUBSYSTEM=misc\n").unwrap();
        assert_eq!(record.level, 4);
        assert_eq!(record.text, "WARNING: at x");
        assert!(record.is_suspicious());
    }

    #[test]
    fn a_warning_is_accepted_as_a_whole() {
        let records = [
            "before",
            "------------[ cut here ]------------",
            "WARNING: a.c:1 at first+0x1/0x2, CPU#0: x/1",
            " first+0x1/0x2 (P)",
            "---[ end trace 0000000000000000 ]---",
            "------------[ cut here ]------------",
            "WARNING: a.c:1 at second+0x1/0x2, CPU#0: x/1",
            "---[ end trace 0000000000000000 ]---",
            "behind first+",
        ]
        .map(|line| Record::parse(&format!("4,1,2,-;{line}")).unwrap());
        let all: Vec<&Record> = records.iter().collect();
        let lines = |expected: &[&str]| -> Vec<usize> {
            let kept = without_warnings(&all, expected);
            let place = |record: &&Record| all.iter().position(|r| std::ptr::eq(*r, *record));
            kept.iter().map(|record| place(record).unwrap()).collect()
        };
        assert_eq!(lines(&["at first+"]), [0, 5, 6, 7, 8]);
        assert_eq!(lines(&["at second+"]), [0, 1, 2, 3, 4, 8]);
        assert_eq!(lines(&["behind"]).len(), records.len());
        let at_once: Vec<&Record> = [1, 2, 5, 6, 4, 7].map(|at| &records[at]).into();
        assert_eq!(
            without_warnings(&at_once, &["at first+"]).len(),
            at_once.len()
        );
        assert_eq!(lines(&[]).len(), records.len());
    }

    #[test]
    fn races_of_the_kernel_itself_do_not_count() {
        let log = |entry: &str, side: &str| -> Vec<Record> {
            let lines = [
                "before",
                "==================",
                "BUG: KCSAN: data-race in osq_lock / osq_lock",
                "",
                "write (marked) to 0xff3a95243db29f48 of 8 bytes by task 737 on cpu 0:",
                " osq_lock+0x244/0x270",
                entry,
                " rust_gup_copy_to+0x1/0x2 [rust_gup]",
                "",
                "write (marked) to 0xff3a95243db29f48 of 8 bytes by task 738 on cpu 1:",
                side,
                "Tainted: [O]=OOT_MODULE",
                "==================",
                "behind",
            ];
            let records = lines.map(|line| Record::parse(&format!("3,1,2,-;{line}")).unwrap());
            records.into()
        };
        let nr_kept = |records: &[Record]| without_races_of_the_kernel(records).len();
        let (fault, call) = (" asm_exc_page_fault+0x22/0x30", " _copy_to_user+0x56/0x70");
        let osq_lock = " osq_lock+0xd4/0x270";
        assert_eq!(nr_kept(&log(fault, osq_lock)), 2);
        assert_eq!(nr_kept(&log(call, osq_lock)), 14);
        let module = " rust_gup_put_pages+0x1/0x2 [rust_gup]";
        assert_eq!(nr_kept(&log(fault, module)), 14);
        let unknown = "race at unknown origin, with read to 0xff3a95243db29f48 of 8 bytes:";
        assert_eq!(nr_kept(&log(fault, unknown)), 14);
        // A report that is not complete counts.
        assert_eq!(nr_kept(&log(fault, osq_lock)[..12]), 12);
        assert_eq!(nr_kept(&log(fault, osq_lock)[2..]), 12);
    }

    #[test]
    fn user_space_may_write_what_it_likes() {
        assert_eq!(Record::parse("12,1,2,-;BUG: said init"), None);
    }

    #[test]
    fn the_module_is_to_be_silent() {
        assert!(Record::parse("6,1,2,-;rust_gup: hello")
            .unwrap()
            .is_suspicious());
        assert!(!Record::parse("6,1,2,-;zram: added device")
            .unwrap()
            .is_suspicious());
    }
}
