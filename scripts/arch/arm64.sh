# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# 64-bit Arm. scripts/lib.sh explains the variables.

SRCARCH=arm64
STOCK_FLAVOUR=cloud-arm64
STOCK_RUST=kernel
TRIPLE=aarch64-linux-gnu
RUST_TARGET=aarch64-unknown-linux-gnu
IMAGE=arch/arm64/boot/Image.gz
PACKAGES='busybox-static:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstd-rust-dev:arm64 liburing-dev:arm64 qemu-system-arm'
QEMU_SYSTEM=qemu-system-aarch64
MACHINE=virt
CONSOLE=ttyAMA0
# The generic timer of many models has ticks of 16 ns.
COUNTING_CPU=,cntfrq=1000000000
