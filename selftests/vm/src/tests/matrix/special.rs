// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel or a driver mapped on its own.

use std::{
    fs::{
        File,
        OpenOptions, //
    },
    io,
    ops::Range,
    os::fd::{
        AsRawFd,
        FromRawFd, //
    }, //
};

use libc::c_int;
use rust_gup_memory::{
    file,
    size::page_bytes, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_STOP_NO_MAPPING as NO_MAPPING,
        RUST_GUP_STOP_READ_ONLY as READ_ONLY,
        RUST_GUP_STOP_SECRET as SECRET,
        RUST_GUP_STOP_SPECIAL as SPECIAL,
        RUST_GUP_STOP_UNSHARE as UNSHARE, //
    },
    Engine,
    How,
    Request, //
};
use rustix::fs::{
    fcntl_add_seals,
    MemfdFlags,
    SealFlags, //
};

use super::{
    file::map_file,
    situation::{
        fill,
        touch,
        Way, //
    },
    Page,
    Scene,
    Situation, //
};
use crate::{
    arch::{
        FIRMWARE,
        GATE_ADDR, //
    },
    harness::{
        fixture::{
            check,
            kernel_is_at_least,
            open,
            refused,
            ACCESSES,
            HOWS, //
        },
        memory::{
            unowned_is_fast,
            Map,
            RW, //
        },
        proof::kpf,
        runner::{
            skip,
            Test, //
        }, //
    }, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("secret", secret),
    Situation::new("secret_in_a_file", secret_in_a_file),
    Situation::new("vdso", vdso),
    Situation::new("vvar", vvar),
    Situation::new("pages_of_a_driver", pages_of_a_driver),
    Situation::new("udmabuf", udmabuf),
    Situation::new("dev_mem", dev_mem),
];

const NR_PAGES: usize = 16;

/// Returns a test of addresses that are not user space for either engine.
pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("matrix", "gate_page", gate_page)]
}

/// Returns the file of a descriptor that a system call has returned.
pub(super) fn owned(fd: c_int) -> File {
    // SAFETY: The kernel has just opened it for us, and nothing else owns it.
    unsafe { File::from_raw_fd(fd) }
}

fn secret() -> Scene {
    let Ok(file) = file::secret(NR_PAGES * page_bytes()) else {
        skip("no secret memory: boot with secretmem.enable=1, CONFIG_SECRETMEM");
    };
    let map = map_file(&file, NR_PAGES * page_bytes(), RW, libc::MAP_SHARED);
    let words = fill(&map);
    assert!(map.line().contains("secretmem"), "{}", map.line());
    Scene::new(map, words, |_, _| Page::refused(SECRET, libc::EFAULT))
}

