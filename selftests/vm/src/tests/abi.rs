// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - a call that does not exist is refused with ENOTTY;
//! - flags and engines that do not exist, and reserved fields that are not zero, are refused with EINVAL;
//! - a long-term request that is no pin is refused with EINVAL;
//! - a request that the kernel cannot serve (a fast-only pin) is refused with EOPNOTSUPP for its engine and for
//!   COMPARE;
//! - the initial contents of an output field do not matter;
//! - INFO describes this machine, and STATS counts the pages that were taken, held and refused;
//! - a request that one entry serves needs no window;
//! - interrupts are off for at most as many entries as INFO says.

use std::fs;

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device,
    Info, //
};

use crate::{
    arch,
    harness::{
        fixture::{
            call,
            call_at,
            fast_only,
            open,
            pin,
            stats,
            walk_is_off,
            FLAGS,
            HOWS, //
        },
        memory::Map,
        process::{
            become_nobody,
            Child, //
        },
        runner::tests, //
    }, //
};

tests![
    unknown_calls,
    unknown_flags,
    reserved_fields,
    longterm_needs_pin,
    short_term_pins_are_for_tests,
    unknown_engines,
    fast_only_pin_by_the_kernel,
    output_fields_are_not_read,
    info,
    stats_count,
    one_entry_needs_no_window,
    windows_are_bounded,
];

fn unknown_calls() {
    let device = open();
    let info = raw::RUST_GUP_IOC_INFO;
    let pin = raw::RUST_GUP_IOC_PIN;
    let direction = 3 << 30;
    for (what, number) in [
        ("zero", 0),
        ("all ones", u32::MAX),
        ("number before the first", info - 1),
        ("number after the last", raw::RUST_GUP_IOC_STATS + 1),
        ("number 0xff", info | 0xff),
        ("another type", info ^ 0x100),
        ("INFO in the other direction", info ^ direction),
        ("INFO in both directions", info | direction),
        ("INFO without a direction", info & !direction),
        ("PIN only read", pin & !(1 << 31)),
        ("TCGETS", 0x5401),
    ] {
        for addr in [0, usize::MAX] {
            let got = call_at(&device, number, addr);
            assert_eq!(got, libc::ENOTTY, "{what} ({number:#x})");
        }
    }
}

/// The fields that vary in the three requests for a range.
struct Asked {
    flags: u32,
    engine: u32,
    reserved: u32,
}

const PLAIN: Asked = Asked {
    flags: raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
    engine: raw::RUST_GUP_ENGINE_RUST,
    reserved: 0,
};

fn ask_pin(device: &Device, map: &Map, asked: &Asked) -> i32 {
    let mut pin = raw::rust_gup_pin {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        flags: asked.flags,
        engine: asked.engine,
        reserved: asked.reserved,
        ..Default::default()
    };
    call(device, raw::RUST_GUP_IOC_PIN, &mut pin)
}

fn ask_compare(device: &Device, map: &Map, asked: &Asked) -> i32 {
    let mut compare = raw::rust_gup_compare {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        flags: asked.flags,
        reserved: asked.reserved,
        ..Default::default()
    };
    call(device, raw::RUST_GUP_IOC_COMPARE, &mut compare)
}

