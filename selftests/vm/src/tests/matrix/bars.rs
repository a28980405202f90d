// SPDX-License-Identifier: GPL-2.0

//! Memory of PCI devices: lent to other devices (p2pdma), with a struct page, and mapped directly, without one.
//!
//! The machine needs an NVMe disk with a controller memory buffer, and ivshmem with 1 GiB behind an IOMMU.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    ops::Range,
    os::fd::{
        AsRawFd,
        FromRawFd,
        OwnedFd, //
    },
    path::{
        Path,
        PathBuf, //
    },
    sync::OnceLock, //
};

use rust_gup_memory::size::{
    page_bytes,
    pmd_bytes,
    pud_bytes, //
};
use rust_gup_uapi::{
    raw::{
        RUST_GUP_PCI_P2PDMA,
        RUST_GUP_STOP_DEVICE as DEVICE,
        RUST_GUP_STOP_NO_MAPPING as NO_MAPPING,
        RUST_GUP_STOP_SPECIAL as SPECIAL, //
    },
    Access,
    Engine,
    How,
    Request, //
};

use super::{
    situation::fill,
    Page,
    Scene,
    Situation, //
};
use crate::{
    harness::{
        fixture::{
            check,
            fast_only,
            frames_of,
            holds,
            open,
            pin,
            store,
            ACCESSES, //
        },
        memory::{
            frames,
            unowned_is_fast,
            Map,
            RW, //
        },
        proof::faults,
        runner::Test, //
    },
    tests::stops::{
        stopped,
        stops, //
    }, //
};

const SITUATIONS: &[Situation] = &[
    Situation::new("p2pdma", p2pdma),
    Situation::new("bar_by_sysfs", by_sysfs),
    Situation::new("bar_by_vfio_pte", || by_vfio(page_bytes())),
    Situation::new("bar_by_vfio_pmd", || by_vfio(pmd_bytes())),
    Situation::new("bar_by_vfio_pud", || by_vfio(pud_bytes())),
];

/// The BAR of ivshmem with its memory.
const BAR: usize = 2;

/// Returns no situations on a machine without such devices.
pub(super) fn situations() -> &'static [Situation] {
    if disk().is_none() && ivshmem().is_none() {
        &[]
    } else {
        SITUATIONS
    }
}

/// Returns no tests on a machine without the disk.
pub(super) fn tests() -> Vec<Test> {
    let test = |_| Test::new("matrix", "p2pdma_allowed", p2pdma_allowed);
    disk().map(test).into_iter().collect()
}

/// Returns the PCI device with these IDs, if the machine has it.
fn device(vendor: &str, device: &str) -> Option<PathBuf> {
    let is = |path: &Path, file: &str, id: &str| {
        fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == id)
    };
    let devices = fs::read_dir("/sys/bus/pci/devices").ok()?;
    devices
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| is(path, "vendor", vendor) && is(path, "device", device))
}

fn disk() -> Option<PathBuf> {
    device("0x1b36", "0x0010")
}

fn ivshmem() -> Option<PathBuf> {
    device("0x1af4", "0x1110")
}

fn number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().parse().expect("a number")
}

/// Returns the frames of a device's memory.
fn bars(device: &Path) -> Vec<Range<u64>> {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let resources = fs::read_to_string(device.join("resource")).expect("the device's resources");
    resources
        .lines()
        .filter_map(|line| {
            let (start, rest) = line.split_once(' ')?;
            let (end, _) = rest.split_once(' ')?;
            Some(hex(start)? / page_bytes() as u64..(hex(end)? + 1) / page_bytes() as u64)
        })
        .filter(|range| !range.is_empty())
        .collect()
}

/// Memory that other devices may access directly. A caller must pass `FOLL_PCI_P2PDMA` to take it.
fn p2pdma() -> Scene {
    let disk = disk().expect("an NVMe disk: qemu -device nvme,cmb_size_mb=64");
    let lent = Lent::of(&disk);
    assert_eq!(lent.bytes(), 0, "lent before");
    let file = File::options()
        .read(true)
        .write(true)
        .open(disk.join("p2pmem/allocate"));
    let file = file.expect("memory of the disk");
    let place = (file.as_raw_fd(), 0);
    let map = Map::guarded(16 * page_bytes(), page_bytes(), RW, libc::MAP_SHARED, place)
        .expect("it is mapped");
    assert_eq!(lent.bytes(), map.len_bytes as u64, "what is lent");
    let words = fill(&map);
    map.prove_frames(&bars(&disk));
    Scene::new(map, words, |way, _| {
        let errno = if way.how == How::LongTerm && way.is_write() {
            // It is a file that tracks writes, `mm/gup.c:1223`.
            libc::EFAULT
        } else {
            // `mm/gup.c:146`.
            libc::EREMOTEIO
        };
        Page::refused(DEVICE, errno)
    })
    .keep(lent)
}

