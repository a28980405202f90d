// SPDX-License-Identifier: GPL-2.0

//! Tests of requests that the driver refuses, and of information that it does not reveal.

use std::{
    fs::OpenOptions,
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    path::Path,
    ptr::with_exposed_provenance_mut,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::size::page_bytes;
use rust_gup_uapi::{
    edu::{
        raw,
        Edu,
        Method,
        Use, //
    },
    raw::RUST_GUP_STOP_PROT_NONE, //
};
use rustix::thread::CapabilitySet;

use super::{
    edu,
    from_device,
    is,
    register,
    round_trips, //
};
use crate::harness::{
    disks::Disk,
    fixture::{
        errno,
        pattern,
        refused, //
    },
    memory::{
        Map,
        RW, //
    },
    process::{
        become_nobody,
        drop_capabilities,
        limit_locked_memory,
        pinned_kib,
        Child, //
    }, //
};

pub(super) fn bounds() {
    let edu = edu();
    let map = Map::anon(4);
    let data = map.fill(1);
    let register = |len: usize| edu.register(map.addr, len, Use::ReadWrite, Method::Runs);
    refused(register(0), libc::EINVAL, "no bytes");
    refused(register((1 << 30) + 1), libc::EINVAL, "too many bytes");
    // Nothing is mapped behind the first pages.
    refused(register(1 << 29), libc::EFAULT, "bytes that are not there");

    for (flags, method, reserved) in [(2, 0, 0), (0, 3, 0), (0, 0, 1)] {
        let mut request = raw::edu_dma_register {
            addr: map.addr as u64,
            len_bytes: 1,
            flags,
            method,
            reserved,
            ..Default::default()
        };
        // SAFETY: The call takes this structure.
        let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_REGISTER, &mut request) };
        refused(result, libc::EINVAL, "unknown flag, method, reserved field");
    }

    // The stop reason and address are also reported if the call fails.
    map.protect(2 * page_bytes(), page_bytes(), libc::PROT_NONE);
    let mut request = raw::edu_dma_register {
        addr: (map.addr + 2 * page_bytes()) as u64,
        len_bytes: 1,
        ..Default::default()
    };
    // SAFETY: The call takes this structure.
    let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_REGISTER, &mut request) };
    refused(result, libc::EFAULT, "no access");
    assert_eq!(request.stop, RUST_GUP_STOP_PROT_NONE);
    assert_eq!(request.stop_addr, request.addr);
    map.protect(2 * page_bytes(), page_bytes(), RW);

    let buffer = register(map.len_bytes).expect("REGISTER");
    let device_bytes = raw::EDU_DMA_DEVICE_BYTES as usize;
    let whole = map.len_bytes;
    for (offset, len, at) in [
        (0, device_bytes + 1, 0),
        (0, 1, raw::EDU_DMA_DEVICE_BYTES),
        (0, 2, raw::EDU_DMA_DEVICE_BYTES - 1),
        (0, 1, u32::MAX),
        (whole, 1, 0),
        (whole - 1, 2, 0),
        (usize::MAX, 2, 0),
        (0, usize::MAX, 0),
    ] {
        let what = format!("{len:#x} bytes at {offset:#x}, device {at:#x}");
        refused(buffer.copy_to_device(offset, len, at), libc::EINVAL, &what);
        refused(from_device(&buffer, offset, len, at), libc::EINVAL, &what);
    }
    is(&map, &data);
    // Transfer the device's whole memory at once. QEMU 7.2 would abort if the driver did that in one piece.
    buffer.copy_to_device(0, device_bytes, 0).expect("whole");
    from_device(&buffer, 2 * page_bytes(), device_bytes, 0).expect("whole");
    let mut expected = data;
    expected.copy_within(0..device_bytes, 2 * page_bytes());
    is(&map, &expected);

    for handle in [0, 2, u64::MAX] {
        let mut transfer = raw::edu_dma_transfer {
            handle,
            len_bytes: 1,
            ..Default::default()
        };
        // SAFETY: The call takes this structure.
        let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_TRANSFER, &mut transfer) };
        refused(result, libc::ENOENT, "no such buffer");
    }
    // SAFETY: As above.
    let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_TRANSFER + 1, &mut 0_u64) };
    refused(result, libc::ENOTTY, "no such call");
    drop(buffer);

    // Each buffer has a page of its own: CONFIG_DMA_API_DEBUG would take the eighth mapping of a page for a leak.
    let map = Map::anon(raw::EDU_DMA_MAX_BUFFERS as usize);
    let register = |page: usize| {
        let addr = map.addr + page * page_bytes();
        edu.register(addr, page_bytes(), Use::ReadWrite, Method::Runs)
    };
    let buffers: Vec<_> = (0..map.nr_pages())
        .map(|page| register(page).expect("REGISTER"))
        .collect();
    refused(register(0), libc::ENOSPC, "too many buffers");
    drop(buffers);
    register(0).expect("REGISTER");
}

