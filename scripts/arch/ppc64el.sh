# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# 64-bit PowerPC, little-endian. scripts/lib.sh explains the variables.

SRCARCH=powerpc
STOCK_FLAVOUR=powerpc64le
# The stock kernel was built without Rust, which it can have on PowerPC since 7.3.
STOCK_RUST=static
TRIPLE=powerpc64le-linux-gnu
RUST_TARGET=powerpc64le-unknown-linux-gnu
IMAGE=vmlinux
PACKAGES='gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross patch qemu-system-ppc'
# Mirrors may lack libraries of ppc64el that these depend on, and only the files of these are needed.
BARE_PACKAGES='busybox-static:ppc64el libstd-rust-dev:ppc64el liburing-dev:ppc64el'
QEMU_SYSTEM=qemu-system-ppc64
# VOF is a firmware that takes a second. The other one, SLOF, takes twenty.
MACHINE=pseries,x-vof=on
CONSOLE=hvc0
BEST_CPU=power10
# With a variable of the firmware QEMU makes partitions in the NVRAM. The kernel complains of one without any.
QEMU_ARGS='-prom-env rust_gup=y'
# The kernel takes a CPU for one that hangs if it waits for the host for ten seconds.
BOOT_PARAMETERS=nmi_watchdog=0
