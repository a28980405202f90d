// SPDX-License-Identifier: GPL-2.0

//! Memory with restricted access rights.

use std::{
    io,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    ptr::with_exposed_provenance_mut,
    rc::Rc, //
};

use libc::c_int;
use rust_gup_memory::{
    proc::PAGEMAP_PRESENT,
    size::page_bytes, //
};
use rust_gup_uapi::raw::{
    RUST_GUP_STOP_ABSENT as ABSENT,
    RUST_GUP_STOP_NOT_USER as NOT_USER,
    RUST_GUP_STOP_PKEY as PKEY,
    RUST_GUP_STOP_PROT_NONE as PROT_NONE,
    RUST_GUP_STOP_READ_ONLY as READ_ONLY, //
};

use super::{
    anon::{
        absent,
        filled,
        untouched, //
    },
    huge,
    Page,
    Parity,
    Scene,
    Situation, //
};
use crate::{
    arch::HAS_INACCESSIBLE_LEAVES,
    harness::{
        fixture::check,
        memory::{
            self,
            prot_none_is_fast,
            userfaultfd,
            Map,
            RW, //
        },
        pkeys::{
            pkey_alloc,
            pkey_free,
            pkey_mprotect,
            pkey_set, //
        },
        proof::{
            kpf,
            pm, //
        },
        runner::skip, //
    }, //
};

pub(super) const SITUATIONS: &[Situation] = &[
    Situation::new("prot_none", || prot_none(filled(NR_PAGES))),
    Situation::new("prot_none_thp", prot_none_thp),
    Situation::new("read_only", read_only),
    Situation::new("read_only_thp", read_only_thp),
    Situation::new("write_only", write_only),
    Situation::new("write_only_never_touched", write_only_never_touched),
    Situation::new("execute_only", execute_only),
    Situation::new("alternating_rights", alternating_rights),
    Situation::new("pkey_denies_access", || pkey(filled(NR_PAGES), 0, 1)),
    Situation::new("pkey_denies_writing", || pkey(filled(NR_PAGES), 0, 2)),
    Situation::new("pkey_denies_access_thp", || pkey(huge::filled(2), 1, 1)),
    Situation::new("uffd_write_protected", || {
        write_protected(filled(NR_PAGES), 0)
    }),
    Situation::new("uffd_write_protected_thp", || {
        write_protected(huge::filled(2), 1)
    }),
    Situation::new("uffd_missing", missing),
    Situation::new("guard_pages", guard_pages),
];

const NR_PAGES: usize = 16;

fn prot_none((map, words): (Map, Vec<u64>)) -> Scene {
    map.protect(0, map.len_bytes, libc::PROT_NONE);
    map.prove_kind(kpf::ANON, kpf::ANON);
    if !prot_none_is_fast() {
        return Scene::new(map, words, |_, _| Page::refused(PROT_NONE, libc::EFAULT));
    }
    let scene = Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::refused(PROT_NONE, libc::EFAULT)
        } else {
            Page::only_kernel(PROT_NONE, Parity::ProtNone)
        }
    });
    // The owner may not look at the contents.
    scene.unsteady()
}

fn prot_none_thp() -> Scene {
    if !HAS_INACCESSIBLE_LEAVES {
        skip("the kernel loses huge pages whose access rights are removed");
    }
    prot_none(huge::filled(1))
}

fn read_only() -> Scene {
    let (map, words) = filled(NR_PAGES);
    map.protect(0, map.len_bytes, libc::PROT_READ);
    map.prove_rights("r--");
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}

fn read_only_thp() -> Scene {
    let (map, words) = huge::filled(1);
    map.protect(0, map.len_bytes, libc::PROT_READ);
    map.prove_rights("r--");
    map.prove_smaps("AnonHugePages", map.len_bytes);
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            Page::fast(1)
        }
    })
}

