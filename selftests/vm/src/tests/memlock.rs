// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - held pages count as pinned memory of the process that took them: the pages taken, not the pages requested;
//! - a process without CAP_IPC_LOCK is refused with ENOMEM beyond its RLIMIT_MEMLOCK, and nothing stays taken or
//!   charged;
//! - the limit applies to the user, for all processes, open files and mechanisms together, and it still counts pages
//!   that a process has left in an open file when it ended;
//! - an open file holds no more than the caller's limit, no matter which users share it;
//! - CAP_IPC_LOCK lifts the limit, but not the capability in a user namespace;
//! - the charge is given back to the user and the process that were charged, no matter which process closes the file;
//! - COMPARE and MEASURE obey the limit too, and leave no charge.

use std::os::fd::{
    AsRawFd,
    FromRawFd,
    OwnedFd, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    raw,
    Device,
    Engine,
    Request, //
};
use rustix::thread::CapabilitySet;

use crate::harness::{
    fixture::{
        check,
        errno,
        fast_only,
        open,
        pin,
        refused,
        stats,
        HOWS,
        LASTING, //
    },
    memory::Map,
    process::{
        become_root_of_a_namespace,
        become_user,
        drop_capabilities,
        limit_locked_memory,
        pinned_kib,
        Child,
        Rendezvous,
        NOBODY, //
    },
    runner::tests, //
};

tests![
    charge_is_what_was_taken,
    charge_of_a_short_count,
    charge_per_handle,
    limit_without_privilege,
    limit_of_nothing,
    limit_of_all_files_together,
    limit_of_all_processes_together,
    limit_of_what_the_dead_left,
    limit_of_each_user,
    limit_of_an_open_file,
    limit_of_all_mechanisms_together,
    limit_without_the_capability,
    root_is_not_limited,
    charge_follows_the_one_who_pinned,
    charge_returns_when_another_closes,
    comparing_and_measuring,
];

/// Returns the size of a page, in KiB.
fn page_kib() -> u64 {
    page_bytes() as u64 / 1024
}

fn charge_is_what_was_taken() {
    let device = open();
    let map = Map::anon(16);
    for how in HOWS {
        for engine in [Engine::Rust, Engine::Kernel] {
            for (start, len, nr_pages) in [
                (0, 16 * page_bytes(), 16),
                (0, 1, 1),
                (page_bytes() - 1, 2, 2),
                (3 * page_bytes() + 1, page_bytes(), 2),
            ] {
                let request = Request::new(map.addr + start, len).how(how);
                let pinned = device.pin(&request, engine).expect("PIN");
                assert_eq!(
                    pinned_kib(),
                    nr_pages * page_kib(),
                    "{request:x?} by {engine:?}"
                );
                pinned.release().expect("UNPIN");
                assert_eq!(pinned_kib(), 0, "after {request:x?} by {engine:?}");
            }
        }
    }
}

fn charge_of_a_short_count() {
    let device = open();
    let map = Map::anon(9);
    map.unmap(4 * page_bytes(), page_bytes());
    for how in HOWS {
        for request in [map.request().how(how), fast_only(map.request().how(how))] {
            let pinned = pin(&device, &request);
            assert_eq!(pinned.nr_pages(), 4);
            assert_eq!(pinned_kib(), 4 * page_kib(), "{request:x?}");
        }
    }
    let untouched = Map::untouched(4);
    let nothing = pin(&device, &fast_only(untouched.request()));
    assert_eq!((nothing.nr_pages(), pinned_kib()), (0, 0));
}

fn charge_per_handle() {
    let device = open();
    let map = Map::anon(4);
    let a = pin(&device, &map.request());
    let b = pin(&device, &map.request());
    assert_eq!(pinned_kib(), 8 * page_kib(), "the same pages twice");
    drop(a);
    assert_eq!(pinned_kib(), 4 * page_kib());
    b.into_handle();
    drop(device);
    assert_eq!(pinned_kib(), 0, "after closing the device");
}

