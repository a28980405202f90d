// SPDX-License-Identifier: GPL-2.0

//! Verify that, while the kernel makes one allocation or one copy from or to user space fail (each in turn), and while
//! it makes many fail in several threads,
//!
//! - a call succeeds, or fails with an error number for that;
//! - a call that failed leaves no handle, no page and no charge behind, and one that succeeded can be undone;
//! - UNPIN fails only if its argument cannot be read, and then the handle stays;
//! - no memory of the kernel is lost (kmemleak).
//!
//! See Documentation/fault-injection/fault-injection.rst of the kernel, fail-nth and make-it-fail.

use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io,
    os::unix::fs::FileExt,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::{
    size::page_bytes,
    Kind,
    Setting, //
};
use rust_gup_uapi::{
    raw,
    Access,
    Device,
    Engine,
    How,
    Request, //
};

use crate::harness::{
    fixture::{
        call,
        errno,
        open,
        pin,
        scaled,
        stats,
        writable,
        HOWS, //
    },
    memory::Map,
    process::pinned_kib,
    runner::{
        skip,
        Test, //
    }, //
};

/// Returns the tests. On a kernel without fault injection this is one test that reports what is missing.
pub(crate) fn tests() -> Vec<Test> {
    if !fs::exists(FAIL_NTH).unwrap_or(false) {
        let missing = || skip("no fault injection: CONFIG_FAULT_INJECTION (FLAVOUR=kasan has it)");
        return vec![Test::new(module_path!(), "all", missing)];
    }
    let tests: [(&str, fn()); 11] = [
        ("open_of_the_device", open_of_the_device),
        ("pin_of_resident_memory", pin_of_resident_memory),
        ("pin_of_untouched_memory", pin_of_untouched_memory),
        ("pin_of_the_zero_page", pin_of_the_zero_page),
        ("pin_of_many_runs", pin_of_many_runs),
        ("unpin", unpin),
        ("copies", copies),
        ("questions", questions),
        ("comparison_and_measurement", comparison_and_measurement),
        ("many_at_once", many_at_once),
        ("no_memory_is_lost", no_memory_is_lost),
    ];
    tests
        .map(|(name, run)| Test::new(module_path!(), name, run))
        .into()
}

const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// More than the places at which any of these calls can fail.
const MAX_FAULTS: u32 = 5000;
/// The results that a call may have when an allocation or a copy fails.
const CLEAN: [i32; 3] = [0, libc::ENOMEM, libc::EFAULT];

/// Makes calls of this thread fail, without log messages, as long as this value lives.
struct Injection {
    nth: File,
    _settings: Vec<Setting>,
}

