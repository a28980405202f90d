# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# 32-bit Arm with LPAE. scripts/lib.sh explains the variables.

SRCARCH=arm
STOCK_FLAVOUR=armmp-lpae
# The stock kernel was built by another version of rustc than the build root has.
STOCK_RUST=static
TRIPLE=arm-linux-gnueabihf
RUST_TARGET=armv7-unknown-linux-gnueabihf
IMAGE=arch/arm/boot/zImage
PACKAGES='busybox-static:armhf gcc-arm-linux-gnueabihf libc6-dev-armhf-cross libstd-rust-dev:armhf liburing-dev:armhf qemu-system-arm'
QEMU_SYSTEM=qemu-system-arm
MACHINE=virt
CONSOLE=ttyAMA0
# The kernel does not migrate huge pages (ARCH_ENABLE_THP_MIGRATION). If one lay in movable memory, a long-term pin would
# fail, and with it all pages of the same batch, and the engines have batches of different sizes.
MOVABLE=
# The generic timer of many models has ticks of 16 ns.
COUNTING_CPU=,cntfrq=1000000000