pub(super) fn read_only_buffer() {
    let edu = edu();
    let map = Map::anon(2);
    let data = map.fill(3);
    map.protect(0, map.len_bytes, libc::PROT_READ);
    refused(
        edu.register(map.addr, page_bytes(), Use::ReadWrite, Method::Runs),
        libc::EFAULT,
        "memory that is only readable",
    );
    let buffer = edu
        .register(map.addr, map.len_bytes, Use::Read, Method::Runs)
        .expect("REGISTER");
    buffer.copy_to_device(10, 500, 0).expect("to the device");
    refused(
        from_device(&buffer, 0, 1, 0),
        libc::EACCES,
        "a transfer to it",
    );
    is(&map, &data);
    drop(buffer);

    let other = Map::anon(2);
    let mut expected = other.fill(4);
    from_device(&register(&edu, &other, 0, page_bytes()), 1, 500, 0).expect("from the device");
    expected[1..501].copy_from_slice(&data[10..510]);
    is(&other, &expected);
}

pub(super) fn shared_file_refused() {
    let disk = Disk::new(8 << 20);
    let path = Path::new(disk.mounted).join("file");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .expect("a file");
    file.write_all_at(&pattern(0, 4 * page_bytes()), 0)
        .expect("write");
    let map = Map::new(0, 4 * page_bytes(), RW, libc::MAP_SHARED, file.as_raw_fd()).expect("mmap");
    map.set(0, map.get(0));
    let edu = edu();
    // Write-back could not know what the device writes.
    for method in Method::ALL {
        refused(
            edu.register(map.addr, map.len_bytes, Use::ReadWrite, method),
            libc::EFAULT,
            &format!("writing to a file, {}", method.name()),
        );
    }
    // Registering the file for reading is allowed.
    let buffer = edu
        .register(map.addr, map.len_bytes, Use::Read, Method::Runs)
        .expect("REGISTER");
    buffer.copy_to_device(5, 100, 0).expect("to the device");
    drop(buffer);
    drop(map);
    // Private copies of the file's pages belong to the process.
    let map = Map::new(0, 4 * page_bytes(), RW, libc::MAP_PRIVATE, file.as_raw_fd()).expect("mmap");
    round_trips(&edu, &map, Method::Runs);
}

pub(super) fn limit_of_locked_memory() {
    let edu = edu();
    Child::run(|| {
        limit_locked_memory(8);
        become_nobody();
        let map = Map::anon(9);
        let register = |nr_pages: usize, method| {
            edu.register(map.addr, nr_pages * page_bytes(), Use::ReadWrite, method)
        };
        for method in Method::ALL {
            let name = method.name();
            refused(register(9, method), libc::ENOMEM, name);
            assert_eq!(pinned_kib(), 0, "after the refusal, {name}");
            let some = register(5, method).expect("less than the limit");
            refused(register(4, method), libc::ENOMEM, name);
            let rest = register(3, method).expect("together the limit");
            refused(register(1, method), libc::ENOMEM, name);
            assert_eq!(pinned_kib(), (8 * page_bytes() / 1024) as u64, "{name}");
            drop((some, rest));
        }
        // The same limit applies to both ways of pinning.
        let methods = [Method::Runs, Method::Kernel];
        let held = methods.map(|method| register(4, method).expect("together the limit"));
        for method in methods {
            refused(register(1, method), libc::ENOMEM, method.name());
        }
        drop(held);
        assert_eq!(pinned_kib(), 0);
    })
    .join();
}