impl Injection {
    fn new() -> Self {
        let nth = OpenOptions::new().read(true).write(true).open(FAIL_NTH);
        let nth = nth.expect(FAIL_NTH);
        let settings = [
            ("/sys/kernel/debug/failslab/verbose", "0"),
            ("/sys/kernel/debug/failslab/ignore-gfp-wait", "0"),
            ("/sys/kernel/debug/fail_page_alloc/verbose", "0"),
            ("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "0"),
            ("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "0"),
            ("/sys/kernel/debug/fail_page_alloc/min-order", "0"),
            ("/sys/kernel/debug/fail_usercopy/verbose", "0"),
        ]
        .map(|(path, value)| {
            let setting = Setting::set(path, value);
            setting.unwrap_or_else(|_| skip(&format!("no {path}: CONFIG_FAULT_INJECTION_DEBUG_FS")))
        });
        Self {
            nth,
            _settings: settings.into(),
        }
    }

    /// Runs `body` and makes its `nr`th allocation or copy fail. Returns the result, and whether `body` got that far.
    fn with_fault<T>(&self, nr: u32, body: impl FnOnce() -> T) -> (T, bool) {
        self.nth
            .write_at(nr.to_string().as_bytes(), 0)
            .expect("fail-nth");
        let result = body();
        let mut text = [0; 16];
        let hit = match self.nth.read_at(&mut text, 0) {
            Ok(len) => text[..len].trim_ascii() == b"0",
            // The fault hit this read and not `body`.
            Err(_) => false,
        };
        // This write fails if its own copy is the next fault. Then nothing is left to switch off.
        let _ = self.nth.write_at(b"0", 0);
        (result, hit)
    }

    /// Runs `body` with each of its faults in turn, and once without. `body` returns an error number, which must be one
    /// of `allowed`. Calls `after` with that error number each time.
    fn each(&self, what: &str, allowed: &[i32], body: impl Fn() -> i32, after: impl Fn(i32)) {
        let mut nr_failed = 0;
        for nr in 1..=MAX_FAULTS {
            let before = held();
            let (errno, hit) = self.with_fault(nr, &body);
            assert!(
                allowed.contains(&errno),
                "{what}: error {errno} with fault {nr}"
            );
            if errno != 0 {
                nr_failed += 1;
                assert_eq!(
                    held(),
                    before,
                    "{what}: handles, pages and KiB that are held after error {errno} with fault {nr}"
                );
            }
            after(errno);
            if !hit {
                assert_eq!(errno, 0, "{what}: an error without a fault");
                println!("{what}: {} faults, {nr_failed} errors", nr - 1);
                assert!(nr_failed > 0, "{what}: no fault made it fail");
                return;
            }
        }
        panic!("{what}: more than {MAX_FAULTS} faults");
    }
}

/// Returns the counts that a failed call must not change: handles, held pages, and pinned KiB.
fn held() -> (u64, u64, u64) {
    let stats = stats().expect("STATS");
    (stats.nr_handles, stats.nr_held_pages, pinned_kib())
}

fn pin_argument(request: &Request, engine: Engine) -> raw::rust_gup_pin {
    raw::rust_gup_pin {
        addr: request.addr as u64,
        len_bytes: request.len_bytes as u64,
        flags: request.flags(),
        engine: engine.number(),
        ..Default::default()
    }
}

/// Tries to pin. Returns the error number and the handle, 0 if there is none.
fn try_pin(device: &Device, request: &Request, engine: Engine) -> (i32, u64) {
    let mut argument = pin_argument(request, engine);
    let errno = call(device, raw::RUST_GUP_IOC_PIN, &mut argument);
    (errno, if errno == 0 { argument.handle } else { 0 })
}

fn try_unpin(device: &Device, handle: u64) -> i32 {
    let mut argument = raw::rust_gup_unpin { handle };
    call(device, raw::RUST_GUP_IOC_UNPIN, &mut argument)
}

/// Tests each fault of PIN, for each kind of reference and both engines. `make` makes new memory for each call.
fn each_pin<M>(what: &str, make: impl Fn() -> M, request: impl Fn(&M) -> Request) {
    let injection = Injection::new();
    let device = open();
    for how in HOWS {
        for engine in [Engine::Rust, Engine::Kernel] {
            let what = format!("{what}, {} by {}", how.name(), engine.name());
            let memory = std::cell::RefCell::new(make());
            let handle = std::cell::Cell::new(0);
            injection.each(
                &what,
                &CLEAN,
                || {
                    let request = request(&memory.borrow()).how(how);
                    let (errno, new) = try_pin(&device, &request, engine);
                    handle.set(new);
                    errno
                },
                |errno| {
                    if errno == 0 && handle.get() != 0 {
                        assert_eq!(try_unpin(&device, handle.take()), 0, "{what}: UNPIN");
                    }
                    memory.replace(make());
                },
            );
        }
    }
}

fn open_of_the_device() {
    let injection = Injection::new();
    injection.each(
        "open",
        &[0, libc::ENOMEM, libc::EFAULT],
        || errno(File::open(Device::path())),
        |_| (),
    );
}

fn pin_of_resident_memory() {
    each_pin(
        "resident",
        || Map::anon(8),
        |map| writable(map.addr, map.len_bytes),
    );
}

fn pin_of_untouched_memory() {
    each_pin(
        "untouched",
        || Map::untouched(8),
        |map| writable(map.addr, map.len_bytes),
    );
}

/// Pins the zero page. A long-term pin replaces it instead of taking it.
fn pin_of_the_zero_page() {
    each_pin(
        "zero page",
        || {
            let map = Map::untouched(4);
            map.load(0, map.len_bytes);
            map
        },
        Map::request,
    );
}

/// Pins memory whose list of runs has several pieces.
fn pin_of_many_runs() {
    let map = Map::of(Kind::Anon4kScattered, 1100 * page_bytes());
    each_pin(
        "scattered",
        || (),
        |()| Request::new(map.addr, map.len_bytes).access(Access::Write),
    );
}

fn unpin() {
    let injection = Injection::new();
    let device = open();
    let map = Map::anon(4);
    let handle = std::cell::Cell::new(pin(&device, &map.request()).into_handle());
    injection.each(
        "UNPIN",
        &[0, libc::EFAULT],
        || try_unpin(&device, handle.get()),
        |errno| {
            if errno == 0 {
                handle.set(pin(&device, &map.request()).into_handle());
            }
        },
    );
    assert_eq!(try_unpin(&device, handle.get()), 0, "UNPIN");
}

fn copies() {
    let injection = Injection::new();
    let device = open();
    let map = Map::anon(4);
    let buffer = std::cell::RefCell::new(Map::untouched(4));
    let handle = pin(&device, &writable(map.addr, map.len_bytes)).into_handle();
    for (what, number) in [
        ("READ", raw::RUST_GUP_IOC_READ),
        ("WRITE", raw::RUST_GUP_IOC_WRITE),
    ] {
        injection.each(
            what,
            &[0, libc::EFAULT],
            || {
                let mut copy = raw::rust_gup_copy {
                    handle,
                    offset: 1,
                    len_bytes: 3 * page_bytes() as u64,
                    buf: buffer.borrow().addr as u64,
                };
                call(&device, number, &mut copy)
            },
            |_| drop(buffer.replace(Map::untouched(4))),
        );
    }
    assert_eq!(try_unpin(&device, handle), 0, "UNPIN");
}

fn questions() {
    let injection = Injection::new();
    let device = open();
    let map = Map::anon(4);
    let handle = pin(&device, &map.request()).into_handle();
    let mut list = [raw::rust_gup_run::default(); 4];
    let buf = list.as_mut_ptr().expose_provenance() as u64;
    injection.each(
        "RUNS",
        &[0, libc::EFAULT],
        || {
            let mut runs = raw::rust_gup_runs {
                handle,
                buf,
                capacity: 4,
                ..Default::default()
            };
            call(&device, raw::RUST_GUP_IOC_RUNS, &mut runs)
        },
        |_| (),
    );
    let faults = [0, libc::EFAULT];
    let info = || {
        let mut info = raw::rust_gup_info::default();
        call(&device, raw::RUST_GUP_IOC_INFO, &mut info)
    };
    injection.each("INFO", &faults, info, |_| ());
    let stats = || {
        let mut stats = raw::rust_gup_stats::default();
        call(&device, raw::RUST_GUP_IOC_STATS, &mut stats)
    };
    injection.each("STATS", &faults, stats, |_| ());
    assert_eq!(try_unpin(&device, handle), 0, "UNPIN");
}

fn comparison_and_measurement() {
    let injection = Injection::new();
    let device = open();
    for how in HOWS {
        let map = std::cell::RefCell::new(Map::untouched(4));
        injection.each(
            &format!("COMPARE, {}", how.name()),
            &CLEAN,
            || {
                let map = map.borrow();
                let mut compare = raw::rust_gup_compare {
                    addr: map.addr as u64,
                    len_bytes: map.len_bytes as u64,
                    flags: map.request().how(how).flags(),
                    ..Default::default()
                };
                call(&device, raw::RUST_GUP_IOC_COMPARE, &mut compare)
            },
            |_| drop(map.replace(Map::untouched(4))),
        );
    }
    let map = Map::anon(4);
    let mut samples = [raw::rust_gup_sample::default(); 2];
    let samples = samples.as_mut_ptr().expose_provenance() as u64;
    injection.each(
        "MEASURE",
        // If memory is short, the call takes fewer pages than a round needs (EAGAIN).
        &[0, libc::ENOMEM, libc::EFAULT, libc::EAGAIN],
        || {
            let mut measure = raw::rust_gup_measure {
                addr: map.addr as u64,
                len_bytes: map.len_bytes as u64,
                flags: map.request().how(How::Pin).flags(),
                rounds: 2,
                engine_a: Engine::Rust.number(),
                engine_b: Engine::RustPages.number(),
                pages_per_call: 2,
                samples,
                ..Default::default()
            };
            call(&device, raw::RUST_GUP_IOC_MEASURE, &mut measure)
        },
        |_| (),
    );
}

/// Makes several allocations and copies of one call fail, in several threads.
fn many_at_once() {
    const TIME: Duration = Duration::from_secs(2);
    let _injection = Injection::new();
    // The task filters are set first and removed last, so that only calls that ask for it fail.
    let mut settings = Vec::new();
    for (path, value) in [
        ("/sys/kernel/debug/failslab/task-filter", "1"),
        ("/sys/kernel/debug/failslab/times", "-1"),
        ("/sys/kernel/debug/failslab/probability", "10"),
        ("/sys/kernel/debug/fail_page_alloc/task-filter", "1"),
        ("/sys/kernel/debug/fail_page_alloc/times", "-1"),
        ("/sys/kernel/debug/fail_page_alloc/probability", "10"),
        ("/sys/kernel/debug/fail_usercopy/task-filter", "1"),
        ("/sys/kernel/debug/fail_usercopy/times", "-1"),
        ("/sys/kernel/debug/fail_usercopy/probability", "10"),
    ] {
        settings.push(Setting::set(path, value).expect(path));
    }
    let device = open();
    let take = |how: How, engine: Engine| -> io::Result<bool> {
        let map = Map::untouched(16);
        let me = OpenOptions::new()
            .write(true)
            .open("/proc/thread-self/make-it-fail")?;
        let request = writable(map.addr, map.len_bytes).how(how);
        let (mut errno, mut handle) = (libc::ENOMEM, 0);
        if me.write_at(b"1", 0).is_ok() {
            (errno, handle) = try_pin(&device, &request, engine);
            // This write may fail like everything else in this thread.
            while me.write_at(b"0", 0).is_err() {}
        }
        assert!(CLEAN.contains(&errno), "PIN: error {errno}");
        if handle != 0 {
            assert_eq!(try_unpin(&device, handle), 0, "UNPIN");
        }
        Ok(errno != 0)
    };
    let deadline = Instant::now() + scaled(TIME);
    let (nr_calls, nr_failed) = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|i| {
                let take = &take;
                scope.spawn(move || {
                    let (mut nr_calls, mut nr_failed) = (0_u64, 0_u64);
                    while Instant::now() < deadline {
                        let how = HOWS[(nr_calls % 3) as usize];
                        let engine = [Engine::Rust, Engine::Kernel][i % 2];
                        nr_calls += 1;
                        nr_failed += u64::from(take(how, engine).expect("make-it-fail"));
                    }
                    (nr_calls, nr_failed)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a thread"))
            .fold((0, 0), |sum, nr| (sum.0 + nr.0, sum.1 + nr.1))
    });
    while settings.pop().is_some() {}
    println!("{nr_calls} calls, {nr_failed} errors");
    assert!(0 < nr_failed && nr_failed < nr_calls);
}

fn no_memory_is_lost() {
    const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
    /// kmemleak ignores memory younger than five seconds.
    const AGE: Duration = Duration::from_secs(6);
    // Clear the reports about memory that was lost before this test.
    if fs::write(KMEMLEAK, "scan").is_err() || fs::write(KMEMLEAK, "clear").is_err() {
        skip(
            "no kmemleak: CONFIG_DEBUG_KMEMLEAK (FLAVOUR=kasan has it), and boot with kmemleak=on",
        );
    }
    pin_of_untouched_memory();
    pin_of_many_runs();
    copies();
    comparison_and_measurement();
    thread::sleep(AGE);
    // The first scan may report memory whose pointer was just being moved.
    fs::write(KMEMLEAK, "scan").expect("scan");
    fs::write(KMEMLEAK, "scan").expect("scan");
    let lost = fs::read_to_string(KMEMLEAK).expect("kmemleak");
    assert!(lost.is_empty(), "{lost}");
}
