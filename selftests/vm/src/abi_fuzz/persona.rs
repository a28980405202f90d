// SPDX-License-Identifier: GPL-2.0

//! The callers: their privileges, and how they get access to the device.

use rust_gup_uapi::Device;
use rustix::thread::{
    set_no_new_privs,
    CapabilitySet, //
};

use super::script::Scope;
use crate::{
    arch::{
        AUDIT_ARCH,
        COMPAT, //
    },
    harness::{
        fixture::check,
        process::{
            become_privileged_user,
            become_user,
            drop_capabilities,
            enter_user_namespace,
            limit_locked_memory, //
        }, //
    }, //
};

/// First of the users that nothing else on the machine runs as.
const FIRST_USER: u32 = 100_000;

/// A kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persona {
    /// Has all privileges.
    Root,
    /// A user with all capabilities but CAP_SYS_ADMIN and CAP_IPC_LOCK.
    Restricted,
    /// An unprivileged user that opens the device, whose mode allows it.
    User,
    /// An unprivileged user that inherits open files.
    Heir,
    /// An unprivileged user with all capabilities in its own user namespace.
    Namespace,
    /// An unprivileged user that may call nothing but ioctl().
    Filtered,
}

impl Persona {
    pub(super) const ALL: [Self; 6] = [
        Self::Root,
        Self::Restricted,
        Self::User,
        Self::Heir,
        Self::Namespace,
        Self::Filtered,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Restricted => "restricted",
            Self::User => "user",
            Self::Heir => "heir",
            Self::Namespace => "namespace",
            Self::Filtered => "filtered",
        }
    }

    /// Returns whether the persona has CAP_SYS_ADMIN.
    pub(super) fn is_admin(self) -> bool {
        self == Self::Root
    }

    /// Returns whether the persona gets its files before it gives up its privileges.
    pub(super) fn inherits_files(self) -> bool {
        matches!(self, Self::Heir | Self::Filtered)
    }

    /// Returns how many pages the persona may hold, if it has a limit.
    pub(super) fn limit(self, choice: usize) -> Option<u64> {
        (self != Self::Root).then(|| [0, 8, 64, 100_000][choice % 4])
    }

    pub(super) fn scope(self) -> Scope {
        Scope {
            only_calls: self == Self::Filtered,
            compat: COMPAT.is_some() && self != Self::Namespace,
        }
    }

    /// Gives up the privileges that the persona does not have. Must be called while the process has a single thread.
    pub(super) fn assume(self, limit: Option<u64>) {
        if let Some(nr_pages) = limit {
            limit_locked_memory(nr_pages as usize);
        }
        // The limit applies to all processes of a user together, so each case runs as another user.
        let user = FIRST_USER + std::process::id();
        match self {
            Self::Root => {}
            Self::Restricted => {
                become_privileged_user(user);
                drop_capabilities(CapabilitySet::IPC_LOCK | CapabilitySet::SYS_ADMIN);
            }
            Self::User | Self::Heir => become_user(user),
            Self::Filtered => {
                become_user(user);
                keep_memory();
            }
            Self::Namespace => {
                become_user(user);
                enter_user_namespace();
            }
        }
    }

    /// Gives up what is given up for each thread, when the thread begins.
    pub(super) fn assume_in_thread(self) {
        if self == Self::Filtered {
            allow_only_ioctl();
        }
    }
}

/// Makes the allocator get all memory that will be needed, so that it needs no system calls later.
fn keep_memory() {
    const ENOUGH: usize = 8 << 20;
    // SAFETY: `mallopt()` takes no pointers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 2 * ENOUGH as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * ENOUGH as libc::c_int);
    }
    drop(std::hint::black_box(vec![1_u8; ENOUGH]));
}

/// Installs a filter for this thread. It allows ioctl(), and what a thread needs to wait and to end.
fn allow_only_ioctl() {
    const ALLOWED: [libc::c_long; 9] = [
        libc::SYS_ioctl,
        libc::SYS_write,
        libc::SYS_futex,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let load = |offset: u32| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    };
    let skip_unless = |k: u32, nr: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: nr,
        k,
    };
    let answer = |k: u32| libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    // struct seccomp_data begins with the number and the architecture.
    let mut filter = Vec::new();
    if let Some(compat) = COMPAT {
        filter.extend([load(4), skip_unless(compat.audit_arch, 3), load(0)]);
        filter.extend([
            skip_unless(compat.nr_ioctl, 1),
            answer(libc::SECCOMP_RET_ALLOW),
        ]);
    }
    filter.extend([
        load(4),
        skip_unless(AUDIT_ARCH, 1 + 2 * ALLOWED.len() as u8),
    ]);
    filter.push(load(0));
    for number in ALLOWED {
        filter.extend([
            skip_unless(number as u32, 1),
            answer(libc::SECCOMP_RET_ALLOW),
        ]);
    }
    filter.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set_no_new_privs(true).expect("no_new_privs");
    // SAFETY: `program` names a filter that lives until the calls are done.
    unsafe {
        check(libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        ))
        .expect("seccomp");
        // Check that the filter works.
        assert_eq!(libc::getppid(), -1, "the filter denies getppid()");
    }
}

/// Lets everybody open the device as long as this value exists.
pub(super) struct OpenToAll;

impl OpenToAll {
    pub(super) fn new() -> Self {
        set_mode(0o666);
        Self
    }
}

impl Drop for OpenToAll {
    fn drop(&mut self) {
        set_mode(0o600);
    }
}

fn set_mode(mode: u32) {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(Device::path(), mode).expect("chmod of the device");
}
