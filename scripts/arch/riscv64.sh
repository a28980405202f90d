# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# 64-bit RISC-V. scripts/lib.sh explains the variables.

SRCARCH=riscv
STOCK_FLAVOUR=riscv64
# The stock kernel was built by gcc, and the kernel wants clang for Rust here.
STOCK_RUST=static
TRIPLE=riscv64-linux-gnu
RUST_TARGET=riscv64gc-unknown-linux-gnu
IMAGE=arch/riscv/boot/Image
PACKAGES='busybox-static:riscv64 gcc-riscv64-linux-gnu libc6-dev-riscv64-cross libstd-rust-dev:riscv64 liburing-dev:riscv64 opensbi patch qemu-system-misc'
QEMU_SYSTEM=qemu-system-riscv64
MACHINE=virt
CONSOLE=ttyS0
