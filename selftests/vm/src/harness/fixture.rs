// SPDX-License-Identifier: GPL-2.0

//! Functions that the tests share: opening the device, raw calls to it, and checks of their results.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    mem::size_of,
    os::fd::{
        AsFd,
        AsRawFd, //
    },
    ptr::with_exposed_provenance_mut,
    sync::OnceLock,
    time::{
        Duration,
        Instant, //
    }, //
};

use rust_gup_memory::word;
use rust_gup_uapi::{
    errno_name,
    errno_of,
    raw,
    Access,
    Device,
    Engine,
    Fallback,
    How,
    Info,
    Pinned,
    Request, //
};
use rustix::fs::{
    fallocate,
    FallocateFlags, //
};
use zerocopy::{
    Immutable,
    IntoBytes, //
};

/// Returns the answer of INFO, which is asked for once. Tests that unload the module, or have no access to it, run in a
/// child of a process that has asked already.
pub(crate) fn machine() -> &'static Info {
    static MACHINE: OnceLock<Info> = OnceLock::new();
    MACHINE.get_or_init(|| open().info().expect("INFO"))
}

/// First address beyond user space.
pub(crate) fn user_limit() -> usize {
    machine().raw.user_limit as usize
}

/// The ways to take the pages of a range.
pub(crate) const HOWS: [How; 3] = [How::Get, How::Pin, How::LongTerm];

/// The ways that allow writing to the contents.
pub(crate) const PINS: [How; 2] = [How::Pin, How::LongTerm];

/// The ways that keep pages in a handle without a privilege.
pub(crate) const LASTING: [How; 2] = [How::Get, How::LongTerm];
pub(crate) const ACCESSES: [Access; 2] = [Access::Read, Access::Write];

/// Converts the result of a C function.
pub(crate) fn check<T: PartialOrd + Default>(result: T) -> io::Result<T> {
    if result < T::default() {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(crate) fn open() -> Device {
    Device::open().expect("the device opens")
}

/// Returns whether the module must not walk. In a paravirtualized guest of Xen, entries hold machine frame numbers. On
/// PowerPC the page tables are not the walk's if the CPU has a hash table.
pub(crate) fn walk_is_off() -> bool {
    static IS_OFF: OnceLock<bool> = OnceLock::new();
    *IS_OFF.get_or_init(|| {
        let is_xen_pv =
            fs::read_to_string("/sys/hypervisor/guest_type").is_ok_and(|kind| kind.trim() == "PV");
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        is_xen_pv || fields.any(|(key, value)| key.trim() == "MMU" && value.trim() == "Hash")
    })
}

/// Reads the module's counters.
pub(crate) fn stats() -> io::Result<raw::rust_gup_stats> {
    Ok(Device::open()?.stats()?.raw)
}

/// Returns the error number of a failed call, or 0 if the call succeeded.
#[track_caller]
pub(crate) fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(e) => errno_of(&e).unwrap_or_else(|| panic!("not an error of the system: {e}")),
    }
}

/// Fails unless `result` is the error `expected`.
#[track_caller]
pub(crate) fn refused<T>(result: io::Result<T>, expected: i32, what: &str) {
    let got = errno(result);
    assert_eq!(
        got,
        expected,
        "{what}: got {}, expected {}",
        errno_name(got),
        errno_name(expected)
    );
}

/// Makes the ioctl `number` with a structure of the test's own. Returns the error number, or 0.
pub(crate) fn call<T>(device: &Device, number: u32, argument: &mut T) -> i32 {
    call_at(
        device,
        number,
        std::ptr::from_mut(argument).expose_provenance(),
    )
}

/// Makes the ioctl `number` with whatever lies at `addr`. Returns the error number, or 0.
pub(crate) fn call_at(device: &Device, number: u32, addr: usize) -> i32 {
    let argument = with_exposed_provenance_mut::<u8>(addr);
    // SAFETY: The tests pass only addresses of memory that is mapped for this purpose, or of no memory at all.
    errno(unsafe { device.ioctl(number, argument) })
}

/// Does the same as [`call`], for callers that only have the descriptor.
pub(crate) fn call_fd<T>(fd: &impl AsFd, number: u32, argument: &mut T) -> i32 {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: The callers pass the structure of the call, and buffers of the size that the structure gives.
    let result = unsafe {
        libc::ioctl(
            fd,
            libc::c_ulong::from(number),
            std::ptr::from_mut(argument),
        )
    };
    errno(check(result))
}

/// Returns the bytes of a structure of the ABI.
pub(crate) fn bytes_of(value: impl IntoBytes + Immutable) -> Vec<u8> {
    value.as_bytes().to_vec()
}

/// All flags of a request for a range.
pub(crate) const FLAGS: u32 = raw::RUST_GUP_WRITE
    | raw::RUST_GUP_PIN
    | raw::RUST_GUP_LONGTERM
    | raw::RUST_GUP_FAST_ONLY
    | raw::RUST_GUP_FORCE
    | raw::RUST_GUP_NOFAULT
    | raw::RUST_GUP_PCI_P2PDMA
    | raw::RUST_GUP_HONOR_NUMA_FAULT
    | raw::RUST_GUP_SHORT_TERM;

