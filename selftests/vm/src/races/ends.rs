// SPDX-License-Identifier: GPL-2.0

//! Races against the end: of the process that has pages, of its program, and attempts to unload the module.

use std::thread;
use std::time::Duration;

use rust_gup_uapi::{raw, Device};

use super::arena::Arena;
use super::counts::{no_reference_left, Orphans};
use super::frame::{scaled, Race};
use super::squatter::Squatter;
use super::{races, total};
use crate::fixture::{call, open, pin, refused, stats, writable, HOWS, HUGE, PAGE};
use crate::memory::Map;
use crate::process::{Child, Rendezvous};
use crate::unload;

races![against_exit, against_exec, against_unloading];

const NR_PAGES: usize = 32;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Exit,
    Exec,
}

fn against_exit() {
    against(End::Exit);
}

fn against_exec() {
    against(End::Exec);
}

/// Processes that end while their threads take pages. One handle of each belongs to a file that this process has open,
/// too, and outlives it: the pages stay what they were, whoever wants memory meanwhile.
fn against(end: End) {
    let device = open();
    let orphans = Orphans::before();
    let nr_processes = scaled(8);
    for process in 0..nr_processes {
        let (ours, theirs) = Rendezvous::pair();
        let how = HOWS[process % HOWS.len()];
        let word = 0xe4d_0000_0001 + ((process as u64) << 8);
        let child = Child::run(|| {
            let map = Map::anon(NR_PAGES);
            let pages = pin(&device, &writable(map.addr, map.len_bytes).how(how));
            for page in 0..NR_PAGES {
                map.store(page * PAGE, &word.to_ne_bytes());
            }
            let handle = pages.into_handle();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(take_and_keep);
                }
                theirs.send(handle);
                thread::sleep(Duration::from_micros(process as u64 % 16 * 300));
                leave(end);
            });
        });
        let handle = ours.receive();
        // Whoever gets what was freed marks it.
        let mut squatter = Squatter::new();
        child.join();
        (0..16).for_each(|_| squatter.turn());
        for page in 0..NR_PAGES {
            let found = read(&device, handle, page * PAGE);
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
    println!("{nr_processes} processes ended by {end:?}");
    let nr = nr_processes as u64;
    total::add(nr, nr, nr * NR_PAGES as u64);
    orphans.check();
}

/// Takes pages until the process ends, with all that was taken.
fn take_and_keep() {
    let device = open();
    let map = Map::anon(NR_PAGES);
    for round in 0.. {
        let request = writable(map.addr, map.len_bytes).how(HOWS[round % HOWS.len()]);
        let pages = pin(&device, &request);
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
        // SAFETY: The lists end in a null pointer, the strings in a zero byte. The new program has nothing to say.
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
    // SAFETY: Takes no pointers.
    unsafe { libc::_exit(0) }
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

/// Nobody can take the module away from those who use it.
fn against_unloading() {
    let arena = Arena::small(2 * HUGE / PAGE);
    // The takers may not have opened theirs yet.
    let device = open();
    Race::new(&arena, 375).run(|_| {
        refused(unload::unload(), libc::EWOULDBLOCK, "unloading");
    });
    drop(device);
    no_reference_left(&arena);
}