/// Runs `body` without privileges, with an open device and a limit of `nr_pages` pages of locked memory.
fn limited(nr_pages: usize, body: impl FnOnce(&Device)) {
    limited_as(NOBODY, nr_pages, body);
}

fn limited_as(user: u32, nr_pages: usize, body: impl FnOnce(&Device)) {
    let device = open();
    Child::run(|| {
        limit_locked_memory(nr_pages);
        become_user(user);
        body(&device);
        assert_eq!(pinned_kib(), 0, "VmPin in the end");
    })
    .join();
}

fn limit_without_privilege() {
    limited(8, |device| {
        let map = Map::anon(9);
        let held = || {
            let raw = device.stats().expect("STATS").raw;
            (raw.nr_handles, raw.nr_held_pages)
        };
        let before = held();
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        for how in LASTING {
            for engine in [Engine::Rust, Engine::Kernel] {
                let try_pin = |nr_pages| device.pin(&part(nr_pages).how(how), engine);
                refused(try_pin(9), libc::ENOMEM, "more than the limit");
                assert_eq!((held(), pinned_kib()), (before, 0), "after the refusal");
                let all = try_pin(8).expect("exactly the limit");
                refused(try_pin(1), libc::ENOMEM, "one page more");
                assert_eq!(pinned_kib(), 8 * page_kib());
                drop(all);
                let most = try_pin(7).expect("less than the limit");
                refused(try_pin(2), libc::ENOMEM, "together more than the limit");
                let last = try_pin(1).expect("together the limit");
                drop((most, last));
                assert_eq!((held(), pinned_kib()), (before, 0), "after releasing");
            }
            refused(
                device.pin(&fast_only(map.request().how(how)), Engine::Rust),
                libc::ENOMEM,
                "more than the limit, fast",
            );
        }
    });
}

fn limit_of_nothing() {
    limited(0, |device| {
        let map = Map::anon(1);
        for how in LASTING {
            refused(
                device.pin(&map.request().how(how), Engine::Rust),
                libc::ENOMEM,
                "one page",
            );
        }
        // Only the counters show that the pages were released.
        assert_eq!(device.stats().expect("STATS").raw.nr_held_pages, 0);
    });
}

fn limit_of_all_files_together() {
    let files = [(); 3].map(|()| open());
    limited(8, |_| {
        let map = Map::anon(4);
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        let held = [3, 3, 2].map(&part);
        let held: Vec<_> = files
            .iter()
            .zip(&held)
            .map(|(file, request)| pin(file, request))
            .collect();
        for file in &files {
            refused(file.pin(&part(1), Engine::Rust), libc::ENOMEM, "one more");
            refused(file.compare(&part(1)), libc::ENOMEM, "COMPARE");
        }
        assert_eq!(pinned_kib(), 8 * page_kib());
        drop(held);
    });
}

fn limit_of_all_processes_together() {
    limited(4, |device| {
        let map = Map::anon(4);
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        let ours = pin(device, &part(3));
        let (we, they) = Rendezvous::pair();
        let child = Child::run(|| {
            refused(device.pin(&part(2), Engine::Rust), libc::ENOMEM, "two");
            let theirs = pin(device, &part(1));
            assert_eq!(pinned_kib(), page_kib(), "the child's own");
            they.signal();
            they.wait();
            drop(theirs);
        });
        we.wait();
        assert_eq!(pinned_kib(), 3 * page_kib(), "the parent's own");
        refused(device.pin(&part(1), Engine::Rust), libc::ENOMEM, "one");
        we.signal();
        child.join();
        drop(pin(device, &part(1)));
        drop(ours);
    });
}

fn limit_of_what_the_dead_left() {
    limited(4, |device| {
        let map = Map::anon(4);
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        let (we, they) = Rendezvous::pair();
        let child = Child::run(|| they.send(pin(device, &part(3)).into_handle()));
        let handle = we.receive();
        child.join();
        assert_eq!(pinned_kib(), 0, "it was another process");
        refused(device.pin(&part(2), Engine::Rust), libc::ENOMEM, "two");
        drop(pin(device, &part(1)));
        let mut unpin = raw::rust_gup_unpin { handle };
        let result = crate::harness::fixture::call(device, raw::RUST_GUP_IOC_UNPIN, &mut unpin);
        assert_eq!(result, 0);
        drop(pin(device, &part(4)));
    });
}