/// Memory that a disk has lent to this process. All of it must be back once nobody holds a page of it.
struct Lent {
    available: PathBuf,
    /// The bytes available at first. The disk keeps some memory for itself.
    all: u64,
}

impl Lent {
    fn of(disk: &Path) -> Self {
        static ALL: OnceLock<u64> = OnceLock::new();
        let available = disk.join("p2pmem/available");
        let all = *ALL.get_or_init(|| number(&available));
        Self { available, all }
    }

    fn bytes(&self) -> u64 {
        self.all - number(&self.available)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.bytes(), 0, "pages of a disk have references left");
        }
    }
}

/// Takes the memory with `FOLL_PCI_P2PDMA`. The fast walk takes it if the kernel's takes small folios without a
/// mapping.
fn p2pdma_allowed() {
    let device = open();
    for how in [How::Get, How::Pin] {
        for access in ACCESSES {
            let scene = p2pdma();
            let map = &scene.map;
            let all = map.nr_pages();
            let expected = frames(map.addr, all);
            let mut data = map.load(0, map.len_bytes);
            let part = Request::new(map.addr + 5 * page_bytes() - 3, 2 * page_bytes());
            for request in [map.request(), part] {
                let request = request.how(how).access(access);
                let request = request.slow_only(RUST_GUP_PCI_P2PDMA);
                let what = format!("{request:x?}");
                let first = (request.addr - map.addr) / page_bytes();
                let nr = (request.addr % page_bytes() + request.len_bytes).div_ceil(page_bytes());
                for engine in [Engine::Kernel, Engine::Rust] {
                    let taken = device.pin(&request, engine).expect("PIN");
                    assert_eq!(frames_of(&taken), expected[first..first + nr], "{what}");
                    match engine {
                        Engine::Rust if unowned_is_fast() => {
                            let all = nr as u64;
                            assert_eq!((taken.nr_fast(), taken.stop()), (all, None), "{what}");
                        }
                        Engine::Rust => stopped(&taken, &request, 0, NO_MAPPING),
                        _ => (),
                    }
                    let offset = request.addr - map.addr;
                    holds(&taken, 0, &data[offset..offset + request.len_bytes]);
                    if access == Access::Write && how != How::Get {
                        store(&taken, 7, b"to the device");
                        data[offset + 7..][..13].copy_from_slice(b"to the device");
                        assert!(map.load(0, data.len()) == data, "{what}: written");
                    }
                }
                let compared = device.compare(&request).expect("COMPARE");
                assert_eq!(compared.differences(), Vec::<&str>::new(), "{what}");
                assert_eq!(compared.raw.nr_equal, nr as u64, "{what}");
                let nr_fast = if unowned_is_fast() { nr } else { 0 };
                let engines = match how {
                    How::Get => &[Engine::Kernel, Engine::Rust][..],
                    _ => &[Engine::Rust],
                };
                for &engine in engines {
                    let taken = device.pin(&fast_only(request), engine).expect("PIN");
                    assert_eq!(taken.nr_pages(), nr_fast as u64, "{what}");
                }
                // Without the flag the fast walk takes nothing.
                stops(&device, &request.slow_only(0), 0, DEVICE);
            }
            // Held memory stays lent.
            let request = map.request().how(how).access(access);
            let request = request.slow_only(RUST_GUP_PCI_P2PDMA);
            let taken = pin(&device, &request);
            let lent = Lent::of(&disk().expect("the disk"));
            map.unmap(0, map.len_bytes);
            assert_eq!(lent.bytes(), data.len() as u64, "{how:?}, {access:?}: held");
            holds(&taken, 0, &data);
            drop(taken);
            assert_eq!(lent.bytes(), 0, "{how:?}, {access:?}: released");
        }
    }
}

/// The file in sysfs maps all pages at once.
fn by_sysfs() -> Scene {
    let device = ivshmem().expect("qemu -device ivshmem-plain");
    let file = File::options()
        .read(true)
        .write(true)
        .open(device.join(format!("resource{BAR}")));
    let file = file.expect("the BAR");
    let place = (file.as_raw_fd(), 0);
    let map = Map::guarded(16 * page_bytes(), page_bytes(), RW, libc::MAP_SHARED, place)
        .expect("it is mapped");
    let words = fill(&map);
    map.prove_vm_flag("pf");
    Scene::new(map, words, |_, _| Page::refused(SPECIAL, libc::EFAULT))
}