/// The calls on a handle.
pub(crate) const HANDLE_CALLS: [&str; 4] = ["READ", "WRITE", "RUNS", "UNPIN"];

/// Returns the error numbers of the [`HANDLE_CALLS`].
pub(crate) fn handle_answers(fd: &impl AsFd, handle: u64) -> [i32; 4] {
    let mut bytes = [0_u8; 16];
    let buf = bytes.as_mut_ptr().expose_provenance() as u64;
    let mut copy = raw::rust_gup_copy {
        handle,
        offset: 0,
        len_bytes: 1,
        buf,
    };
    let mut runs = raw::rust_gup_runs {
        handle,
        buf,
        capacity: 1,
        ..Default::default()
    };
    [
        call_fd(fd, raw::RUST_GUP_IOC_READ, &mut copy),
        call_fd(fd, raw::RUST_GUP_IOC_WRITE, &mut copy),
        call_fd(fd, raw::RUST_GUP_IOC_RUNS, &mut runs),
        call_fd(
            fd,
            raw::RUST_GUP_IOC_UNPIN,
            &mut raw::rust_gup_unpin { handle },
        ),
    ]
}

/// Makes a request to pin memory for writing.
pub(crate) fn writable(addr: usize, len_bytes: usize) -> Request {
    Request::new(addr, len_bytes).access(Access::Write)
}

#[track_caller]
pub(crate) fn pin<'d>(device: &'d Device, request: &Request) -> Pinned<'d> {
    let pinned = device.pin(request, Engine::Rust);
    pinned.unwrap_or_else(|e| panic!("{request:x?}: {e}"))
}

/// Restricts a request to the fast path.
pub(crate) fn fast_only(request: Request) -> Request {
    request.fallback(Fallback::Never)
}

/// Punches a hole of `len` bytes at offset `at` into a file.
pub(crate) fn punch(file: &File, (at, len): (usize, usize)) {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, mode, at as u64, len as u64).expect("fallocate");
}

/// Fails unless `pinned` holds the bytes `expected` from `offset` on.
#[track_caller]
pub(crate) fn holds(pinned: &Pinned<'_>, offset: usize, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    pinned
        .read(offset as u64, &mut found)
        .expect("the handle can be read");
    if found == expected {
        return;
    }
    if let Some(at) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!(
            "the pages show {:#x} at offset {}, expected {:#x}",
            found[at],
            offset + at,
            expected[at]
        );
    }
}

/// Returns the frame of each page of a handle, from the handle's runs.
pub(crate) fn frames_of(pinned: &Pinned<'_>) -> Vec<u64> {
    // A request that took no page has no handle.
    if pinned.handle() == 0 {
        return Vec::new();
    }
    let runs = pinned.runs().expect("RUNS");
    assert_eq!(runs.len() as u64, pinned.nr_runs());
    runs.iter()
        .flat_map(|r| {
            let first = r.pfn.expect("root may see frame numbers");
            first..first + r.nr_pages
        })
        .collect()
}

/// Writes data through `pinned`.
#[track_caller]
pub(crate) fn store(pinned: &Pinned<'_>, offset: usize, data: &[u8]) {
    // SAFETY: The tests access pinned memory only through `Map`, which lends no references.
    unsafe { pinned.write(offset as u64, data) }.expect("the handle can be written to");
}

/// Returns `len` bytes that differ from page to page and from seed to seed. A shorter pattern is the beginning of a
/// longer one.
pub(crate) fn pattern(seed: usize, len: usize) -> Vec<u8> {
    const WORD: usize = size_of::<u64>();
    let mut bytes = vec![0; len.next_multiple_of(WORD)];
    let first = (seed as u64 + 1) << 32;
    for (number, place) in (first..).zip(bytes.chunks_exact_mut(WORD)) {
        place.copy_from_slice(&word(number).to_ne_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Returns the number that follows `name` in the first line that begins with `name`.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let number = line.strip_prefix([' ', '\t']).unwrap_or(line);
    number.split_whitespace().next()?.parse().ok()
}

/// Scales a time limit for the running kernel. A debug kernel gets more time (`scripts/vm` says how much).
pub(crate) fn scaled(limit: Duration) -> Duration {
    let factor = std::env::var("RUST_GUP_TIME_FACTOR").ok();
    limit * factor.and_then(|f| f.parse().ok()).unwrap_or(1)
}

/// Runs `body`, and fails if it takes longer than `limit`, [`scaled`].
#[track_caller]
pub(crate) fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> T {
    let limit = scaled(limit);
    let start = Instant::now();
    let result = body();
    let took = start.elapsed();
    assert!(took <= limit, "took {took:?}, expected at most {limit:?}");
    result
}

/// Returns whether the kernel has this version or a later one.
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let mut numbers = release.split('.').map(|n| n.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "nr_foll_pin_acquired 17\nnr_foll_pin 3\nVmLck:\t     8 kB\n";
        assert_eq!(field(text, "nr_foll_pin_acquired"), Some(17));
        assert_eq!(field(text, "VmLck:"), Some(8));
        assert_eq!(field(text, "VmPin:"), None);
    }
}
