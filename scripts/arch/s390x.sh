# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# s390. scripts/lib.sh explains the variables.

SRCARCH=s390
STOCK_FLAVOUR=s390x
# Debian builds this kernel without rustc, so it has no Rust.
STOCK_RUST=static
TRIPLE=s390x-linux-gnu
RUST_TARGET=s390x-unknown-linux-gnu
IMAGE=arch/s390/boot/bzImage
# The kernel wants rustc 1.96 here. trixie has it for web browsers, and instead of its rustc.
RUST_PACKAGES='rustc-web rust-web-src rustfmt-web rust-web-clippy cargo-web'
PACKAGES='gcc-s390x-linux-gnu libc6-dev-s390x-cross patch qemu-system-s390x'
# Mirrors may lack libraries of s390x that these depend on, and only the files of these are needed.
BARE_PACKAGES='busybox-static:s390x libstd-rust-web-dev:s390x liburing-dev:s390x'
QEMU_SYSTEM=qemu-system-s390x
MACHINE=s390-ccw-virtio
CONSOLE=ttysclp0
