// SPDX-License-Identifier: GPL-2.0

//! Verify of a device that reads and writes memory which the walker pinned, through `samples/edu_dma`, that
//!
//! - each byte arrives, both ways, in all kinds of memory, and no other byte changes;
//! - that stays so when the owner forks and writes, forbids itself the access, unmaps, or is killed, and when the kernel
//!   wants to move or to swap the pages, while the device is at work;
//! - memory that may not be pinned for long is moved first, or refused, as the kernel's own functions do;
//! - the driver goes and comes back in the middle of a transfer, and rust_gup stays as long as it is needed;
//! - with an IOMMU, the device reaches nothing that is not mapped for it.
//!
//! They run on machines with QEMU's edu device, on which edu_dma.ko is loaded. The runner fails them for each DMA fault
//! in the kernel's log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::with_exposed_provenance_mut;
use std::thread;
use std::time::{Duration, Instant};

use rust_gup_uapi::edu::{raw, Buffer, Edu, Method, Use};
use rust_gup_uapi::memory::Kind;
use rust_gup_uapi::raw::{RUST_GUP_STOP_LONGTERM, RUST_GUP_STOP_PROT_NONE};

use crate::fixture::{check, holds, open, pattern, pin, refused, scaled, stats, PAGE};
use crate::memory::{frames, hugetlb_pool, Map, RW};
use crate::placement::{movable_frames, need_movable_memory};
use crate::process::{Child, Rendezvous};
use crate::runner::{skip, Test};

/// What the kernel logs when the IOMMU stops the device.
const FAULTS: &[&str] = &["DMAR:"];
const DRIVER: &str = "/sys/bus/pci/drivers/edu_dma";
/// Long enough for a transfer to have begun, and not to be over.
const IN_FLIGHT: Duration = Duration::from_millis(60);

/// The PCI device, if the machine has it.
fn pci_device() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/bus/pci/devices").ok()?;
    let is = |path: &Path, file: &str, id: &str| {
        fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == id)
    };
    devices
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| is(path, "vendor", "0x1234") && is(path, "device", "0x11e8"))
}

fn has_iommu() -> bool {
    fs::read_dir("/sys/kernel/iommu_groups").is_ok_and(|mut groups| groups.next().is_some())
}

pub(crate) fn tests() -> Vec<Test> {
    // A machine without the device has no such tests. One that is meant for them names them, and fails if there is none.
    if pci_device().is_none() {
        return Vec::new();
    }
    let kinds = [
        Kind::Anon4k,
        Kind::Thp2m,
        Kind::Thp2mSplit,
        Kind::Mthp64k,
        Kind::Hugetlb2m,
        Kind::Tmpfs,
        Kind::TmpfsHuge,
        Kind::Memfd,
        Kind::AnonForked,
        Kind::FilePrivateCow,
    ];
    let mut tests: Vec<Test> = kinds
        .map(|kind| {
            let name = format!("integrity::{kind}");
            Test::new(module_path!(), &name, move || integrity(kind))
        })
        .into();
    let more: [(&str, fn()); 16] = [
        ("movable_memory", movable_memory),
        ("every_method", every_method),
        ("bounds", bounds),
        ("read_only_buffer", read_only_buffer),
        ("shared_file_refused", shared_file_refused),
        ("unregister_while_at_work", unregister_while_at_work),
        ("fork_and_write", fork_and_write),
        ("fork_and_child_writes", fork_and_child_writes),
        ("mprotect", mprotect),
        ("munmap", munmap),
        ("migration_and_swap", migration_and_swap),
        ("killed", killed),
        ("closed_without_unregister", closed_without_unregister),
        ("unbind_while_at_work", unbind_while_at_work),
        ("remove_while_at_work", remove_while_at_work),
        ("modules_stay", modules_stay),
    ];
    tests.extend(more.map(|(name, run)| Test::new(module_path!(), name, run)));
    tests.push(
        Test::new(module_path!(), "what_is_not_mapped", what_is_not_mapped).expect_log(FAULTS),
    );
    tests
}