fn limit_of_each_user() {
    // Two open files, so that the limit of an open file does not apply.
    let files = [open(), open()];
    let map = Map::anon(4);
    let (we, they) = Rendezvous::pair();
    let child = Child::run(|| {
        limit_locked_memory(4);
        become_user(1000);
        let _held = pin(&files[0], &map.request());
        they.signal();
        they.wait();
    });
    we.wait();
    limited(4, |_| drop(pin(&files[1], &map.request())));
    we.signal();
    child.join();
}

fn limit_of_an_open_file() {
    let device = open();
    let map = Map::anon(4);
    let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
    // Pages of callers without a limit are not counted.
    let _by_root = pin(&device, &map.request());
    let left: Vec<_> = (0..2)
        .map(|nr| {
            let (we, they) = Rendezvous::pair();
            let child = Child::run(|| {
                limit_locked_memory(4);
                become_user(1000 + nr);
                they.send(pin(&device, &part(2)).into_handle());
            });
            let handle = we.receive();
            child.join();
            handle
        })
        .collect();
    let another_user = |nr_pages, may: bool| {
        Child::run(|| {
            limit_locked_memory(4);
            become_user(1002);
            match device.pin(&part(nr_pages), Engine::Rust) {
                Ok(_) => assert!(may, "{nr_pages} more pages in the file"),
                error => refused(error, libc::ENOMEM, "more pages in the file"),
            }
        })
        .join();
    };
    another_user(1, false);
    drop(pin(&device, &part(1)));
    let mut unpin = raw::rust_gup_unpin { handle: left[0] };
    let result = crate::harness::fixture::call(&device, raw::RUST_GUP_IOC_UNPIN, &mut unpin);
    assert_eq!(result, 0);
    another_user(2, true);
    another_user(3, false);
}

/// io_uring charges its buffers to the same limit of the user.
fn limit_of_all_mechanisms_together() {
    // No other test uses this user: io_uring gives back the memory of its rings only some time after they are closed.
    limited_as(1003, 16, |device| {
        let map = Map::anon(12);
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        let held = pin(device, &part(8));
        let ring = Ring::new();
        assert_eq!(
            ring.register_buffer(map.addr, 12 * page_bytes()),
            Err(libc::ENOMEM),
            "io_uring, together with what is held"
        );
        drop(held);
        ring.register_buffer(map.addr, 12 * page_bytes())
            .expect("a buffer");
        refused(
            device.pin(&part(8), Engine::Rust),
            libc::ENOMEM,
            "together with io_uring",
        );
        ring.unregister_buffers();
    });
}

fn limit_without_the_capability() {
    let without: [fn(); 2] = [become_root_of_a_namespace, || {
        drop_capabilities(CapabilitySet::IPC_LOCK);
    }];
    for give_up in without {
        let device = open();
        Child::run(|| {
            limit_locked_memory(2);
            give_up();
            let map = Map::anon(3);
            for how in LASTING {
                let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes()).how(how);
                refused(device.pin(&part(3), Engine::Rust), libc::ENOMEM, "PIN");
                refused(device.compare(&part(3)), libc::ENOMEM, "COMPARE");
                drop(pin(&device, &part(2)));
            }
            assert_eq!(pinned_kib(), 0);
        })
        .join();
    }
}

fn root_is_not_limited() {
    Child::run(|| {
        limit_locked_memory(0);
        let device = open();
        let map = Map::anon(10);
        let pinned = pin(&device, &map.request());
        assert_eq!((pinned.nr_pages(), pinned_kib()), (10, 10 * page_kib()));
        drop(pinned);
        assert_eq!(pinned_kib(), 0);
    })
    .join();
}

