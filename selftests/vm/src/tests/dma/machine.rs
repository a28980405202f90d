// SPDX-License-Identifier: GPL-2.0

//! The device as the machine and the kernel see it: binding, configuration, registers.

use std::{
    ffi::CString,
    fs::{
        self,
        File,
        OpenOptions, //
    },
    os::{
        fd::AsRawFd,
        unix::fs::FileExt, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::Command,
    ptr::with_exposed_provenance_mut,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use crate::harness::{
    memory::{
        Map,
        RW, //
    },
    module::{
        load,
        unload, //
    }, //
};

const DRIVER: &str = "/sys/bus/pci/drivers/edu_dma";
const MODULE: &str = "/lib/edu_dma.ko";
/// How the kernel logs that an IOMMU has stopped a device, Intel's or Arm's: the driver, and one line for each access.
const FAULTS: [(&str, &str); 2] = [
    ("DMAR:", "fault addr"),
    ("arm-smmu-v3", "event: F_TRANSLATION"),
];

/// Returns the folder of the PCI device in sysfs, if the machine has it.
pub(super) fn pci_device() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/bus/pci/devices").ok()?;
    let is = |path: &Path, file: &str, id: &str| {
        fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == id)
    };
    devices
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| is(path, "vendor", "0x1234") && is(path, "device", "0x11e8"))
}

/// Returns the name of the PCI device.
pub(super) fn pci_name() -> String {
    let path = pci_device().expect("the device");
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

pub(super) fn has_iommu() -> bool {
    fs::read_dir("/sys/kernel/iommu_groups").is_ok_and(|mut groups| groups.next().is_some())
}

/// Counts the DMA faults in the kernel's log.
pub(super) fn dma_faults() -> usize {
    let log = Command::new("dmesg").output().expect("dmesg").stdout;
    let is_fault = |line: &str| {
        FAULTS
            .iter()
            .any(|(driver, fault)| line.contains(driver) && line.contains(fault))
    };
    let log = String::from_utf8_lossy(&log);
    log.lines().filter(|line| is_fault(line)).count()
}

pub(super) fn unbind() {
    fs::write(format!("{DRIVER}/unbind"), pci_name()).expect("unbind");
}

pub(super) fn bind() {
    fs::write(format!("{DRIVER}/bind"), pci_name()).expect("bind");
}

/// Keeps the driver loaded with one more parameter until it is dropped.
pub(super) struct Driver;

impl Driver {
    pub(super) fn with(parameter: &str) -> Self {
        Self::load(parameter);
        Self
    }

    fn load(parameter: &str) {
        // The usual parameters, as in selftests/vm/profiles.
        let usual = if has_iommu() { "" } else { "dma_bits=40" };
        let parameters = CString::new(format!("{usual} {parameter}")).expect("no zero bytes");
        unload(c"edu_dma").expect("delete_module");
        load(Path::new(MODULE), &parameters).expect("finit_module");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        Self::load("");
    }
}

/// The command register in the configuration space of the device: two bytes.
pub(super) struct CommandRegister(File);

impl CommandRegister {
    const OFFSET: u64 = 4;

    pub(super) fn open() -> Self {
        let config = pci_device().expect("the device").join("config");
        let config = OpenOptions::new().read(true).write(true).open(config);
        Self(config.expect("config"))
    }

    pub(super) fn get(&self) -> u16 {
        let mut command = [0; 2];
        self.0
            .read_exact_at(&mut command, Self::OFFSET)
            .expect("read");
        u16::from_le_bytes(command)
    }

    pub(super) fn set(&self, command: u16) {
        let written = self.0.write_all_at(&command.to_le_bytes(), Self::OFFSET);
        written.expect("write");
    }
}

/// Makes the device interrupt by a line instead of a message as long as this value lives. The line can be held back.
/// The driver is rebound at the beginning and in the end.
pub(super) struct Line(CommandRegister);

impl Line {
    const INTX_DISABLE: u16 = 1 << 10;

    pub(super) fn new() -> Self {
        Self::rebind_with_msi("0");
        Self(CommandRegister::open())
    }

    fn rebind_with_msi(on: &str) {
        unbind();
        let path = pci_device().expect("the device").join("msi_bus");
        fs::write(path, on).expect("msi_bus");
        bind();
    }

    /// Holds back all interrupts until [`let_go()`](Self::let_go).
    pub(super) fn hold(&self) {
        self.0.set(self.0.get() | Self::INTX_DISABLE);
    }

    /// Lets interrupts through, including the one that was held back.
    pub(super) fn let_go(&self) {
        self.0.set(self.0.get() & !Self::INTX_DISABLE);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.let_go();
        Self::rebind_with_msi("1");
    }
}

/// The registers of the device, for tests that bypass the driver. While the driver is bound, the machine must be booted
/// with `iomem=relaxed`.
pub(super) struct Registers {
    map: Map,
    command: CommandRegister,
    command_before: u16,
}

impl Registers {
    const MEMORY: u16 = 1 << 1;
    const MASTER: u16 = 1 << 2;

    pub(super) fn open() -> Self {
        let command = CommandRegister::open();
        let command_before = command.get();
        command.set(command_before | Self::MEMORY | Self::MASTER);
        let resource = pci_device().expect("the device").join("resource0");
        let resource = OpenOptions::new().read(true).write(true).open(resource);
        let fd = resource.expect("resource0");
        let map = Map::new(0, 1 << 20, RW, libc::MAP_SHARED, fd.as_raw_fd());
        Self {
            map: map.expect("mmap, iomem=relaxed if the driver is bound"),
            command,
            command_before,
        }
    }

    fn register<T>(&self, at: usize) -> *mut T {
        with_exposed_provenance_mut(self.map.addr + at)
    }

    /// Makes the device signal the end of a copy.
    pub(super) fn interrupt(&self) {
        // SAFETY: The register lies in the mapping, and takes four bytes.
        unsafe { self.register::<u32>(0x60).write_volatile(0x100) };
    }

    /// Makes the device write `len` bytes of its memory to the bus address `addr`, and waits for the end.
    pub(super) fn write_memory(&self, addr: u64, len: u64) {
        for (at, value) in [(0x80, 0x40000), (0x88, addr), (0x90, len), (0x98, 1 | 2)] {
            // SAFETY: The register lies in the mapping.
            unsafe { self.register::<u64>(at).write_volatile(value) };
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        // SAFETY: As above.
        while unsafe { self.register::<u64>(0x98).read_volatile() } & 1 != 0 {
            assert!(Instant::now() < deadline, "the device does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        self.command.set(self.command_before);
    }
}
