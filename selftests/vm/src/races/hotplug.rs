// SPDX-License-Identifier: GPL-2.0

//! Races against memory and CPUs that go and come back.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::arena::{Arena, Grip};
use super::counts::no_reference_left;
use super::frame::Race;
use super::migration::need_nodes;
use super::race;
use crate::fixture::{check, HUGE, PAGE};
use crate::memory::frames;
use crate::runner::{skip, Test};

pub(super) fn races() -> Vec<Test> {
    vec![
        // QEMU leaves a CPU that comes back an interrupt of before.
        race("against_cpu_hotplug", against_cpu_hotplug).expect_log(&["APIC: Stale IRR"]),
        // Of pages that somebody holds, the kernel says so, and shows what it knows of them.
        race("against_memory_hotplug", against_memory_hotplug).expect_log(&[
            "migrating pfn",
            "failed to isolate pfn",
            "do_migrate_range: ",
            "page: ",
            "head: ",
            "flags: ",
            "raw: ",
            "page dumped because",
            "anon ",
            "aops:",
            "memcg:",
        ]),
    ]
}

fn against_cpu_hotplug() {
    let cpu = (1..64)
        .rev()
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/online"))
        .find(|path| fs::exists(path).unwrap_or(false));
    let Some(online) = cpu else {
        skip("no CPU that can be taken away: two CPUs, and CONFIG_HOTPLUG_CPU");
    };
    let arena = Arena::small(2 * HUGE / PAGE);
    let race = Race::new(&arena, 4).noting("CPUs went or came");
    race.run(|turn| {
        fs::write(&online, if turn.round % 2 == 0 { "0" } else { "1" }).expect("CPU hotplug");
        turn.note(1);
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    fs::write(&online, "1").expect("CPU hotplug");
    no_reference_left(&arena);
}

/// A block of memory.
struct Block {
    state: PathBuf,
    frames: Range<u64>,
}

impl Block {
    /// How many pages of an arena it holds.
    fn nr_of(&self, arena: &Arena) -> usize {
        let frames = frames(arena.map.addr, arena.nr_pages());
        frames.iter().filter(|f| self.frames.contains(f)).count()
    }
}

/// Blocks of memory that are in use, and hold only what can be moved away.
fn movable_blocks() -> Vec<Block> {
    let Ok(all) = fs::read_dir("/sys/devices/system/memory") else {
        return Vec::new();
    };
    let hex = |path: PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let nr_frames = |path: &Path| Some(hex(path.with_file_name("block_size_bytes"))? / PAGE as u64);
    let is = |block: &Path, file: &str, value: &str| {
        fs::read_to_string(block.join(file)).is_ok_and(|text| text.trim() == value)
    };
    all.filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|block| is(block, "state", "online") && is(block, "valid_zones", "Movable"))
        .filter_map(|block| {
            let (number, len) = (hex(block.join("phys_index"))?, nr_frames(&block)?);
            Some(Block {
                state: block.join("state"),
                frames: number * len..(number + 1) * len,
            })
        })
        .collect()
}

/// Wants memory of a node, from now on.
fn bind(arena: &Arena, node: usize) {
    const MPOL_BIND: i32 = 2;
    let mask = 1_u64 << node;
    // SAFETY: The mask has a bit for each node up to the one before the last.
    let bound = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            arena.map.addr,
            arena.map.len_bytes,
            MPOL_BIND,
            std::ptr::from_ref(&mask),
            64,
            0,
        )
    };
    check(bound).expect("mbind");
}

/// Tries to take a block of memory away; whether it went. The kernel tries for as long as somebody holds a page of it, or
/// until a signal comes.
fn take_away(state: &Path) -> bool {
    const LIMIT: Duration = Duration::from_secs(2);
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: Zeros are valid for all its fields: no flags, so that system calls end.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: The handler does nothing.
    check(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) })
        .expect("sigaction");
    // SAFETY: Takes no pointers.
    let this = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            thread::park_timeout(LIMIT);
            while !done.load(Ordering::Relaxed) {
                // SAFETY: The thread waits for this one to end.
                unsafe { libc::pthread_kill(this, libc::SIGUSR1) };
                thread::sleep(Duration::from_millis(10));
            }
        });
        let mut file = File::options().write(true).open(state).expect("state");
        let went = file.write(b"offline").is_ok();
        done.store(true, Ordering::Relaxed);
        watch.thread().unpark();
        went
    })
}

fn against_memory_hotplug() {
    need_nodes();
    let blocks = movable_blocks();
    if blocks.len() < 2 {
        skip("no memory that can be taken away: the machine \"races\" has some");
    }
    let arena = Arena::untouched(HUGE / PAGE).with_grip(Grip::Rare);
    bind(&arena, 1);
    arena.stamp(0, arena.map.len_bytes);
    let mut nr_held = 0;
    let race = Race::new(&arena, 4).noting("pages were in memory that went");
    race.run(|turn| {
        let block = blocks
            .iter()
            .max_by_key(|block| block.nr_of(&arena))
            .expect("there are two");
        let nr_pages = block.nr_of(&arena);
        if take_away(&block.state) {
            assert_eq!(block.nr_of(&arena), 0, "pages are in memory that is gone");
            turn.note(nr_pages);
            fs::write(&block.state, "online_movable").expect("memory comes back");
        } else {
            nr_held += 1;
        }
        // Back to memory that can be moved: what was taken for long has left it.
        let piece = turn.piece();
        arena.replace(piece, || {
            arena.map.advise(piece.0, piece.1, libc::MADV_DONTNEED);
        });
        arena.stamp(piece.0, piece.1);
    });
    println!("memory was held {nr_held} times");
    no_reference_left(&arena);
}
