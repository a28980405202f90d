# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# x86-64. scripts/lib.sh explains the variables.

SRCARCH=x86
STOCK_FLAVOUR=cloud-amd64
STOCK_RUST=kernel
TRIPLE=x86_64-linux-gnu
RUST_TARGET=x86_64-unknown-linux-gnu
IMAGE=arch/x86/boot/bzImage
PACKAGES='busybox-static qemu-system-x86 xen-hypervisor-4.20-amd64'
QEMU_SYSTEM=qemu-system-x86_64
MACHINE=pc
CONSOLE=ttyS0
PANIC_DEVICE=pvpanic
PANIC_MODULE=pvpanic-mmio
# On a busy host the kernel would otherwise mark the time stamp counter as unstable.
CLOCK='tsc=reliable'
CPU_FLAGS=la57,pku,pdpe1gb
COUNTING_CPU=,-rdrand,-rdseed
