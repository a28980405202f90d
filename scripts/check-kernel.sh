#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check-kernel.sh KDIR: can a Rust module be built against KDIR? Says what is
# missing, all of it, before rustc fails on it with less to go by, and the
# command that mends it. Silent when nothing is missing.

set -euo pipefail

KDIR=${1:?usage: check-kernel.sh KDIR}
RUSTC=${RUSTC:-rustc}
LINES=()
MEND=()
BAD=0

line() {
	LINES+=("$(printf '%-22s %s' "$1" "$2")")
}

missing() {
	line "$1" "$2"
	BAD=1
	[ -z "${3:-}" ] || MEND+=("$3")
}

config() {
	sed -n "s/^$1=//p" "$KDIR/.config" | tr -d '"'
}

PREPARE="make    (prepares a stock kernel in the cache and builds for it: leave KDIR out)"

check_tree() {
	if [ ! -d "$KDIR" ]; then
		missing KDIR "no such directory"
	elif [ ! -e "$KDIR/.config" ]; then
		missing .config "missing - not a configured kernel build directory"
	else
		return 0
	fi
	MEND+=("$PREPARE")
	return 1
}

check_config() {
	if [ "$(config CONFIG_RUST)" = y ]; then
		line CONFIG_RUST y
	else
		missing CONFIG_RUST "not set - this kernel was built without Rust" \
			"a kernel with CONFIG_RUST=y is needed: $PREPARE"
	fi
	if [ "$(config CONFIG_MODULES)" != y ]; then
		missing CONFIG_MODULES "not set - this kernel loads no modules"
	fi
	if [ "$(config CONFIG_64BIT)" != y ]; then
		missing CONFIG_64BIT "not set - rust_gup walks 64-bit kernels' tables"
	fi
}

# CONFIG_RUSTC_VERSION is 108501 for 1.85.1.
check_rustc() {
	local want have
	want=$(config CONFIG_RUSTC_VERSION)
	if [ -n "$want" ] && [ "$want" -gt 0 ]; then
		want=$((want / 100000)).$((want / 100 % 1000)).$((want % 100))
	else
		want=
	fi
	have=$("$RUSTC" --version 2>/dev/null | cut -d' ' -f2) || have=
	if [ -z "$have" ]; then
		missing rustc "not found${want:+  (kernel was configured with $want)}" \
			"install rustc ${want:-of the version the kernel was built with}"
	elif [ -n "$want" ] && [ "$have" != "$want" ]; then
		missing rustc "$have  (kernel was configured with $want)" \
			"rustup toolchain install $want    (then: make RUSTC=\"\$(rustup which --toolchain $want rustc)\" KDIR=$KDIR)"
	else
		line rustc "$have${want:+  (kernel was configured with $want)}"
	fi
	RUSTC_HAS=$have
}

# The headers packages of the distributions lack the kernel's Rust metadata.
# Which files there are grows from version to version: look for the first and
# the last of the chain, and take the others from the kernel's own Makefile.
check_metadata() {
	local f have absent=0
	for f in libcore.rmeta libkernel.rmeta libbindings.rmeta; do
		if [ -e "$KDIR/rust/$f" ]; then
			continue
		fi
		missing "rust/$f" "missing - no Rust metadata of the kernel here"
		absent=1
	done
	if ! ls "$KDIR"/rust/libmacros.so >/dev/null 2>&1; then
		missing rust/libmacros.so "missing - the kernel's Rust macros are not built"
		absent=1
	fi
	if [ ! -e "$KDIR/scripts/target.json" ] && [ "$(config CONFIG_X86_64)" = y ]; then
		missing scripts/target.json "missing - the kernel's Rust target"
		absent=1
	fi
	if [ "$absent" = 1 ]; then
		MEND+=("make -C $KDIR prepare modules_prepare    (a full source tree with this configuration)"
			"or $PREPARE")
		return
	fi
	# .config may name one compiler while another one built the metadata:
	# what counts is what stands in it (rustc's own check is E0514).
	have=$(grep -a -o -m1 'rustc [0-9][0-9.]*[0-9]' "$KDIR/rust/libkernel.rmeta" | head -n 1 | cut -d' ' -f2) || have=
	if [ -n "$have" ] && [ -n "$RUSTC_HAS" ] && [ "$have" != "$RUSTC_HAS" ]; then
		missing rust/libkernel.rmeta "written by rustc $have, rustc here is $RUSTC_HAS" \
			"make -C $KDIR clean prepare modules_prepare    (with this rustc)"
	else
		line 'rust/*.rmeta' "present${have:+  (written by rustc $have)}"
	fi
}

check_tools() {
	command -v "${BINDGEN:-bindgen}" >/dev/null ||
		missing bindgen "not found" "install bindgen (Debian: apt-get install bindgen)"
	[ -e "$KDIR/Module.symvers" ] ||
		missing Module.symvers "missing - the kernel's symbols are not known" \
			"make -C $KDIR modules, or copy it from the kernel's headers package"
}

if check_tree; then
	check_config
	check_rustc
	check_metadata
	check_tools
fi

if [ "$BAD" -ne 0 ]; then
	echo "rust_gup: cannot build against $KDIR"
	printf '  %s\n' "${LINES[@]}"
	printf 'run: %s\n' "${MEND[@]:-$PREPARE}"
	exit 1
fi >&2