/// Memory that may only be written. The processor has no such right, so present pages can be read. The fast walks read
/// them too, because they see only the rights in the entries. The slow path checks the VMA and refuses.
fn write_only() -> Scene {
    let (map, words) = filled(NR_PAGES);
    map.protect(0, map.len_bytes, libc::PROT_WRITE);
    map.prove_rights("-w-");
    Scene::new(map, words, |way, _| {
        if way.is_write() {
            Page::fast(0)
        } else {
            Page::only_fast()
        }
    })
}

fn write_only_never_touched() -> Scene {
    let map = untouched(NR_PAGES);
    map.protect(0, map.len_bytes, libc::PROT_WRITE);
    map.prove_rights("-w-");
    Scene::new(map, vec![0; NR_PAGES], |way, _| {
        if way.is_write() {
            absent(way)
        } else {
            Page::refused(ABSENT, libc::EFAULT)
        }
    })
}

/// Memory that may only be executed. The kernel uses a protection key for that; without keys the memory can be read.
fn execute_only() -> Scene {
    let (map, words) = filled(NR_PAGES);
    // On a machine with movable memory, move the pages out of it first. Other situations cover pages that lie there.
    map.settle(0, map.len_bytes);
    map.protect(0, map.len_bytes, libc::PROT_EXEC);
    map.prove_rights("--x");
    let reason = memory::execute_only();
    Scene::new(map, words, move |way, _| match reason {
        // The entry is not one of user space, whatever the access.
        Some(reason @ NOT_USER) => Page::refused(reason, libc::EFAULT),
        _ if way.is_write() => Page::refused(READ_ONLY, libc::EFAULT),
        Some(reason) => Page::refused(reason, libc::EFAULT),
        None => Page::only_fast(),
    })
}

