# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# x86-64. What each variable is for stands in scripts/lib.sh.

SRCARCH=x86
STOCK_FLAVOUR=cloud-amd64
TRIPLE=x86_64-linux-gnu
RUST_TARGET=x86_64-unknown-linux-gnu
IMAGE=arch/x86/boot/bzImage
PACKAGES='busybox-static qemu-system-x86 xen-hypervisor-4.20-amd64'
QEMU_SYSTEM=qemu-system-x86_64
MACHINE=pc
CONSOLE=ttyS0
PANIC_DEVICE=pvpanic
PANIC_MODULE=pvpanic-mmio
# A busy host would have the kernel distrust the time stamp counter.
CLOCK='tsc=reliable'
CPU_FLAGS=la57,pku,pdpe1gb
NO_RANDOM=,-rdrand,-rdseed
