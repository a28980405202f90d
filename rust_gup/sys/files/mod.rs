// SPDX-License-Identifier: GPL-2.0

//! Files that serve ioctls, and their structures.

pub(crate) mod abi;
pub(crate) mod chardev;
pub(crate) mod debugfs;
pub(crate) mod gup_test_abi;
pub(crate) mod ioctl_file;
