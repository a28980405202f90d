// SPDX-License-Identifier: GPL-2.0

//! Files on file systems that are mounted for one test.

use std::{
    ffi::CString,
    fs::{
        self,
        File,
        OpenOptions, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::Command,
    sync::OnceLock, //
};

use rustix::{
    mount::MountFlags,
    thread::UnshareFlags, //
};

use crate::harness::{
    process::unshare,
    runner::skip, //
};

/// Creates an empty file without a name on the machine's disk with this file system: `ext4` or `xfs`.
pub(crate) fn unnamed_on(kind: &str) -> File {
    unnamed(&mount(kind, &disk(kind), ""))
}

/// Returns the device of the disk with this serial number. The serial number is the name of the file system on it.
fn disk(serial: &str) -> String {
    let disks = fs::read_dir("/sys/block").expect("/sys/block");
    for name in disks.flatten().map(|disk| disk.file_name()) {
        let name = name.to_string_lossy();
        let found = fs::read_to_string(format!("/sys/block/{name}/serial"));
        if found.is_ok_and(|found| found.trim() == serial) {
            return format!("/dev/{name}");
        }
    }
    assert!(
        !has_controller(),
        "no disk has the serial number {serial}, and the machine has disks"
    );
    skip("no disks: see selftests/vm/profiles");
}

/// Returns whether the machine has disks, even if no driver is loaded. Looks for storage on the PCI bus, of the class
/// of virtio-blk-pci.
fn has_controller() -> bool {
    let devices = fs::read_dir("/sys/bus/pci/devices").expect("/sys/bus/pci/devices");
    devices.flatten().any(|device| {
        let class = fs::read_to_string(device.path().join("class"));
        class.is_ok_and(|class| class.starts_with("0x0100"))
    })
}

/// Mounts a file system for this test only. Returns where it is mounted.
pub(crate) fn mount(kind: &str, device: &str, options: &str) -> PathBuf {
    static PRIVATE: OnceLock<()> = OnceLock::new();
    PRIVATE.get_or_init(|| {
        unshare(UnshareFlags::NEWNS);
    });
    let path = PathBuf::from(format!("/tmp/{kind}{options}"));
    let marker = path.join("mounted");
    if marker.exists() {
        return path;
    }
    fs::create_dir_all(&path).expect("a mount point");
    let options = CString::new(options).expect("no zero byte");
    rustix::mount::mount(device, &path, kind, MountFlags::empty(), Some(&*options)).expect("mount");
    File::create(marker).expect("a file");
    path
}

/// Creates a file and removes its name.
pub(crate) fn unnamed(dir: &Path) -> File {
    let path = dir.join("file");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.expect("a file");
    fs::remove_file(&path).expect("its name");
    file
}

/// A file system on a loop device. It is unmounted on drop.
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
        let has_loops = Path::new("/dev/loop-control").exists();
        assert!(has_loops, "no loop devices: scripts/vm run --modules loop");
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
