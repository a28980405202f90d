# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# LoongArch, 64 bits. scripts/lib.sh explains the variables.

SRCARCH=loongarch
STOCK_FLAVOUR=loong64
# The stock kernel was built by another version of rustc than the build root has.
STOCK_RUST=static
TRIPLE=loongarch64-linux-gnu
RUST_TARGET=loongarch64-unknown-linux-gnu
IMAGE=arch/loongarch/boot/vmlinux.efi
PACKAGES='busybox-static:loong64 gcc-loongarch64-linux-gnu libc6-dev-loong64-cross qemu-efi-loongarch64 qemu-system-misc'
# Debian trixie does not have the architecture.
GUEST_SUITE=sid
BUILD_STD=yes
QEMU_SYSTEM=qemu-system-loongarch64
MACHINE=virt
CONSOLE=ttyS0
# Without ACPI, which the firmware has, the stock kernel does not find PCI.
FIRMWARE=/usr/share/qemu-efi-loongarch64/QEMU_EFI.fd