/// Every second page is read-only, so each page has a VMA of its own. The fast walk does not see VMAs.
fn alternating_rights() -> Scene {
    let (map, words) = filled(NR_PAGES);
    for page in (1..NR_PAGES).step_by(2) {
        map.protect(page * page_bytes(), page_bytes(), libc::PROT_READ);
    }
    Scene::new(map, words, |way, page| {
        if way.is_write() && page % 2 == 1 {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}

/// A protection key of this thread, and its access rights.
struct Key(i32);

impl Key {
    fn allocate() -> Option<Self> {
        // SAFETY: The call takes no pointers.
        check(unsafe { pkey_alloc(0, 0) }).ok().map(Self)
    }

    /// Sets the rights of the key: bit 0 denies any access, bit 1 denies writing.
    fn deny(&self, rights: u32) {
        // SAFETY: The key is allocated; only its rights change, and the caller touches no memory under it meanwhile.
        check(unsafe { pkey_set(self.0, rights) }).expect("pkey_set");
    }

    fn protect(&self, map: &Map, at: usize, len: usize) {
        let start = with_exposed_provenance_mut(map.addr + at);
        // SAFETY: The range lies in the mapping, which is ours.
        check(unsafe { pkey_mprotect(start, len, RW, self.0) }).expect("pkey_mprotect");
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.deny(0);
        // SAFETY: The call takes no pointers.
        unsafe { pkey_free(self.0) };
    }
}

/// Memory whose second half has a protection key. The rights of the key are `denied` while an engine runs.
fn pkey((map, words): (Map, Vec<u64>), level: usize, denied: u32) -> Scene {
    let Some(key) = Key::allocate() else {
        skip("no protection keys: a CPU with them, qemu -cpu max");
    };
    let half = map.nr_pages() / 2;
    key.protect(&map, half * page_bytes(), half * page_bytes());
    if level == 1 {
        map.prove_smaps("AnonHugePages", map.len_bytes);
    }
    let key = Rc::new(key);
    let scene = Scene::new(map, words, move |way, page| {
        if page >= half && (denied == 1 || way.is_write()) {
            Page::refused(PKEY, libc::EFAULT)
        } else {
            Page::fast(level)
        }
    });
    scene.around(move |within| key.deny(if within { denied } else { 0 }))
}

/// `UFFDIO_REGISTER_MODE_WP`
const MODE_WP: u64 = 1 << 1;

/// A userfaultfd without a reader. A fault that it would have to handle fails.
struct Uffd(OwnedFd);

impl Uffd {
    /// Registers the memory for missing pages, or for writes to protected ones, depending on `mode`.
    fn register(map: &Map, mode: u64) -> Self {
        const REGISTER: u32 = 0xc020_aa00;
        const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
        const FEATURE_SIGBUS: u64 = 1 << 7;
        let (fd, offered) = match userfaultfd(FEATURE_SIGBUS) {
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                skip("no userfaultfd: CONFIG_USERFAULTFD")
            }
            result => result.expect("UFFDIO_API"),
        };
        if mode & MODE_WP != 0 && offered & FEATURE_PAGEFAULT_FLAG_WP == 0 {
            skip("userfaultfd gives no notice of writes: CONFIG_HAVE_ARCH_USERFAULTFD_WP");
        }
        let uffd = Self(fd);
        uffd.call(REGISTER, [map.addr as u64, map.len_bytes as u64, mode, 0])
            .expect("UFFDIO_REGISTER");
        uffd
    }

    fn protect(&self, map: &Map) {
        const WRITEPROTECT: u32 = 0xc018_aa06;
        self.call(WRITEPROTECT, [map.addr as u64, map.len_bytes as u64, 1, 0])
            .expect("UFFDIO_WRITEPROTECT");
    }

    fn call(&self, number: u32, mut argument: [u64; 4]) -> io::Result<c_int> {
        // SAFETY: None of the structures is larger than `argument`.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), number.into(), argument.as_mut_ptr()) })
    }
}

/// Memory whose second half is write-protected by userfaultfd.
fn write_protected((map, words): (Map, Vec<u64>), level: usize) -> Scene {
    let half = map.nr_pages() / 2;
    let protected = map.part(half * page_bytes(), half * page_bytes());
    let uffd = Uffd::register(&map, MODE_WP);
    uffd.protect(&protected);
    protected.prove_state(pm::UFFD_WP | PAGEMAP_PRESENT, pm::UFFD_WP | PAGEMAP_PRESENT);
    if level == 1 {
        map.prove_smaps("AnonHugePages", map.len_bytes);
    }
    Scene::new(map, words, move |way, page| {
        if page >= half && way.is_write() {
            Page::refused(READ_ONLY, libc::EFAULT)
        } else {
            Page::fast(level)
        }
    })
    .keep(uffd)
}

/// Memory whose first half is present, and whose second half is missing.
fn missing() -> Scene {
    const MODE_MISSING: u64 = 1;
    let map = untouched(NR_PAGES);
    let half = NR_PAGES / 2;
    let mut words = super::situation::fill(&map.part(0, half * page_bytes()));
    words.resize(NR_PAGES, 0);
    let uffd = Uffd::register(&map, MODE_MISSING);
    map.part(half * page_bytes(), half * page_bytes())
        .prove_state(PAGEMAP_PRESENT | pm::SWAPPED, 0);
    Scene::new(map, words, move |_, page| {
        if page < half {
            Page::fast(0)
        } else {
            Page::refused(ABSENT, libc::EFAULT)
        }
    })
    .keep(uffd)
}

fn guard_pages() -> Scene {
    const MADV_GUARD_INSTALL: c_int = 102;
    const FIRST: usize = 6;
    let (map, words) = filled(NR_PAGES);
    if map
        .try_advise(FIRST * page_bytes(), 2 * page_bytes(), MADV_GUARD_INSTALL)
        .is_err()
    {
        skip("no guard pages: Linux 6.13 or newer");
    }
    map.part(FIRST * page_bytes(), 2 * page_bytes())
        .prove_state(pm::GUARD | PAGEMAP_PRESENT, pm::GUARD);
    Scene::new(map, words, |_, page| {
        if (FIRST..FIRST + 2).contains(&page) {
            Page::refused(ABSENT, libc::EFAULT)
        } else {
            Page::fast(0)
        }
    })
}