fn charge_follows_the_one_who_pinned() {
    let device = open();
    Child::run(|| {
        let map = Map::anon(3);
        let pinned = pin(&device, &map.request());
        assert_eq!(pinned_kib(), 3 * page_kib());
        pinned.into_handle();
    })
    .join();
    assert_eq!(pinned_kib(), 0, "the one who opened the device");
    // The child has ended, but its pages are still held.
    assert_eq!(stats().expect("STATS").nr_held_pages, 3);
}

fn charge_returns_when_another_closes() {
    let device = open();
    let (ours, theirs) = Rendezvous::pair();
    let map = Map::anon(6);
    let request = map.request();
    let handle = pin(&device, &request).into_handle();
    let child = Child::run(|| {
        theirs.wait();
        let mut unpin = raw::rust_gup_unpin { handle };
        let second = pin(&device, &request);
        assert_eq!(pinned_kib(), 6 * page_kib(), "the child's own");
        second.release().expect("UNPIN");
        assert_eq!(pinned_kib(), 0, "the child's own");
        assert_eq!(
            crate::harness::fixture::call(&device, raw::RUST_GUP_IOC_UNPIN, &mut unpin),
            0
        );
        assert_eq!(pinned_kib(), 0, "the child");
    });
    assert_eq!(pinned_kib(), 6 * page_kib());
    ours.signal();
    child.join();
    assert_eq!(pinned_kib(), 0, "released by the child");

    // Now the last close of the file releases the pages, instead of UNPIN.
    pin(&device, &request).into_handle();
    let child = Child::run(|| theirs.wait());
    drop(device);
    assert_eq!(pinned_kib(), 6 * page_kib(), "the child has the file open");
    ours.signal();
    child.join();
    assert_eq!(pinned_kib(), 0, "closed by the child");
}

fn comparing_and_measuring() {
    limited(4, |device| {
        let map = Map::anon(5);
        let part = |nr_pages| Request::new(map.addr, nr_pages * page_bytes());
        let engines = [Engine::Rust, Engine::Kernel];
        for how in HOWS {
            // COMPARE runs the engines one after the other, so it needs no more than the range at a time.
            let compared = device.compare(&part(4).how(how)).expect("COMPARE").raw;
            assert_eq!((compared.differences, compared.nr_equal), (0, 4));
            assert_eq!(pinned_kib(), 0, "after comparing");
            refused(device.compare(&part(5).how(how)), libc::ENOMEM, "COMPARE");
            // A round of MEASURE holds the pages of only one call at a time.
            let measured = device
                .measure(&part(5).how(how), engines, 2, 4)
                .expect("MEASURE");
            assert_eq!((measured.samples.len(), pinned_kib()), (2, 0));
            refused(
                device.measure(&part(5).how(how), engines, 2, 5),
                libc::ENOMEM,
                "MEASURE",
            );
            assert_eq!(pinned_kib(), 0, "after the refusals");
        }
    });
}

/// A ring of io_uring. The test uses only its registered buffers.
struct Ring(OwnedFd);

impl Ring {
    fn new() -> Self {
        // struct io_uring_params. All of it is zero on input.
        let mut parameters = [0_u8; 120];
        // SAFETY: The kernel writes the parameters to this array, which has the size of the structure.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
        let fd = check(fd).expect("io_uring_setup");
        // SAFETY: The descriptor was opened just now, and nothing else owns it.
        Self(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    fn register(&self, opcode: u32, argument: *const libc::iovec, nr: u32) -> i32 {
        let fd = self.0.as_raw_fd();
        // SAFETY: The caller passes the argument that the operation expects.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, argument, nr) };
        errno(check(result))
    }

    /// Registers a buffer (`IORING_REGISTER_BUFFERS`). Returns the error number if the kernel refuses.
    fn register_buffer(&self, addr: usize, len_bytes: usize) -> Result<(), i32> {
        let buffer = libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(addr),
            iov_len: len_bytes,
        };
        match self.register(0, &buffer, 1) {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    /// Unregisters the buffers (`IORING_UNREGISTER_BUFFERS`).
    fn unregister_buffers(&self) {
        assert_eq!(self.register(1, std::ptr::null(), 0), 0, "unregister");
    }
}