/// Secret memory between pages of a file: what is known of the file must not be taken for true of its neighbours.
fn secret_in_a_file() -> Scene {
    const SECRET_PAGES: Range<usize> = 6..10;
    let len_bytes = SECRET_PAGES.len() * page_bytes();
    let Ok(secret) = file::secret(len_bytes) else {
        skip("no secret memory: boot with secretmem.enable=1, CONFIG_SECRETMEM");
    };
    let file = file::memfd(MemfdFlags::empty(), NR_PAGES * page_bytes()).expect("memfd_create");
    let map = map_file(&file, NR_PAGES * page_bytes(), RW, libc::MAP_SHARED);
    let begin = map.addr + SECRET_PAGES.start * page_bytes();
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let inner = Map::new(begin, len_bytes, RW, flags, secret.as_raw_fd()).expect("mmap");
    let words = fill(&map);
    Scene::new(map, words, |_, page| {
        if SECRET_PAGES.contains(&page) {
            Page::refused(SECRET, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
    .keep(inner)
}

fn vdso() -> Scene {
    let Some(map) = Map::of_kernel("[vdso]") else {
        skip("no mapping [vdso] in /proc/self/maps: boot without vdso=0");
    };
    let words = touch(&map);
    let is_fast = unowned_is_fast();
    Scene::new(map, words, move |way, _| match (way.is_write(), way.how) {
        (true, _) => Page::refused(READ_ONLY, libc::EFAULT),
        // The slow path makes a private copy.
        (false, How::LongTerm) if is_fast => Page::readied(UNSHARE, 0),
        (false, How::LongTerm) => Page::readied(NO_MAPPING, 0),
        (false, _) if is_fast => Page::fast(0),
        (false, _) => Page::slow(NO_MAPPING),
    })
    .unguarded()
}

/// The page with the kernel's time data.
fn vvar() -> Scene {
    let Some(map) = Map::of_kernel("[vvar]") else {
        skip("no mapping [vvar] in /proc/self/maps: boot without vdso=0");
    };
    let map = map.part(0, page_bytes());
    let words = touch(&map);
    // Before 7.3 it also counted as memory of a device (VM_IO, lib/vdso/datastore.c), which the slow path refuses.
    let is_device = !kernel_is_at_least(7, 3);
    let is_fast = unowned_is_fast();
    Scene::new(map, words, move |way, _| match (way.is_write(), way.how) {
        (true, _) => Page::refused(READ_ONLY, libc::EFAULT),
        (false, _) if !is_fast => Page::refused(NO_MAPPING, libc::EFAULT),
        (false, How::LongTerm) if is_device => Page::refused(UNSHARE, libc::EFAULT),
        (false, _) if is_device => Page::only_fast(),
        // The process may never write to the page, so no copy is needed. Only the VMA says so.
        (false, How::LongTerm) => Page::slow(UNSHARE),
        (false, _) => Page::fast(0),
    })
    .unguarded()
    .unsteady()
}

/// A page that a driver allocated and mapped, of a ring of io_uring.
fn pages_of_a_driver() -> Scene {
    const OFFSET_SQES: usize = 0x1000_0000;
    let mut parameters = [0_u32; 30];
    // SAFETY: The structure has 120 bytes.
    let fd = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) });
    let Ok(fd) = fd else {
        skip("no io_uring: CONFIG_IO_URING, kernel.io_uring_disabled=0");
    };
    let file = owned(fd as c_int);
    // io_uring chooses the address itself.
    let at = (file.as_raw_fd(), OFFSET_SQES);
    let map = Map::with_offset(0, page_bytes(), RW, libc::MAP_SHARED, at).expect("mmap");
    let words = fill(&map);
    map.prove_kind(kpf::ANON | kpf::COMPOUND_HEAD | kpf::COMPOUND_TAIL, 0);
    let is_fast = unowned_is_fast();
    Scene::new(map, words, move |way: Way, _| {
        if !is_fast || way.how == How::LongTerm && way.is_write() {
            Page::slow(NO_MAPPING)
        } else {
            Page::fast(0)
        }
    })
    .keep(file)
    .unguarded()
}

/// Pages of a memfd that a driver maps by frame number only.
fn udmabuf() -> Scene {
    const UDMABUF_CREATE: u32 = libc::_IOW::<[u8; 0x18]>(0x75, 0x42) as u32;
    let Ok(device) = OpenOptions::new().write(true).open("/dev/udmabuf") else {
        skip("no /dev/udmabuf: CONFIG_UDMABUF");
    };
    let len = NR_PAGES * page_bytes();
    let memfd = file::memfd(MemfdFlags::ALLOW_SEALING, len).expect("a memfd");
    fcntl_add_seals(&memfd, SealFlags::SHRINK).expect("a seal");
    let mut create = [memfd.as_raw_fd() as u64, 0, len as u64];
    // SAFETY: The structure has 24 bytes.
    let fd = check(unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            UDMABUF_CREATE.into(),
            create.as_mut_ptr(),
        )
    });
    let buffer = owned(fd.expect("UDMABUF_CREATE"));
    let shared = |file: &File| {
        let at = (file.as_raw_fd(), 0);
        Map::guarded(len, page_bytes(), RW, libc::MAP_SHARED, at).expect("mmap")
    };
    let (pages, map) = (shared(&memfd), shared(&buffer));
    let words = fill(&map);
    assert_eq!(touch(&pages), words, "the same memory");
    map.prove_vm_flag("pf");
    Scene::new(map, words, |_, _| Page::refused(SPECIAL, libc::EFAULT))
        .keep(pages)
        .keep((memfd, buffer))
}

/// The firmware, which has no `struct page`.
fn dev_mem() -> Scene {
    let file = OpenOptions::new().read(true).write(true).open("/dev/mem");
    let Ok(file) = file else {
        skip("no /dev/mem: CONFIG_DEVMEM");
    };
    let at = (file.as_raw_fd(), FIRMWARE + 0xf_0000);
    let map = Map::guarded(
        NR_PAGES * page_bytes(),
        page_bytes(),
        RW,
        libc::MAP_SHARED,
        at,
    );
    let map = match map {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            skip("ordinary memory where a PC has firmware: CONFIG_STRICT_DEVMEM")
        }
        map => map.expect("mmap"),
    };
    let words = touch(&map);
    map.prove_vm_flag("pf");
    Scene::new(map, words, |_, _| Page::refused(SPECIAL, libc::EFAULT))
}

fn gate_page() {
    let device = open();
    for how in HOWS {
        for access in ACCESSES {
            let request = Request::new(GATE_ADDR, 1).how(how).access(access);
            for engine in [Engine::Kernel, Engine::Rust] {
                let what = format!("{how:?}, {access:?}, {engine:?}");
                refused(device.pin(&request, engine), libc::EFAULT, &what);
            }
            refused(device.compare(&request), libc::EFAULT, "COMPARE");
        }
    }
}