fn ask_measure(device: &Device, map: &Map, asked: &Asked) -> i32 {
    let mut sample = [raw::rust_gup_sample::default()];
    let mut measure = raw::rust_gup_measure {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        flags: asked.flags,
        rounds: 1,
        engine_a: asked.engine,
        engine_b: raw::RUST_GUP_ENGINE_KERNEL,
        pages_per_call: 1,
        reserved: asked.reserved,
        samples: sample.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    call(device, raw::RUST_GUP_IOC_MEASURE, &mut measure)
}

type Ask = fn(&Device, &Map, &Asked) -> i32;
const ASKS: [(&str, Ask); 3] = [
    ("PIN", ask_pin),
    ("COMPARE", ask_compare),
    ("MEASURE", ask_measure),
];

/// Fails unless each of `asks` returns `errno` for `asked`, and succeeds for PLAIN.
fn all_answer(asks: &[(&str, Ask)], asked: &Asked, errno: i32, what: &str) {
    let device = open();
    let map = Map::anon(2);
    for (name, ask) in asks {
        assert_eq!(ask(&device, &map, &PLAIN), 0, "{name}, plain");
        assert_eq!(ask(&device, &map, asked), errno, "{name}, {what}");
    }
}

fn unknown_flags() {
    for bit in (0..u32::BITS).filter(|bit| FLAGS & (1 << bit) == 0) {
        let asked = Asked {
            flags: PLAIN.flags | (1 << bit),
            ..PLAIN
        };
        all_answer(&ASKS, &asked, libc::EINVAL, &format!("flag bit {bit}"));
    }
    let fast_only = Asked {
        flags: raw::RUST_GUP_FAST_ONLY,
        ..PLAIN
    };
    all_answer(&ASKS[2..], &fast_only, libc::EINVAL, "FAST_ONLY");
}

fn reserved_fields() {
    for reserved in [1, 1 << 31, u32::MAX] {
        let asked = Asked { reserved, ..PLAIN };
        all_answer(
            &ASKS,
            &asked,
            libc::EINVAL,
            &format!("reserved {reserved:#x}"),
        );
    }
}

fn longterm_needs_pin() {
    for more in [0, raw::RUST_GUP_WRITE] {
        let flags = raw::RUST_GUP_LONGTERM | more;
        let asked = Asked { flags, ..PLAIN };
        all_answer(&ASKS, &asked, libc::EINVAL, &format!("flags {flags:#x}"));
    }
}

fn short_term_pins_are_for_tests() {
    let device = open();
    let map = Map::anon(2);
    let ask = |flags| ask_pin(&device, &map, &Asked { flags, ..PLAIN });
    for more in [0, raw::RUST_GUP_WRITE, raw::RUST_GUP_FAST_ONLY] {
        let pin = raw::RUST_GUP_PIN | more;
        let short_term = pin | raw::RUST_GUP_SHORT_TERM;
        assert_eq!(ask(pin), libc::EINVAL, "for how long is not said");
        assert_eq!(ask(short_term), 0, "by the administrator");
        Child::run(|| {
            become_nobody();
            assert_eq!(ask(pin), libc::EINVAL, "for how long is not said");
            assert_eq!(ask(short_term), libc::EPERM, "by anybody");
            assert_eq!(ask(pin | raw::RUST_GUP_LONGTERM), 0, "for long");
        })
        .join();
    }
    for pin in [
        raw::RUST_GUP_PIN,
        raw::RUST_GUP_PIN | raw::RUST_GUP_SHORT_TERM,
    ] {
        let asked = Asked {
            flags: pin,
            ..PLAIN
        };
        assert_eq!(ask_compare(&device, &map, &asked), 0, "COMPARE");
        assert_eq!(ask_measure(&device, &map, &asked), 0, "MEASURE");
    }
    for flags in [
        raw::RUST_GUP_SHORT_TERM,
        raw::RUST_GUP_SHORT_TERM | raw::RUST_GUP_PIN | raw::RUST_GUP_LONGTERM,
    ] {
        let asked = Asked { flags, ..PLAIN };
        all_answer(&ASKS, &asked, libc::EINVAL, &format!("flags {flags:#x}"));
    }
}

fn unknown_engines() {
    for engine in [4, 5, 1 << 16, u32::MAX] {
        let asked = Asked { engine, ..PLAIN };
        let what = format!("engine {engine}");
        all_answer(&[ASKS[0], ASKS[2]], &asked, libc::EINVAL, &what);
    }
    for engine in [
        raw::RUST_GUP_ENGINE_RUST_PAGES,
        raw::RUST_GUP_ENGINE_KERNEL_RANGES,
    ] {
        let asked = Asked { engine, ..PLAIN };
        let what = format!("engine {engine}, which makes no handles");
        all_answer(&ASKS[..1], &asked, libc::EINVAL, &what);
    }
}

fn fast_only_pin_by_the_kernel() {
    for more in [
        raw::RUST_GUP_SHORT_TERM,
        raw::RUST_GUP_SHORT_TERM | raw::RUST_GUP_WRITE,
        raw::RUST_GUP_LONGTERM,
    ] {
        let asked = Asked {
            flags: raw::RUST_GUP_PIN | raw::RUST_GUP_FAST_ONLY | more,
            engine: raw::RUST_GUP_ENGINE_KERNEL,
            ..PLAIN
        };
        all_answer(&ASKS[..2], &asked, libc::EOPNOTSUPP, "PIN | FAST_ONLY");
    }
}

fn output_fields_are_not_read() {
    let device = open();
    let map = Map::anon(3);
    let mut pin = raw::rust_gup_pin {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        flags: PLAIN.flags,
        handle: u64::MAX,
        nr_pages: u64::MAX,
        nr_fast: u64::MAX,
        nr_runs: u64::MAX,
        nr_by_level: [u64::MAX; 5],
        stop_addr: u64::MAX,
        stop: u32::MAX,
        ..Default::default()
    };
    assert_eq!(call(&device, raw::RUST_GUP_IOC_PIN, &mut pin), 0);
    let (nr_fast, stop) = if walk_is_off() {
        (0, raw::RUST_GUP_STOP_OFF)
    } else {
        (3, raw::RUST_GUP_STOP_NONE)
    };
    assert_eq!((pin.nr_pages, pin.nr_fast), (3, nr_fast));
    assert!((1..=3).contains(&pin.nr_runs), "{} runs", pin.nr_runs);
    assert_eq!(pin.nr_by_level, [nr_fast, 0, 0, 0, 0]);
    assert_eq!(pin.stop, stop);
    assert_ne!(pin.handle, u64::MAX);

    let mut compare = raw::rust_gup_compare {
        addr: map.addr as u64,
        len_bytes: map.len_bytes as u64,
        flags: raw::RUST_GUP_PIN,
        differences: u32::MAX,
        errno_rust: -1,
        errno_kernel: -1,
        nr_pages_rust: u64::MAX,
        nr_pages_kernel: u64::MAX,
        nr_equal: u64::MAX,
        nr_by_level: [u64::MAX; 5],
        stop: u32::MAX,
        ..Default::default()
    };
    assert_eq!(call(&device, raw::RUST_GUP_IOC_COMPARE, &mut compare), 0);
    assert_eq!(
        (
            compare.differences,
            compare.errno_rust,
            compare.errno_kernel
        ),
        (0, 0, 0)
    );
    assert_eq!(
        (
            compare.nr_pages_rust,
            compare.nr_pages_kernel,
            compare.nr_equal
        ),
        (3, 3, 3)
    );
    assert_eq!(compare.nr_by_level, [nr_fast, 0, 0, 0, 0]);
}

/// Compares the description of the page tables in INFO with the behaviour and the files of the kernel.
fn address_space(info: &Info) {
    let raw = info.raw;
    let page = u64::from(raw.page_size_bytes);
    assert_eq!(info.leaf_bytes(0), Some(page));
    let (used, above) = raw.entry_shift.split_at(raw.levels as usize);
    assert!(used.is_sorted_by(|below, above| below < above), "{used:?}");
    assert!(above.iter().all(|&shift| shift == 0), "{above:?}");

    // Memory can be mapped up to the limit, and not beyond.
    let limit = raw.user_limit;
    assert_eq!(limit % page, 0, "{limit:#x}");
    let errno_at = |addr: u64| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let map = Map::new(addr as usize, page as usize, libc::PROT_NONE, flags, -1);
        map.map_or_else(|error| error.raw_os_error(), |_| None)
    };
    assert!(matches!(errno_at(limit - page), None | Some(libc::EEXIST)));
    // LoongArch refuses an address that is too high before the common code does (`arch_get_unmapped_area()`).
    let refused = if cfg!(target_arch = "loongarch64") {
        libc::EINVAL
    } else {
        libc::ENOMEM
    };
    assert_eq!(errno_at(limit), Some(refused), "{limit:#x}");

    // The kernel's huge pages are leaves, except those that consist of several entries.
    let sizes = |folder, prefix, suffix| -> Vec<u64> {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| {
                let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
                number.parse::<u64>().ok().map(|kib| kib << 10)
            })
            .collect()
    };
    let is_leaf = |bytes| (1..5).any(|level| info.leaf_bytes(level) == Some(bytes));
    let is_block = |bytes| {
        let mut leaves = (0..5).filter_map(|level| info.leaf_bytes(level));
        arch::HAS_CONTIGUOUS_LEAVES && leaves.any(|leaf| bytes > leaf && bytes % leaf == 0)
    };
    for bytes in sizes("/sys/kernel/mm/hugepages", "hugepages-", "kB") {
        assert!(
            is_leaf(bytes) || is_block(bytes),
            "huge pages of {bytes} bytes: {raw:?}"
        );
    }
    let pmd = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    if let Ok(pmd) = pmd {
        assert_eq!(info.leaf_bytes(1), pmd.trim().parse().ok());
    }
}