/// VFIO maps pages at the first access, by the largest leaf that fits: 1 GiB if address and offset are multiples of
/// that.
fn by_vfio(leaf_bytes: usize) -> Scene {
    let offset = if leaf_bytes == pud_bytes() {
        0
    } else {
        leaf_bytes
    };
    let len_bytes = leaf_bytes.max(2 * pmd_bytes());
    let device = vfio_device();
    let place = (device.fd.as_raw_fd(), device.bar + offset);
    let map =
        Map::guarded(len_bytes, pud_bytes(), RW, libc::MAP_SHARED, place).expect("it is mapped");
    map.prove_vm_flag("pf");
    let step = (leaf_bytes * page_bytes() / pmd_bytes()).max(page_bytes());
    let nr_leaves = (len_bytes / leaf_bytes) as u64;
    assert_eq!(
        faults(&map, step),
        nr_leaves,
        "leaves of {leaf_bytes:#x} bytes"
    );
    let part = map.part(pmd_bytes(), pmd_bytes());
    let words = fill(&part);
    let scene = Scene::new(part, words, |_, _| Page::refused(SPECIAL, libc::EFAULT));
    scene.unguarded().keep(map)
}

/// The device as given to this process, and the offset of its memory.
fn vfio_device() -> &'static VfioDevice {
    static DEVICE: OnceLock<VfioDevice> = OnceLock::new();
    DEVICE.get_or_init(|| VfioDevice::open().expect("the device by vfio"))
}

struct VfioDevice {
    fd: OwnedFd,
    /// The offset of the device's memory.
    bar: usize,
    /// These files must stay open as long as the device.
    _container_and_group: [File; 2],
}

/// `struct vfio_region_info` of `include/uapi/linux/vfio.h`.
#[repr(C)]
#[derive(Default)]
struct RegionInfo {
    argsz: u32,
    flags: u32,
    index: u32,
    cap_offset: u32,
    size: u64,
    offset: u64,
}

impl VfioDevice {
    fn open() -> io::Result<Self> {
        const SET_IOMMU: u32 = 0x3b66;
        const GROUP_SET_CONTAINER: u32 = 0x3b68;
        const GROUP_GET_DEVICE_FD: u32 = 0x3b6a;
        const DEVICE_GET_REGION_INFO: u32 = 0x3b6c;
        const TYPE1_IOMMU: usize = 1;

        let device = ivshmem().expect("qemu -device ivshmem-plain");
        let name = device
            .file_name()
            .expect("its address")
            .to_str()
            .expect("digits");
        if !device.join("driver").exists() {
            fs::write(device.join("driver_override"), "vfio-pci")?;
            fs::write("/sys/bus/pci/drivers_probe", name)?;
        }
        let group = fs::read_link(device.join("iommu_group"))?;
        let group = Path::new("/dev/vfio").join(group.file_name().expect("its number"));
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let container = open(Path::new("/dev/vfio/vfio"))?;
        let group = open(&group)?;
        let call = |file: &dyn AsRawFd, number: u32, argument: usize| {
            // SAFETY: The argument is a number, or the address of the structure that the call expects.
            check(unsafe { libc::ioctl(file.as_raw_fd(), libc::c_ulong::from(number), argument) })
        };
        let fd = container.as_raw_fd();
        call(
            &group,
            GROUP_SET_CONTAINER,
            (&raw const fd).expose_provenance(),
        )?;
        call(&container, SET_IOMMU, TYPE1_IOMMU)?;
        let name = format!("{name}\0");
        let fd = call(
            &group,
            GROUP_GET_DEVICE_FD,
            name.as_ptr().expose_provenance(),
        )?;
        // SAFETY: The call has opened the descriptor, and nothing else owns it.
        let device = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut info = RegionInfo {
            argsz: size_of::<RegionInfo>() as u32,
            index: BAR as u32,
            ..RegionInfo::default()
        };
        call(
            &device,
            DEVICE_GET_REGION_INFO,
            (&raw mut info).expose_provenance(),
        )?;
        assert_eq!(info.size, pud_bytes() as u64, "bytes of the BAR");
        Ok(Self {
            fd: device,
            bar: info.offset as usize,
            _container_and_group: [container, group],
        })
    }
}
