// SPDX-License-Identifier: GPL-2.0

//! Persistent memory: /dev/pmem0 for file systems that map the device's own pages (fsdax), and namespace1.0, of which
//! ndctl makes a device (device-dax).

use std::{
    fs::{
        self,
        File, //
    },
    ops::Range,
    os::fd::AsRawFd,
    process::Command,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    }, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes, //
};
use rustix::fs::{
    fallocate,
    FallocateFlags, //
};

use crate::harness::{
    memory::{
        Map,
        RW, //
    },
    proof::faults, //
};

/// QEMU's memory is not really persistent, and the kernel logs this each time the namespace changes.
pub(crate) const LOG: &[&str] = &["unable to guarantee persistence of writes"];

/// Mount point of the file systems.
const MOUNTED: &str = "/tmp/dax";
/// Whether this test has mounted a file system there.
static IS_MOUNTED: AtomicBool = AtomicBool::new(false);

/// Returns whether the machine has persistent memory.
pub(crate) fn is_there() -> bool {
    fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("memmap="))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fs {
    Ext4,
    Xfs,
}

/// Maps a file with leaves of 2 MiB. Where the file system puts a file decides whether that works, so this tries
/// several files.
pub(crate) fn by_pmd(fs: Fs, flags: libc::c_int) -> (File, Map) {
    for _ in 0..8 {
        let file = file(fs, 2 * pmd_bytes());
        let map = mapped(&file, 2 * pmd_bytes(), flags, 0);
        if faults(&map, page_bytes()) == 2 {
            return (file, map);
        }
    }
    panic!("no file is mapped by leaves of 2 MiB");
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Maps a file of [`file()`] from `offset` on.
pub(crate) fn mapped(file: &File, len_bytes: usize, flags: libc::c_int, offset: usize) -> Map {
    let place = (file.as_raw_fd(), offset);
    Map::guarded(len_bytes, pmd_bytes(), RW, flags, place).expect("the file is mapped")
}

/// Creates a file with all its blocks allocated.
pub(crate) fn file(fs: Fs, len_bytes: usize) -> File {
    static NR: AtomicU32 = AtomicU32::new(0);
    let nr = NR.fetch_add(1, Ordering::Relaxed);
    if !IS_MOUNTED.load(Ordering::Relaxed) {
        mount(fs);
    }
    let path = format!("{MOUNTED}/{nr}");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    let file = file.expect("a file");
    fallocate(&file, FallocateFlags::empty(), 0, len_bytes as u64).expect("room for a file");
    // The file lives as long as it is open or mapped.
    fs::remove_file(path).expect("the file's name goes");
    file
}

/// Mounts a new file system.
fn mount(fs: Fs) {
    const DEVICE: &str = "/dev/pmem0";
    fs::create_dir_all(MOUNTED).expect("a directory");
    // Unmount what the previous test left.
    let _ = Command::new("umount").arg(MOUNTED).output();
    // Both file systems lay out files in pieces of 2 MiB with these options.
    let (name, option) = match fs {
        Fs::Ext4 => {
            let stride = ["-q", "-t", "ext4", "-b", "4096", "-E", "stride=512", DEVICE];
            run("mke2fs", &stride);
            ("ext4", "dax")
        }
        Fs::Xfs => {
            run("mkfs.xfs", &["-q", "-f", "-d", "su=2m,sw=1", DEVICE]);
            ("xfs", "dax=always")
        }
    };
    run("mount", &["-t", name, "-o", option, DEVICE, MOUNTED]);
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    let ours = mounts.lines().find(|line| line.contains(MOUNTED));
    assert!(
        ours.is_some_and(|line| line.contains(option)),
        "mounted: {ours:?}"
    );
    IS_MOUNTED.store(true, Ordering::Relaxed);
}

/// Unmounts the file system that [`file()`] has mounted.
pub(crate) fn unmount() {
    run("umount", &[MOUNTED]);
    IS_MOUNTED.store(false, Ordering::Relaxed);
}

/// Makes the device, which is mapped by leaves of `align` bytes, and opens it.
pub(crate) fn new_device(align: usize) -> File {
    let align = align.to_string();
    let make = [
        "create-namespace",
        "-f",
        "-e",
        "namespace1.0",
        "-m",
        "devdax",
        "-a",
    ];
    run("ndctl", &[&make[..], &[&align]].concat());
    let found = fs::read_to_string("/sys/bus/dax/devices/dax1.0/align").expect("the device");
    assert_eq!(found.trim(), align, "what it is mapped by");
    open_device()
}

/// Opens the existing device.
pub(crate) fn open_device() -> File {
    let mut options = File::options();
    let device = options.read(true).write(true).open("/dev/dax1.0");
    device.expect("the device opens")
}

/// The drivers of the devices in this file.
#[derive(Clone, Copy)]
pub(crate) enum Driver {
    /// Driver of the device.
    DeviceDax,
    /// Driver under the file systems. They must be unmounted before it is unbound.
    NdPmem,
}

impl Driver {
    /// Removes the device.
    pub(crate) fn unbind(self) {
        self.write("unbind");
    }

    /// Brings the device back as it was.
    pub(crate) fn bind(self) {
        self.write("bind");
    }

    fn write(self, file: &str) {
        let (driver, device) = match self {
            Self::DeviceDax => ("dax/drivers/device_dax", "dax1.0"),
            Self::NdPmem => ("nd/drivers/nd_pmem", "namespace0.0"),
        };
        fs::write(format!("/sys/bus/{driver}/{file}"), device).expect("the driver of the device");
    }
}

/// Returns the frames of persistent memory, from /proc/iomem.
pub(crate) fn frames() -> Vec<Range<u64>> {
    let text = fs::read_to_string("/proc/iomem").expect("/proc/iomem");
    let frame =
        |addr: &str| u64::from_str_radix(addr, 16).expect("an address") / page_bytes() as u64;
    text.lines()
        .filter_map(|line| line.trim().split_once(" : "))
        .filter(|(_, name)| name.starts_with("Persistent Memory"))
        .filter_map(|(range, _)| range.split_once('-'))
        .map(|(start, end)| frame(start)..frame(end) + 1)
        .collect()
}