fn info() {
    let info = open().info().expect("INFO");
    let raw = info.raw;
    assert_eq!(raw.abi_version, raw::RUST_GUP_ABI_VERSION);
    assert_eq!(raw.format, arch::format());
    assert_eq!(raw.page_size_bytes as usize, rustix::param::page_size());
    assert_eq!(raw.reserved, 0);
    assert!(raw.window_entries > 0, "the walk takes entries");
    address_space(&info);

    assert_eq!(raw.levels, arch::nr_levels());
    let has = |feature: u32| raw.features & u64::from(feature) != 0;
    let is_la57 = raw.format == raw::RUST_GUP_FORMAT_X86_64 && raw.levels == 5;
    assert_eq!(has(raw::RUST_GUP_FEATURE_LA57), is_la57, "LA57");
    assert_eq!(
        has(raw::RUST_GUP_FEATURE_PKEYS),
        arch::has_pkeys(),
        "protection keys"
    );
    assert_eq!(
        has(raw::RUST_GUP_FEATURE_FAST),
        !walk_is_off(),
        "the fast walk"
    );
    assert!(
        has(raw::RUST_GUP_FEATURE_HAS_PFN),
        "root may see frame numbers"
    );
    let known = raw::RUST_GUP_FEATURE_FAST
        | raw::RUST_GUP_FEATURE_LA57
        | raw::RUST_GUP_FEATURE_PKEYS
        | raw::RUST_GUP_FEATURE_HAS_PFN;
    assert_eq!(raw.features & !u64::from(known), 0, "unknown features");

    let version = info.module_version();
    assert!(raw.module_version.contains(&0), "the version ends");
    assert!(
        version.split('.').count() >= 2 && version.starts_with(|c: char| c.is_ascii_digit()),
        "the version is one: {version:?}"
    );
    if let Ok(text) = fs::read_to_string("/sys/module/rust_gup/version") {
        assert_eq!(version, text.trim());
    }
}