fn edu() -> Edu {
    Edu::open().expect("the device opens")
}

#[track_caller]
fn register<'e>(edu: &'e Edu, map: &Map, offset: usize, len: usize) -> Buffer<'e> {
    edu.register(map.addr + offset, len, Use::ReadWrite, Method::Runs)
        .expect("REGISTER")
}

/// Copies from the device. The tests access the memory by `Map` alone, which lends no references.
fn from_device(buffer: &Buffer<'_>, offset: usize, len: usize, at: u32) -> io::Result<u64> {
    // SAFETY: As above.
    unsafe { buffer.copy_from_device(offset, len, at) }
}

/// Leaves `data` in the device's memory.
fn preset(edu: &Edu, data: &[u8]) {
    let map = Map::anon(data.len().div_ceil(PAGE));
    map.store(0, data);
    let buffer = edu.register(map.addr, data.len(), Use::Read, Method::Runs);
    buffer
        .expect("REGISTER")
        .copy_to_device(0, data.len(), 0)
        .expect("TRANSFER");
}

/// Fails where `map` is not `expected`, and says where.
#[track_caller]
fn is(map: &Map, expected: &[u8]) {
    let found = map.load(0, expected.len());
    if let Some(at) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!("{:#x} at {at:#x}, expected {:#x}", found[at], expected[at]);
    }
}

/// Sends some bytes of a buffer to the device and has them written to other places of it.
fn round_trips(edu: &Edu, map: &Map, method: Method) {
    // Begins and ends within a page.
    const SKIPPED: usize = 123;
    let mut expected = map.fill(7);
    let len = map.len_bytes - 2 * SKIPPED;
    let buffer = edu
        .register(map.addr + SKIPPED, len, Use::ReadWrite, method)
        .expect("REGISTER");
    assert_eq!(buffer.raw().nr_pages, map.nr_pages() as u64);
    assert_ne!(buffer.raw().nr_entries, 0);
    // From, to, length: within a page, across pages and chunks, the first bytes and the last ones.
    let moves = [
        (0, len - 100, 100),
        (PAGE - 700 - SKIPPED, len / 2 - 900, 3000),
        (len - 33, 1, 33),
    ];
    for (from, to, nr) in moves {
        buffer.copy_to_device(from, nr, 64).expect("to the device");
        from_device(&buffer, to, nr, 64).expect("from the device");
        let (from, to) = (SKIPPED + from, SKIPPED + to);
        expected.copy_within(from..from + nr, to);
        is(map, &expected);
    }
    buffer.unregister().expect("UNREGISTER");
    is(map, &expected);
}

fn integrity(kind: Kind) {
    let _pool = (kind == Kind::Hugetlb2m).then(|| hugetlb_pool(4));
    let map = Map::of(kind, (2 * kind.granule_bytes()).max(8 * PAGE));
    round_trips(&edu(), &map, Method::Runs);
}

fn every_method() {
    let edu = edu();
    for method in Method::ALL {
        let map = Map::anon(8);
        round_trips(&edu, &map, method);
    }
    // All of them see the same memory, and only runs keep its list short.
    let map = Map::huge(1);
    let [runs, pages, kernel] = Method::ALL.map(|method| {
        let buffer = edu
            .register(map.addr, map.len_bytes, Use::ReadWrite, method)
            .expect("REGISTER");
        *buffer.raw()
    });
    for other in [&pages, &kernel] {
        assert_eq!(runs.nr_pages, other.nr_pages);
        assert_eq!(runs.nr_entries, other.nr_entries);
        assert!(runs.list_bytes < other.list_bytes);
    }
    assert_eq!(runs.nr_entries, 1);
    assert_eq!(runs.nr_fast, runs.nr_pages);
}

