#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check-kernel.sh KDIR: checks whether a Rust module can be built against KDIR. If not, it lists
# everything that is missing and the commands that fix it. Without this check rustc would fail with
# a less helpful message. Prints nothing when nothing is missing.

set -euo pipefail

KDIR=${1:?usage: check-kernel.sh KDIR}
RUSTC=${RUSTC:-rustc}
FOUND=()
MEND=()
BAD=0

found() {
	FOUND+=("$(printf '%-22s %s' "$1" "$2")")
}

# missing WHAT HOW [COMMAND]: records a problem. COMMAND fixes it in this tree.
missing() {
	found "$1" "$2"
	BAD=1
	[ -z "${3:-}" ] || MEND+=("$3")
}

config() {
	sed -n "s/^$1=//p" "$KDIR/.config" | tr -d '"'
}

check_tree() {
	if [ ! -d "$KDIR" ]; then
		missing "$KDIR" "no such directory"
		return 1
	elif [ ! -e "$KDIR/.config" ]; then
		missing .config "missing - not the build directory of a configured kernel"
		return 1
	fi
}

check_config() {
	local option
	for option in CONFIG_RUST CONFIG_MODULES CONFIG_HAVE_GUP_FAST; do
		if [ "$(config $option)" = y ]; then
			found $option y
		else
			missing $option "not set" "configure the kernel with $option=y and build it"
		fi
	done
}

# CONFIG_RUSTC_VERSION is 108501 for 1.85.1.
check_rustc() {
	local version want
	version=$(config CONFIG_RUSTC_VERSION)
	RUSTC_WANTED=
	if [ -n "$version" ] && [ "$version" -gt 0 ]; then
		RUSTC_WANTED=$((version / 100000)).$((version / 100 % 1000)).$((version % 100))
	fi
	want=${RUSTC_WANTED:+  (the kernel was configured with $RUSTC_WANTED)}
	RUSTC_HERE=$("$RUSTC" --version 2>/dev/null | cut -d' ' -f2) || RUSTC_HERE=
	if [ -z "$RUSTC_HERE" ]; then
		missing rustc "not found$want" "install rustc ${RUSTC_WANTED:-of the version that the kernel was built with}"
	elif [ -n "$RUSTC_WANTED" ] && [ "$RUSTC_HERE" != "$RUSTC_WANTED" ]; then
		missing rustc "$RUSTC_HERE$want" "rustup override set $RUSTC_WANTED"
	else
		found rustc "$RUSTC_HERE$want"
	fi
}

# The headers packages of the distributions do not contain the kernel's Rust metadata.
check_metadata() {
	local file wrote absent=''
	for file in libcore.rmeta libkernel.rmeta libbindings.rmeta libmacros.so; do
		if [ ! -e "$KDIR/rust/$file" ]; then
			missing "rust/$file" "missing"
			absent=yes
		fi
	done
	if [ -n "$absent" ]; then
		found '' "the headers do not hold the kernel's Rust metadata"
		MEND+=("make -C SOURCE O=$KDIR prepare modules_prepare, with the kernel's full SOURCE")
		return
	fi
	# .config may name one compiler although another one wrote the metadata. rustc compares with
	# the compiler that wrote it (E0514).
	wrote=$(grep -a -o -m1 'rustc [0-9][0-9.]*[0-9]' "$KDIR/rust/libkernel.rmeta" | head -n 1 | cut -d' ' -f2) || wrote=
	if [ -n "$wrote" ] && [ -n "$RUSTC_HERE" ] && [ "$wrote" != "$RUSTC_HERE" ]; then
		missing rust/libkernel.rmeta "written by rustc $wrote, and rustc here is $RUSTC_HERE"
		if [ "$RUSTC_HERE" = "$RUSTC_WANTED" ]; then
			MEND+=("make -C $KDIR clean prepare modules_prepare")
		fi
	else
		found 'rust/*.rmeta' "present${wrote:+  (written by rustc $wrote)}"
	fi
}

check_tools() {
	command -v "${BINDGEN:-bindgen}" >/dev/null ||
		missing bindgen "not found" "apt-get install bindgen, or cargo install bindgen-cli"
	[ -e "$KDIR/Module.symvers" ] ||
		missing Module.symvers "missing - the kernel's symbols" \
			"make -C $KDIR modules, or take it from the kernel's headers package"
}

if check_tree; then
	check_config
	check_rustc
	check_metadata
	check_tools
fi

[ "$BAD" -ne 0 ] || exit 0

release=$(cat "$KDIR/include/config/kernel.release" 2>/dev/null) || release=
case $release in
*+deb*-*) stock="make KVER=$release" ;;
*) stock="make" ;;
esac
{
	echo "rust_gup: cannot build against $KDIR"
	printf '  %s\n' "${FOUND[@]}"
	echo "run: $stock    (without KDIR: prepares a stock kernel in the cache, and builds for it)"
	if [ ${#MEND[@]} -gt 0 ]; then
		echo "or, for this tree:"
		printf '  %s\n' "${MEND[@]}"
	fi
} >&2
exit 1