pub(super) fn layout_is_hidden() {
    let edu = edu();
    let layout = |method| {
        let map = Map::huge(1);
        let buffer = edu.register(map.addr, map.len_bytes, Use::Read, method);
        let buffer = buffer.expect("REGISTER");
        let raw = *buffer.raw();
        assert_eq!(raw.nr_pages, map.nr_pages() as u64);
        let end = buffer.unregister().expect("UNREGISTER");
        [
            raw.nr_entries,
            raw.nr_segments,
            raw.list_bytes,
            raw.dma_addr,
            raw.take_ns,
            raw.list_ns,
            raw.map_ns,
            end.unmap_ns,
            end.release_ns,
        ]
    };
    for method in Method::ALL {
        let all = layout(method);
        assert!(all.iter().all(|&number| number != 0), "root sees {all:x?}");
        Child::run(|| {
            drop_capabilities(CapabilitySet::SYS_ADMIN);
            assert_eq!(layout(method), [0; 9], "{}", method.name());
        })
        .join();
    }
    // The time of a transfer depends on page borders, but not on whether the pages are contiguous.
    let map = Map::huge(1);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let ns = buffer.copy_to_device(page_bytes() - 500, 1000, 0);
    let ms = ns.expect("TRANSFER") / 1_000_000;
    assert!(ms > 190, "a chunk for each page, but it took {ms} ms");
}

/// Registers buffers whose handles cannot be reported. Other threads must not be able to unregister them, and the
/// failure must not unregister the buffers of others.
pub(super) fn handle_that_cannot_be_told() {
    let edu = edu();
    let map = Map::anon(2);
    let own = || edu.register(map.addr, page_bytes(), Use::Read, Method::Runs);
    // The structure can be read, but not written.
    let argument = Map::anon(1);
    let request = raw::edu_dma_register {
        addr: (map.addr + page_bytes()) as u64,
        len_bytes: page_bytes() as u64,
        ..Default::default()
    };
    // SAFETY: The mapping is larger than the structure, and aligned.
    unsafe { with_exposed_provenance_mut::<raw::edu_dma_register>(argument.addr).write(request) };
    argument.protect(0, page_bytes(), libc::PROT_READ);
    let deadline = Instant::now() + Duration::from_secs(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < deadline {
                // SAFETY: As above. Nothing is read or written through the reference.
                let result = unsafe {
                    let argument =
                        with_exposed_provenance_mut::<raw::edu_dma_register>(argument.addr);
                    edu.ioctl(raw::EDU_DMA_IOC_REGISTER, &mut *argument)
                };
                refused(result, libc::EFAULT, "an answer that cannot be written");
            }
        });
        while Instant::now() < deadline {
            let buffer = own().expect("REGISTER");
            let handle = buffer.raw().handle;
            for guess in (1..4).chain(handle + 1..handle + 8) {
                if guess != handle {
                    assert_eq!(unregister(&edu, guess), libc::ENOENT, "handle {guess}");
                }
            }
            buffer.unregister().expect("nobody else may");
        }
    });
}

fn unregister(edu: &Edu, handle: u64) -> i32 {
    let mut unregister = raw::edu_dma_unregister {
        handle,
        ..Default::default()
    };
    // SAFETY: The call takes this structure.
    errno(unsafe { edu.ioctl(raw::EDU_DMA_IOC_UNREGISTER, &mut unregister) })
}