fn bounds() {
    let edu = edu();
    let map = Map::anon(4);
    let data = map.fill(1);
    let register = |len: usize| edu.register(map.addr, len, Use::ReadWrite, Method::Runs);
    refused(register(0), libc::EINVAL, "no bytes");
    refused(register((1 << 30) + 1), libc::EINVAL, "too many bytes");
    // There is nothing behind the first pages.
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
        // SAFETY: The structure is that of the call.
        let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_REGISTER, &mut request) };
        refused(result, libc::EINVAL, "unknown flag, method, reserved field");
    }

    // Why and where is said all the same.
    map.protect(2 * PAGE, PAGE, libc::PROT_NONE);
    let mut request = raw::edu_dma_register {
        addr: (map.addr + 2 * PAGE) as u64,
        len_bytes: 1,
        ..Default::default()
    };
    // SAFETY: The structure is that of the call.
    let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_REGISTER, &mut request) };
    refused(result, libc::EFAULT, "no access");
    assert_eq!(request.stop, RUST_GUP_STOP_PROT_NONE);
    assert_eq!(request.stop_addr, request.addr);
    map.protect(2 * PAGE, PAGE, RW);

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
    // All of the device's memory at once, which QEMU 7.2 would not survive in one piece.
    buffer.copy_to_device(0, device_bytes, 0).expect("whole");
    from_device(&buffer, 2 * PAGE, device_bytes, 0).expect("whole");
    let mut expected = data;
    expected.copy_within(0..device_bytes, 2 * PAGE);
    is(&map, &expected);

    for handle in [0, 2, u64::MAX] {
        let mut transfer = raw::edu_dma_transfer {
            handle,
            len_bytes: 1,
            ..Default::default()
        };
        // SAFETY: The structure is that of the call.
        let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_TRANSFER, &mut transfer) };
        refused(result, libc::ENOENT, "no such buffer");
    }
    // SAFETY: As above.
    let result = unsafe { edu.ioctl(raw::EDU_DMA_IOC_TRANSFER + 1, &mut 0_u64) };
    refused(result, libc::ENOTTY, "no such call");
    drop(buffer);

    // Each in a page of its own: CONFIG_DMA_API_DEBUG takes the eighth mapping of one for a leak.
    let map = Map::anon(raw::EDU_DMA_MAX_BUFFERS as usize);
    let register = |page: usize| {
        let addr = map.addr + page * PAGE;
        edu.register(addr, PAGE, Use::ReadWrite, Method::Runs)
    };
    let buffers: Vec<_> = (0..map.nr_pages())
        .map(|page| register(page).expect("REGISTER"))
        .collect();
    refused(register(0), libc::ENOSPC, "too many buffers");
    drop(buffers);
    register(0).expect("REGISTER");
}