fn stats_count() {
    const NR_PAGES: u64 = 5;
    let device = open();
    let map = Map::anon(NR_PAGES as usize);
    let before = stats().expect("STATS");
    let pinned = pin(&device, &map.request());
    let held = stats().expect("STATS");
    let nr_fast = if walk_is_off() { 0 } else { NR_PAGES };
    assert_eq!(held.nr_fast, before.nr_fast + nr_fast);
    assert_eq!(held.nr_slow, before.nr_slow + NR_PAGES - nr_fast);
    assert_eq!(held.nr_handles, before.nr_handles + 1);
    assert_eq!(held.nr_held_pages, before.nr_held_pages + NR_PAGES);
    // Each small page is a folio of its own, so the counter of runs grows by one per page. The list merges neighbours.
    assert_eq!(held.nr_runs, before.nr_runs + nr_fast);
    assert!((1..=NR_PAGES).contains(&pinned.nr_runs()));
    assert_eq!(held.nr_windows > before.nr_windows, !walk_is_off());
    let sections = |stats: &raw::rust_gup_stats| stats.irqs_off.iter().sum::<u64>();
    assert_eq!(
        sections(&held) - sections(&before),
        held.nr_windows - before.nr_windows
    );
    assert_eq!(sections(&held), held.nr_windows);
    drop(pinned);

    let untouched = Map::untouched(NR_PAGES as usize);
    let nothing = pin(&device, &fast_only(untouched.request()));
    assert_eq!((nothing.handle(), nothing.nr_pages()), (0, 0));
    let after = stats().expect("STATS");
    let reason = if walk_is_off() {
        raw::RUST_GUP_STOP_OFF as usize
    } else {
        raw::RUST_GUP_STOP_ABSENT as usize
    };
    assert_eq!(after.stops[reason], held.stops[reason] + 1);
    assert_eq!(after.nr_fast, held.nr_fast);
    assert_eq!(after.nr_slow, held.nr_slow);
    assert_eq!(
        (after.nr_handles, after.nr_held_pages),
        (before.nr_handles, before.nr_held_pages)
    );

    let faulted = pin(&device, &untouched.request());
    assert_eq!(faulted.nr_pages(), NR_PAGES);
    assert_eq!(faulted.nr_fast(), 0);
    let slow = stats().expect("STATS");
    assert_eq!(slow.nr_slow, after.nr_slow + NR_PAGES);
}

/// A request that one entry serves needs no window. It counts like any other.
fn one_entry_needs_no_window() {
    let device = open();
    let pages = Map::anon(2);
    let leaf = Map::huge(1);
    for (range, is_one) in [
        (pages.part(0, page_bytes()), true),
        (leaf, true),
        (pages, false),
    ] {
        let nr_pages = range.nr_pages() as u64;
        let nr_fast = if walk_is_off() { 0 } else { nr_pages };
        for how in HOWS {
            let before = stats().expect("STATS");
            let pinned = pin(&device, &range.request().how(how));
            let after = stats().expect("STATS");
            assert_eq!(pinned.nr_fast(), nr_fast, "{how:?}, {nr_pages} pages");
            assert_eq!(after.nr_fast, before.nr_fast + nr_fast);
            assert_eq!(
                after.nr_windows == before.nr_windows,
                is_one || walk_is_off(),
                "{how:?}, {nr_pages} pages"
            );
        }
    }
}

fn windows_are_bounded() {
    let device = open();
    let nr_entries = u64::from(device.info().expect("INFO").raw.window_entries);
    let nr_pages = (4 * nr_entries + 1).min(8192);
    let map = Map::anon(nr_pages as usize);
    for how in HOWS {
        let before = stats().expect("STATS").nr_windows;
        let pinned = pin(&device, &map.request().how(how));
        let nr_windows = stats().expect("STATS").nr_windows - before;
        let nr_fast = pinned.nr_fast();
        assert_eq!(nr_fast, if walk_is_off() { 0 } else { nr_pages });
        assert!(
            nr_windows >= nr_fast.div_ceil(nr_entries),
            "{how:?}: {nr_fast} entries in {nr_windows} windows of {nr_entries}"
        );
    }
}
