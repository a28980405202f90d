// SPDX-License-Identifier: GPL-2.0

//! Races against an end: the exit of the process that has pages, an exec, and attempts to unload the module.

use std::{
    panic::catch_unwind,
    sync::atomic::{
        AtomicU64,
        AtomicUsize,
        Ordering, //
    },
    thread,
    time::Duration, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rust_gup_uapi::{
    raw,
    Device, //
};

use super::{
    arena::Arena,
    counts::{
        no_reference_left,
        Orphans, //
    },
    frame::{
        scaled,
        Race, //
    },
    races,
    shared,
    squatter::Squatter,
    total, //
};
use crate::harness::{
    fixture::{
        call,
        open,
        pin,
        refused,
        stats,
        writable,
        HOWS, //
    },
    memory::Map,
    module::{
        unload,
        NAME, //
    },
    process::{
        exit_at_once,
        Child,
        Rendezvous, //
    }, //
};

races![against_exit, against_exec, against_unloading];

const NR_PAGES: usize = 32;
const NR_THREADS: usize = 3;
/// With so many rounds of all threads together, one thread has made two for each of [`HOWS`].
const NR_ROUNDS: usize = NR_THREADS * 2 * HOWS.len();

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Exit,
    Exec,
}

/// The work of the threads that ended with their process.
struct Deeds {
    /// Pages that the threads took without the slow path, for each of [`HOWS`].
    fast_pages: &'static [AtomicU64; HOWS.len()],
    nr_failed: &'static [AtomicU64; 1],
}

fn against_exit() {
    against(End::Exit);
}

fn against_exec() {
    against(End::Exec);
}

/// Ends processes while their threads take pages. One handle of each process belongs to a file that this process also
/// has open, so it outlives the process. Its pages must keep their contents while others want memory.
fn against(end: End) {
    let device = open();
    let orphans = Orphans::before();
    let nr_processes = scaled(8);
    let deeds = Deeds {
        fast_pages: shared::numbers(),
        nr_failed: shared::numbers(),
    };
    for process in 0..nr_processes {
        let (ours, theirs) = Rendezvous::pair();
        let how = HOWS[process % HOWS.len()];
        let word = 0xe4d_0000_0001 + ((process as u64) << 8);
        let child = Child::run(|| {
            let nr_rounds = AtomicUsize::new(0);
            let map = Map::anon(NR_PAGES);
            let pages = pin(&device, &writable(map.addr, map.len_bytes).how(how));
            for page in 0..NR_PAGES {
                map.store(page * page_bytes(), &word.to_ne_bytes());
            }
            let handle = pages.into_handle();
            thread::scope(|scope| {
                for _ in 0..NR_THREADS {
                    scope.spawn(|| {
                        // No thread joins this one, so it counts its panic itself.
                        if catch_unwind(|| take_and_keep(&deeds, &nr_rounds)).is_err() {
                            deeds.nr_failed[0].fetch_add(1, Ordering::Relaxed);
                            nr_rounds.store(NR_ROUNDS, Ordering::Relaxed);
                        }
                    });
                }
                theirs.send(handle);
                // On a slow kernel the threads of some processes do not even begin. In every other process one of them
                // has taken pages twice in each way.
                while process % 2 != 0 && nr_rounds.load(Ordering::Relaxed) < NR_ROUNDS {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_micros(process as u64 % 16 * 300));
                leave(end);
            });
        });
        let handle = ours.receive();
        // The squatter marks the freed pages that it gets.
        let mut squatter = Squatter::new();
        child.join();
        (0..16).for_each(|_| squatter.turn());
        for page in 0..NR_PAGES {
            let found = read(&device, handle, page * page_bytes());
            assert_eq!(
                found, word,
                "process {process}, {how:?}, page {page} after its end by {end:?}"
            );
        }
        let held = stats().expect("STATS");
        assert_eq!(
            (held.nr_handles, held.nr_held_pages),
            (1, NR_PAGES as u64),
            "process {process}: what is held after its end by {end:?}"
        );
        let mut unpin = raw::rust_gup_unpin { handle };
        assert_eq!(call(&device, raw::RUST_GUP_IOC_UNPIN, &mut unpin), 0);
    }
    let fast_pages = deeds
        .fast_pages
        .each_ref()
        .map(|nr| nr.load(Ordering::Relaxed));
    println!("{nr_processes} processes ended by {end:?}; their threads took {fast_pages:?} pages, by {HOWS:?}");
    assert!(
        fast_pages.iter().all(|nr| *nr > 0),
        "no page was ever taken in one of these ways"
    );
    assert_eq!(
        deeds.nr_failed[0].load(Ordering::Relaxed),
        0,
        "threads that failed"
    );
    let nr = nr_processes as u64;
    total::add(nr, nr, nr * NR_PAGES as u64);
    orphans.check();
}

/// Takes pages until the process ends, and keeps some of them.
fn take_and_keep(deeds: &Deeds, nr_rounds: &AtomicUsize) {
    let device = open();
    let map = Map::anon(NR_PAGES);
    for round in 0.. {
        let how = round % HOWS.len();
        let pages = pin(&device, &writable(map.addr, map.len_bytes).how(HOWS[how]));
        deeds.fast_pages[how].fetch_add(pages.nr_fast(), Ordering::Relaxed);
        nr_rounds.fetch_add(1, Ordering::Relaxed);
        if round % 8 == 0 && round < 400 {
            pages.into_handle();
        }
    }
}

fn leave(end: End) -> ! {
    if end == End::Exec {
        let program = c"/proc/self/exe";
        let list = c"--list";
        let arguments = [program.as_ptr(), list.as_ptr(), std::ptr::null()];
        // SAFETY: The lists end in a null pointer, the strings in a zero byte. The new program needs no standard
        // output.
        unsafe {
            libc::close(libc::STDOUT_FILENO);
            libc::execve(
                program.as_ptr(),
                arguments.as_ptr(),
                [std::ptr::null()].as_ptr(),
            );
        }
        panic!("execve: {}", std::io::Error::last_os_error());
    }
    exit_at_once(0)
}

fn read(device: &Device, handle: u64, offset: usize) -> u64 {
    let mut word = [0_u8; 8];
    let mut copy = raw::rust_gup_copy {
        handle,
        offset: offset as u64,
        len_bytes: word.len() as u64,
        buf: word.as_mut_ptr().expose_provenance() as u64,
    };
    assert_eq!(call(device, raw::RUST_GUP_IOC_READ, &mut copy), 0, "READ");
    u64::from_ne_bytes(word)
}

/// The module cannot be unloaded while it is in use.
fn against_unloading() {
    let arena = Arena::small(2 * pmd_bytes() / page_bytes());
    // The takers may not have opened their files yet.
    let device = open();
    Race::new(&arena, 375).run(|_| {
        refused(unload(NAME), libc::EWOULDBLOCK, "unloading");
    });
    drop(device);
    no_reference_left(&arena);
}