fn read_only_buffer() {
    let edu = edu();
    let map = Map::anon(2);
    let data = map.fill(3);
    map.protect(0, map.len_bytes, libc::PROT_READ);
    refused(
        edu.register(map.addr, PAGE, Use::ReadWrite, Method::Runs),
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
    from_device(&register(&edu, &other, 0, PAGE), 1, 500, 0).expect("from the device");
    expected[1..501].copy_from_slice(&data[10..510]);
    is(&other, &expected);
}

/// On a machine with memory that must stay movable, or be given back on demand (CMA), pages start there, and are moved
/// when they are pinned for long.
fn movable_memory() {
    need_movable_memory();
    let movable = movable_frames();
    assert!(!movable.is_empty(), "the kernel could not set memory aside");
    let nr_movable = |map: &Map| {
        let frames = frames(map.addr, map.nr_pages());
        let is_movable = |frame: &&u64| movable.iter().any(|range| range.contains(frame));
        frames.iter().filter(is_movable).count()
    };
    let edu = edu();
    // The kernel may have other memory at hand, so more than one is tried. Not `Map::anon()`, which sees to it that its
    // pages need not be moved.
    let mut maps = Vec::new();
    for _ in 0..16 {
        let map = Map::untouched(2048);
        map.fill(5);
        let before = nr_movable(&map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        assert_eq!(nr_movable(&map), 0, "nothing stays where it must not");
        assert_eq!(
            buffer.raw().stop == RUST_GUP_STOP_LONGTERM,
            before != 0,
            "the walk stopped there, at {before} pages"
        );
        drop(buffer);
        if before != 0 {
            let after = frames(map.addr, map.nr_pages());
            round_trips(&edu, &map, Method::Runs);
            assert_eq!(frames(map.addr, map.nr_pages()), after, "moved once");
            return;
        }
        maps.push(map);
    }
    panic!("no page was movable");
}

/// A file system on a disk, for as long as this value lives.
pub(crate) struct Disk {
    pub(crate) mounted: &'static str,
    device: String,
}

impl Disk {
    pub(crate) fn new(len_bytes: u64) -> Self {
        let run = |command: &str, arguments: &[&str]| {
            let output = Command::new(command).args(arguments).output();
            let output = output.unwrap_or_else(|e| panic!("{command}: {e}"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{command}: {said}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let (image, mounted) = ("/tmp/disk.img", "/tmp/disk");
        File::create(image)
            .and_then(|file| file.set_len(len_bytes))
            .expect("an image");
        if !Path::new("/dev/loop-control").exists() {
            skip("no loop devices: scripts/vm run --modules loop");
        }
        let device = run("losetup", &["-f"]);
        run("losetup", &[&device, image]);
        run("mke2fs", &["-I", "256", &device]);
        fs::create_dir_all(mounted).expect("a directory");
        run("mount", &["-t", "ext4", &device, mounted]);
        Self { mounted, device }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mounted).status();
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn shared_file_refused() {
    let disk = Disk::new(8 << 20);
    let path = Path::new(disk.mounted).join("file");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .expect("a file");
    file.write_all_at(&pattern(0, 4 * PAGE), 0).expect("write");
    let map = Map::new(0, 4 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).expect("mmap");
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
    // Reading is allowed.
    let buffer = edu
        .register(map.addr, map.len_bytes, Use::Read, Method::Runs)
        .expect("REGISTER");
    buffer.copy_to_device(5, 100, 0).expect("to the device");
    drop(buffer);
    drop(map);
    // A private copy of its pages is the process' own.
    let map = Map::new(0, 4 * PAGE, RW, libc::MAP_PRIVATE, file.as_raw_fd()).expect("mmap");
    round_trips(&edu, &map, Method::Runs);
}

/// Has the device write to `buffer` from `offset` on, and runs `body` meanwhile. The device holds `data`.
fn while_at_work<T>(
    buffer: &Buffer<'_>,
    offset: usize,
    data: &[u8],
    body: impl FnOnce() -> T,
) -> (io::Result<u64>, T) {
    thread::scope(|scope| {
        let transfer = scope.spawn(|| from_device(buffer, offset, data.len(), 0));
        thread::sleep(IN_FLIGHT);
        assert!(!transfer.is_finished(), "the transfer is already over");
        let result = body();
        (transfer.join().expect("the thread lives"), result)
    })
}

/// Has the device write to `buffer` again and again until `go` has taken it away.
fn until_it_is_gone(buffer: &Buffer<'_>, data: &[u8], go: impl FnOnce()) {
    let error = thread::scope(|scope| {
        let transfers = scope.spawn(|| loop {
            if let Err(error) = from_device(buffer, AT, data.len(), 0) {
                break error;
            }
        });
        thread::sleep(IN_FLIGHT);
        go();
        transfers.join().expect("the thread lives")
    });
    refused::<u64>(Err(error), libc::ENODEV, "the rest of the transfer");
}

/// A buffer of some pages, and what the device is to write to it at `AT`.
fn scene(edu: &Edu) -> (Map, Vec<u8>, Vec<u8>) {
    scene_in(edu, Map::anon(4))
}

/// The same in memory of the caller's choice.
fn scene_in(edu: &Edu, map: Map) -> (Map, Vec<u8>, Vec<u8>) {
    let data = pattern(77, 3000);
    preset(edu, &data);
    let before = map.fill(8);
    (map, before, data)
}

/// In small pages and in a huge one, which the kernel treats differently when it copies and when it moves.
fn both_sizes() -> [Map; 2] {
    [Map::anon(4), Map::huge(1)]
}

/// Where that is: across two pages.
const AT: usize = PAGE - 1000;

fn unregister_while_at_work() {
    let edu = edu();
    let (map, mut expected, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let handle = buffer.raw().handle;
    let (result, ()) = while_at_work(&buffer, AT, &data, || {
        let mut unregister = raw::edu_dma_unregister {
            handle,
            ..Default::default()
        };
        // SAFETY: The structure is that of the call.
        unsafe { edu.ioctl(raw::EDU_DMA_IOC_UNREGISTER, &mut unregister) }.expect("UNREGISTER");
    });
    result.expect("the transfer goes on");
    expected[AT..AT + data.len()].copy_from_slice(&data);
    is(&map, &expected);
    refused(buffer.unregister(), libc::ENOENT, "the buffer is gone");
}

fn fork_and_write() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let frames_before = frames(map.addr, map.nr_pages());
        let (ours, theirs) = Rendezvous::pair();
        let (result, child) = while_at_work(&buffer, AT, &data, || {
            let child = Child::run(|| {
                let seen = map.load(0, map.len_bytes);
                theirs.wait();
                // What the device wrote after the fork, and what the parent wrote, is not for the child.
                assert!(
                    map.load(0, map.len_bytes) == seen,
                    "the child's copy changed"
                );
            });
            // Where the pages were shared, the owner would get a copy now, and the device write to the other one.
            map.set(0, 0xaa);
            map.set(PAGE + 3000, 0xbb);
            child
        });
        result.expect("TRANSFER");
        expected[AT..AT + data.len()].copy_from_slice(&data);
        expected[0] = 0xaa;
        expected[PAGE + 3000] = 0xbb;
        is(&map, &expected);
        assert_eq!(frames(map.addr, map.nr_pages()), frames_before);
        ours.signal();
        child.join();
    }
}

fn fork_and_child_writes() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let (result, ()) = while_at_work(&buffer, AT, &data, || {
            Child::run(|| {
                map.store(0, &vec![0xcc; map.len_bytes]);
            })
            .join();
        });
        result.expect("TRANSFER");
        expected[AT..AT + data.len()].copy_from_slice(&data);
        is(&map, &expected);
    }
}

fn mprotect() {
    let edu = edu();
    for prot in [libc::PROT_READ, libc::PROT_NONE] {
        let (map, mut expected, data) = scene(&edu);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let (result, ()) = while_at_work(&buffer, AT, &data, || {
            map.protect(0, map.len_bytes, prot);
        });
        result.expect("TRANSFER");
        map.protect(0, map.len_bytes, RW);
        expected[AT..AT + data.len()].copy_from_slice(&data);
        is(&map, &expected);
    }
}

fn munmap() {
    let edu = edu();
    let (map, mut expected, data) = scene(&edu);
    // A second pin shows what becomes of the pages.
    let device = open();
    let pinned = pin(&device, &map.request());
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let (result, other) = while_at_work(&buffer, AT, &data, || {
        map.unmap(0, map.len_bytes);
        // What takes its place must not get anything of it.
        let other = Map::anon(64);
        other.fill(9);
        other
    });
    result.expect("TRANSFER");
    expected[AT..AT + data.len()].copy_from_slice(&data);
    holds(&pinned, 0, &expected);
    is(&other, &pattern(9, other.len_bytes));
}

fn migration_and_swap() {
    let edu = edu();
    for map in both_sizes() {
        let (map, mut expected, data) = scene_in(&edu, map);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        let before = frames(map.addr, map.nr_pages());
        let (result, ()) = while_at_work(&buffer, AT, &data, || {
            // Each of these would like to.
            let _ = map.try_advise(0, map.len_bytes, libc::MADV_PAGEOUT);
            fs::write("/proc/sys/vm/compact_memory", "1").expect("compact_memory");
            let _ = map.try_advise(0, map.len_bytes, libc::MADV_COLD);
        });
        result.expect("TRANSFER");
        expected[AT..AT + data.len()].copy_from_slice(&data);
        is(&map, &expected);
        assert_eq!(frames(map.addr, map.nr_pages()), before, "they stayed");
    }
}

/// Fails unless nothing is held any more, which a process that has ended may take a moment for.
fn nothing_is_held() {
    let deadline = Instant::now() + scaled(Duration::from_secs(5));
    loop {
        let stats = stats().expect("STATS");
        if stats.nr_handles == 0 && stats.nr_held_pages == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "pages are still held");
        thread::sleep(Duration::from_millis(10));
    }
}

fn killed() {
    let (ours, theirs) = Rendezvous::pair();
    let child = Child::run(|| {
        let edu = edu();
        let map = Map::anon(4);
        let buffer = register(&edu, &map, 0, map.len_bytes);
        theirs.signal();
        loop {
            from_device(&buffer, AT, 4096, 0).expect("TRANSFER");
        }
    });
    ours.wait();
    thread::sleep(IN_FLIGHT);
    child.kill();
    let status = child.wait();
    assert!(libc::WIFSIGNALED(status));
    // The child has ended, so the device is done with its pages, and they are released.
    nothing_is_held();
    // Somebody else's pages, perhaps the same ones.
    let edu = edu();
    let map = Map::anon(8);
    round_trips(&edu, &map, Method::Runs);
}

fn closed_without_unregister() {
    let edu = edu();
    let map = Map::anon(16);
    std::mem::forget(register(&edu, &map, 0, map.len_bytes));
    std::mem::forget(register(&edu, &map, PAGE, 2 * PAGE));
    assert_eq!(stats().expect("STATS").nr_held_pages, 18);
    drop(edu);
    nothing_is_held();
}

/// The name of the PCI device.
fn pci_name() -> String {
    let path = pci_device().expect("the device");
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

fn unbind() {
    fs::write(format!("{DRIVER}/unbind"), pci_name()).expect("unbind");
}

fn bind() {
    fs::write(format!("{DRIVER}/bind"), pci_name()).expect("bind");
}

fn works() {
    let edu = edu();
    round_trips(&edu, &Map::anon(4), Method::Runs);
}

/// After the driver went: the file is still open, and good for nothing but closing.
fn useless(edu: &Edu, buffer: &Buffer<'_>, map: &Map) {
    refused(buffer.copy_to_device(0, 1, 0), libc::ENODEV, "TRANSFER");
    refused(
        edu.register(map.addr, PAGE, Use::Read, Method::Runs),
        libc::ENODEV,
        "REGISTER",
    );
    refused(Edu::open(), libc::ENODEV, "open");
}

fn unbind_while_at_work() {
    let edu = edu();
    let (map, expected, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    until_it_is_gone(&buffer, &data, unbind);
    // Of what the device wrote, nothing is half-done: chunks are whole or not there.
    let now = map.load(0, map.len_bytes);
    assert!(now[..AT] == expected[..AT]);
    assert!(now[AT + data.len()..] == expected[AT + data.len()..]);
    assert_eq!(
        stats().expect("STATS").nr_held_pages,
        4,
        "pinned until the file is closed"
    );
    useless(&edu, &buffer, &map);
    bind();
    // This file is that of the device as it was.
    refused(buffer.copy_to_device(0, 1, 0), libc::ENODEV, "TRANSFER");
    drop(buffer);
    drop(edu);
    nothing_is_held();
    works();
}

fn remove_while_at_work() {
    let edu = edu();
    let (map, _, data) = scene(&edu);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    let device = pci_device().expect("the device");
    until_it_is_gone(&buffer, &data, || {
        fs::write(device.join("remove"), "1").expect("remove");
    });
    useless(&edu, &buffer, &map);
    fs::write("/sys/bus/pci/rescan", "1").expect("rescan");
    drop(buffer);
    drop(edu);
    nothing_is_held();
    works();
}

fn modules_stay() {
    let unload = |name: &std::ffi::CStr| {
        // SAFETY: The name ends in a zero byte.
        check(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) })
    };
    let edu = edu();
    let map = Map::anon(4);
    let buffer = register(&edu, &map, 0, map.len_bytes);
    refused(unload(c"edu_dma"), libc::EWOULDBLOCK, "edu_dma is open");
    refused(unload(c"rust_gup"), libc::EWOULDBLOCK, "edu_dma needs it");
    buffer.copy_to_device(0, 100, 0).expect("TRANSFER");
    drop(buffer);
    drop(edu);
    refused(unload(c"rust_gup"), libc::EWOULDBLOCK, "edu_dma needs it");
    works();
}

/// The registers of the device, for who knows better than the driver, which must not be bound.
struct Registers {
    map: Map,
    config: File,
    command: [u8; 2],
}

impl Registers {
    const COMMAND: u64 = 4;
    const MEMORY: u8 = 1 << 1;
    const MASTER: u8 = 1 << 2;

    fn open() -> Self {
        let device = pci_device().expect("the device");
        let open = |name| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(device.join(name))
                .expect(name)
        };
        let config = open("config");
        let mut command = [0; 2];
        config
            .read_exact_at(&mut command, Self::COMMAND)
            .expect("read");
        let on = [command[0] | Self::MEMORY | Self::MASTER, command[1]];
        config.write_all_at(&on, Self::COMMAND).expect("write");
        let resource = open("resource0");
        let map = Map::new(0, 1 << 20, RW, libc::MAP_SHARED, resource.as_raw_fd());
        Self {
            map: map.expect("mmap"),
            config,
            command,
        }
    }

    fn register(&self, at: usize) -> *mut u64 {
        with_exposed_provenance_mut(self.map.addr + at)
    }

    /// Has the device write `len` bytes of its memory to `addr`.
    fn write_memory(&self, addr: u64, len: u64) {
        for (at, value) in [(0x80, 0x40000), (0x88, addr), (0x90, len), (0x98, 1 | 2)] {
            // SAFETY: The register lies in the mapping.
            unsafe { self.register(at).write_volatile(value) };
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        // SAFETY: As above.
        while unsafe { self.register(0x98).read_volatile() } & 1 != 0 {
            assert!(Instant::now() < deadline, "the device does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        let _ = self.config.write_all_at(&self.command, Self::COMMAND);
    }
}

fn what_is_not_mapped() {
    let data = pattern(5, 64);
    let map = Map::anon(1);
    let before = map.fill(6);
    let (stale, physical) = {
        let edu = edu();
        preset(&edu, &data);
        let buffer = register(&edu, &map, 0, PAGE);
        let addr = buffer.raw().dma_addr;
        assert_ne!(addr, 0, "root may see it");
        (addr, frames(map.addr, 1)[0] * PAGE as u64)
    };
    unbind();
    let registers = Registers::open();
    if has_iommu() {
        assert_ne!(stale, physical, "the device has addresses of its own");
        registers.write_memory(physical, 64);
        is(&map, &before);
        // The address that was good as long as the buffer was registered.
        registers.write_memory(stale, 64);
        is(&map, &before);
        assert!(
            dma_faults() >= 2,
            "the IOMMU has seen it, and the kernel's log says so"
        );
    } else {
        // What the IOMMU is good for: without it, whoever has the device has all memory.
        assert_eq!(stale, physical, "the device's addresses are the machine's");
        registers.write_memory(physical, 64);
        let mut expected = before;
        expected[..64].copy_from_slice(&data);
        is(&map, &expected);
        assert_eq!(dma_faults(), 0);
    }
    drop(registers);
    bind();
    works();
}

/// How many faults of devices the kernel's log holds.
fn dma_faults() -> usize {
    let log = Command::new("dmesg").output().expect("dmesg").stdout;
    String::from_utf8_lossy(&log)
        .lines()
        .filter(|line| line.contains("DMAR:") && line.contains("fault addr"))
        .count()
}
