// SPDX-License-Identifier: GPL-2.0

//! Memory that delays each access: userfaultfd, with a thread that answers after a while.

use std::{
    mem::zeroed,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    sync::{
        Arc,
        Barrier, //
    },
    thread,
    time::Duration, //
};

use rust_gup_memory::size::page_bytes;

use super::arena::{
    Arena,
    Region, //
};
use crate::harness::{
    fixture::check,
    memory::userfaultfd, //
};

const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_WAKE: libc::c_ulong = libc::_IOR::<[u8; 0x10]>(0xaa, 2);
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const MODE_MISSING: u64 = 1;
const EVENT_PAGEFAULT: u8 = 0x12;
/// Size of struct uffd_msg in words. The event is the first byte, the address the third word.
const MESSAGE_WORDS: usize = 4;

/// Makes faults in [`Region::Blocked`] wait until a thread answers them. Needs privileges.
pub(super) fn register(arena: &Arena) -> OwnedFd {
    let (file, _) = userfaultfd(0).expect("userfaultfd");
    let start = arena.addr(0, Region::Blocked, 0) as u64;
    let len_bytes = Region::Blocked.len_bytes() as u64;
    let mut register = [start, len_bytes, MODE_MISSING, 0];
    // SAFETY: The structure has this many 64-bit fields.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), UFFDIO_REGISTER, &mut register) };
    check(result).expect("UFFDIO_REGISTER");
    file
}

/// Starts the thread that answers the faults, and returns when it runs.
pub(super) fn start(file: OwnedFd) {
    let running = Arc::new(Barrier::new(2));
    let here = Arc::clone(&running);
    thread::spawn(move || {
        running.wait();
        answer(&file);
    });
    here.wait();
}

/// Answers faults until the process ends, or closes all its files.
fn answer(file: &OwnedFd) {
    loop {
        // SAFETY: All zeroes is a valid value.
        let mut message: [u64; MESSAGE_WORDS] = unsafe { zeroed() };
        let size = size_of_val(&message);
        // SAFETY: `message` has room for one message.
        let result = unsafe { libc::read(file.as_raw_fd(), message.as_mut_ptr().cast(), size) };
        if result < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
            continue;
        }
        if result != size as isize {
            return;
        }
        if message[0] as u8 != EVENT_PAGEFAULT {
            continue;
        }
        let page = message[2] & !(page_bytes() as u64 - 1);
        thread::sleep(Duration::from_micros(100));
        let mut zeropage = [page, page_bytes() as u64, 0, 0];
        let range = [page, page_bytes() as u64];
        // SAFETY: The structures have four and two 64-bit fields.
        unsafe {
            // The call fails if the fault has been answered, if the page is unmapped, or if it cannot be answered now.
            // Wake the waiting thread then, so that it retries the access.
            if libc::ioctl(file.as_raw_fd(), UFFDIO_ZEROPAGE, &mut zeropage) != 0 {
                libc::ioctl(file.as_raw_fd(), UFFDIO_WAKE, &range);
            }
        }
    }
}
