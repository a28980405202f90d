// SPDX-License-Identifier: GPL-2.0

//! The calls, and the errors that `Documentation/uapi.rst` lists for them.

use rust_gup_uapi::{
    errno_name,
    raw,
    ERRNO_NAMES, //
};

use crate::harness::number;

/// A call of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Info,
    Pin,
    Unpin,
    Read,
    Write,
    Runs,
    Compare,
    Measure,
    Stats,
}

/// Flags that only the slow path heeds.
pub(super) const SLOW_FLAGS: [u32; 4] = [
    raw::RUST_GUP_FORCE,
    raw::RUST_GUP_NOFAULT,
    raw::RUST_GUP_PCI_P2PDMA,
    raw::RUST_GUP_HONOR_NUMA_FAULT,
];

impl Call {
    pub(super) const ALL: [Self; 9] = [
        Self::Info,
        Self::Pin,
        Self::Unpin,
        Self::Read,
        Self::Write,
        Self::Runs,
        Self::Compare,
        Self::Measure,
        Self::Stats,
    ];

    /// Returns the call's number in the header.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Info => raw::RUST_GUP_IOC_INFO,
            Self::Pin => raw::RUST_GUP_IOC_PIN,
            Self::Unpin => raw::RUST_GUP_IOC_UNPIN,
            Self::Read => raw::RUST_GUP_IOC_READ,
            Self::Write => raw::RUST_GUP_IOC_WRITE,
            Self::Runs => raw::RUST_GUP_IOC_RUNS,
            Self::Compare => raw::RUST_GUP_IOC_COMPARE,
            Self::Measure => raw::RUST_GUP_IOC_MEASURE,
            Self::Stats => raw::RUST_GUP_IOC_STATS,
        }
    }

    /// Returns the call that a number means, whatever size the number gives.
    pub(super) fn of(number: u32) -> Option<Self> {
        let without_size = |nr: u32| number::resized(nr, 0);
        Self::ALL
            .into_iter()
            .find(|call| without_size(call.number()) == without_size(number))
    }

    /// Returns the size of the call's structure.
    pub(super) fn size(self) -> usize {
        number::size(self.number())
    }

    /// Returns the size of the structure as first published. The module accepts no smaller one.
    pub(super) fn first_size(self) -> usize {
        let nr_grown = match self {
            Self::Info => 4,
            Self::Compare => 5,
            Self::Stats => 1,
            _ => 0,
        };
        self.size() - nr_grown * size_of::<u64>()
    }

    pub(super) fn reads_argument(self) -> bool {
        number::reads(self.number())
    }

    pub(super) fn writes_argument(self) -> bool {
        number::writes(self.number())
    }

    /// Returns the errors that `Documentation/uapi.rst` lists for the call. A test compares the two.
    pub(super) fn documented(self) -> Errors {
        let own: &[i32] = match self {
            Self::Info | Self::Stats => return Errors::of(&[0, libc::EFAULT, libc::EINVAL]),
            Self::Unpin => &[libc::ENOENT],
            Self::Read => &[libc::ENOENT, libc::EINTR],
            Self::Write => &[libc::ENOENT, libc::EACCES, libc::EINTR],
            Self::Runs => &[libc::ENOENT],
            Self::Compare => &[libc::EPERM, libc::EOVERFLOW, libc::ENOMEM, libc::EOPNOTSUPP],
            Self::Pin | Self::Measure => &[
                libc::EPERM,
                libc::EOVERFLOW,
                libc::ENOMEM,
                libc::EOPNOTSUPP,
                libc::EINTR,
                libc::EAGAIN,
                libc::EREMOTEIO,
                libc::EBUSY,
                libc::ETOOMANYREFS,
            ],
        };
        Errors::of(&[0, libc::EFAULT, libc::EINVAL, libc::E2BIG]) | Errors::of(own)
    }

    /// Returns the errors that can happen to a caller that lives to see them, on a machine without poisoned memory,
    /// peer-to-peer memory and DAX, while no page is migrated.
    pub(super) fn possible(self) -> Errors {
        let never: &[i32] = match self {
            // EAGAIN means that the process was killed.
            Self::Pin => &[
                libc::EINTR,
                libc::EAGAIN,
                libc::EREMOTEIO,
                libc::EBUSY,
                libc::ETOOMANYREFS,
            ],
            // Here EAGAIN also means that the range is not resident.
            Self::Measure => &[
                libc::EINTR,
                libc::EOPNOTSUPP,
                libc::EREMOTEIO,
                libc::EBUSY,
                libc::ETOOMANYREFS,
            ],
            Self::Read | Self::Write => &[libc::EINTR],
            _ => &[],
        };
        let never = never.iter().copied();
        never.fold(self.documented(), Errors::without)
    }
}

/// A set of error numbers. 0 stands for success.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Errors(u32);

impl Errors {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn of(errnos: &[i32]) -> Self {
        errnos
            .iter()
            .fold(Self::NONE, |set, &errno| set.with(errno))
    }

    fn bit(errno: i32) -> Option<u32> {
        let at = ERRNO_NAMES
            .iter()
            .position(|(number, _)| *number == errno)?;
        Some(1 << at)
    }

    #[must_use]
    pub(super) fn with(self, errno: i32) -> Self {
        Self(self.0 | Self::bit(errno).expect("an error number of ERRNO_NAMES"))
    }

    #[must_use]
    pub(super) fn without(self, errno: i32) -> Self {
        Self(self.0 & !Self::bit(errno).expect("an error number of ERRNO_NAMES"))
    }

    pub(super) fn contains(self, errno: i32) -> bool {
        Self::bit(errno).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Iterates over the error numbers, including success.
    pub(super) fn iter(self) -> impl Iterator<Item = i32> {
        let errnos = ERRNO_NAMES.iter().map(|(errno, _)| *errno);
        errnos.filter(move |errno| self.contains(*errno))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Errors {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::fmt::Debug for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.iter().map(errno_name).collect();
        f.write_str(&names.join("|"))
    }
}
