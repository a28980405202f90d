#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Prepares a stock Debian kernel in the user's cache, unless it is there already: for building Rust
# modules, and for booting. Prints its directory, which contains
#   source/   the kernel's source (without most drivers)
#   build/    the directory for KDIR: the stock configuration, with Rust metadata
#   vmlinuz   the stock image
#   modules/  the stock modules, as lib/modules/RELEASE below it
#   release   the kernel's release
#
# KVER=7.2, KVER=7.2.12 or KVER=RELEASE chooses the kernel, FLAVOUR=amd64 the flavour, ARCH=arm64
# the architecture. Without KVER it is the newest complete kernel of the first suite that has a
# complete one. The choice is stored, and --update looks it up again. build-debug-kernel.sh builds
# the debug flavours from the source of the same kernel.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/kernel.sh"

# The first of these suites that has the kernel is used.
SUITES='trixie-backports sid'

# list_packages FILE: writes the packages of the suite to FILE, one "package version" a line.
list_packages() {
	apt_update || return
	# shellcheck disable=SC2016
	in_apt sh -c 'apt-get indextargets --format "\$(FILENAME)" "Created-By: Packages" |
		xargs /usr/lib/apt/apt-helper cat-file' |
		awk '/^Package: / { p = $2 } /^Version: / { print p, $2 }' >"$1" || return
	grep -q '^linux-source-' "$1"
}

# kernels WANT: prints the kernels whose image, modules, headers and source the suite has in the
# same version.
kernels() {
	awk -v flavour="$FLAVOUR" -v want="$1" -f "$TOP/scripts/kernel-lookup.awk" "$CHOICE.packages" | sort -V
}

# choose: looks the kernel up. CHOICE gets "version release source-package suite". CHOICE.lacks gets
# the reasons why the suites before that one were not used.
choose() {
	local suite found=''
	: >"$CHOICE.lacks"
	for suite in $SUITES; do
		use_suite "$suite"
		if ! list_packages "$CHOICE.packages"; then
			echo "$suite: its index for $ARCH cannot be had, or is broken" >>"$CHOICE.lacks"
			continue
		fi
		found=$(kernels "$KVER" | tail -n 1)
		if [ -n "$found" ]; then
			echo "$found $suite" >"$CHOICE.new"
			mv "$CHOICE.new" "$CHOICE"
			break
		fi
		echo "$suite: no kernel of flavour $FLAVOUR${KVER:+ and version $KVER} is complete; it has:" \
			"$(kernels '' | awk '{ all = all " " $2 } END { print all ? substr(all, 2) : "none" }')" >>"$CHOICE.lacks"
	done
	rm -f "$CHOICE.packages"
	if [ -z "$found" ]; then
		cat "$CHOICE.lacks"
		return 1
	fi
}

unpack() {
	local pattern exclude=()
	set -f
	for pattern in $NOT_NEEDED; do
		exclude+=(--exclude="$SOURCE/$pattern")
	done
	set +f
	unpack_source "${exclude[@]}"
	if [ "$RUST" = static ] && [ -e "$TOP/scripts/static/$SRCARCH.patch" ]; then
		"$IN_ROOT" patch -d "$DIR/source" -p1 <"$TOP/scripts/static/$SRCARCH.patch"
	fi
	mkdir -p "$DIR/modules/lib"
	mv "$DIR/unpacked/usr/lib/modules" "$DIR/modules/lib/modules"
	cp "$DIR/modules/lib/modules/$RELEASE/vmlinuz" "$DIR/vmlinuz" ||
		cp "$DIR/unpacked/boot/vmlinuz-$RELEASE" "$DIR/vmlinuz"
	"$IN_ROOT" depmod -b "$DIR/modules" "$RELEASE"
	mv "$DIR/unpacked/usr/src/linux-headers-$RELEASE" "$DIR/headers"
	rm -rf "$DIR/debs" "$DIR/unpacked"
}

# rustc_of CONFIG: prints the version of the compiler, as a number.
rustc_of() {
	sed -n 's/^CONFIG_RUSTC_VERSION=//p' "$1"
}

# drift: prints the options that differ from the stock configuration. Versions and abilities of the
# tools may differ, because no structure depends on them, and so may Rust itself, and arm64's vdso for
# programs of 32 bits, for which there is no compiler here.
drift() {
	comm -3 <(grep ^CONFIG_ "$DIR/headers/.config" | sort) <(grep ^CONFIG_ "$DIR/build/.config" | sort) |
		tr -d '\t' | grep -vE '^CONFIG_((AS|BINDGEN|CC|CLANG|GCC|LD|PAHOLE|RUSTC?)_|(HAVE_)?RUST=|TOOLCHAIN_HAS_|TOOLS_SUPPORT_|RISCV_ISA_ZABHA=|ARM64_LSUI=|(THUMB2_)?COMPAT_VDSO=)'
}

configure() {
	local drift
	mkdir -p "$DIR/build"
	cp "$DIR/headers/.config" "$DIR/build/.config"
	if [ "$RUST" = static ]; then
		echo CONFIG_RUST=y >>"$DIR/build/.config"
	fi
	kmake olddefconfig
	kmake rustavailable
	if ! grep -q '^CONFIG_RUST=y' "$DIR/build/.config"; then
		echo "CONFIG_RUST is lost: the stock configuration does not fit this root's tools"
		return 1
	fi
	# The metadata must fit the stock kernel's, so the compiler must be the same.
	if [ "$RUST" = kernel ] && [ "$(rustc_of "$DIR/build/.config")" != "$(rustc_of "$DIR/headers/.config")" ]; then
		echo "its Rust is of rustc $(rustc_of "$DIR/headers/.config"), and the build root has" \
			"$(rustc_of "$DIR/build/.config"): no Rust module would fit"
		return 1
	fi
	drift=$(drift || true)
	if [ -n "$drift" ]; then
		echo "the configuration is no longer that of the stock kernel, so structures may differ:"
		echo "$drift"
		return 1
	fi
}

# metadata: builds what the modules need of the kernel's crates. For static linking each function gets
# a section of its own, and the helpers are compiled as code of a module. No code may use what is near to
# the kernel's own code alone: there, LoongArch reaches data of the kernel directly, within 2 GiB.
metadata() {
	local sections=()
	if [ "$RUST" = static ]; then
		export KRUSTFLAGS=-Zfunction-sections=y
		# shellcheck disable=SC2016
		sections=('CFLAGS_helpers/helpers.o=-ffunction-sections -fdata-sections $(KBUILD_CFLAGS_MODULE)'
			KBUILD_CFLAGS_KERNEL= KBUILD_RUSTFLAGS_KERNEL=)
	fi
	kmake "${sections[@]}" prepare
	kmake modules_prepare
}

# The symbols and the version magic identify the stock kernel.
adopt() {
	local f
	for f in Module.symvers include/config/kernel.release include/generated/utsrelease.h; do
		cp "$DIR/headers/$f" "$DIR/build/$f"
	done
	[ "$(cat "$DIR/build/include/config/kernel.release")" = "$RELEASE" ]
	ls "$DIR"/build/rust/*.rmeta >/dev/null
	rm -rf "$DIR/headers"
	echo "$RELEASE" >"$DIR/release"
}

# ready: is the kernel that was chosen earlier complete?
ready() {
	[ -s "$CHOICE" ] || return 1
	read_choice "$CHOICE"
	DIR=$CACHE/kernel/$RELEASE$SUFFIX_OF_RUST
	[ -e "$DIR/.complete" ]
}

main() {
	local update=''
	if is_debug_flavour; then
		exec "$TOP/scripts/build-debug-kernel.sh" "$@"
	fi
	make_cache
	mapfile -t TOOLS < <(kernel_arch)
	KVER=${KVER:-}
	CHOICE=$CACHE/kernel/choice-${KVER:-newest}-$FLAVOUR
	if [ "${1:-}" = --update ]; then
		update=yes
	elif ready; then
		echo "$DIR"
		return
	fi

	"$TOP/scripts/build-root.sh" >/dev/null
	lock kernel
	# Another run may have done the work while this one waited.
	if [ -n "$update" ] || ! ready; then
		mkdir -p "$CACHE/kernel"
		steps "kernel" 1
		step "look up ${KVER:-the newest} for $FLAVOUR in ${SUITES// /, }" choose
		sed 's/^/  /' "$CHOICE.lacks" >&2
	fi
	if ! ready; then
		# A build directory knows its own path, so it is made in place. The stamp is written
		# last. A directory without a stamp is a leftover of an interrupted run.
		rm -rf "$DIR"
		mkdir -p "$DIR"
		steps "kernel $RELEASE" 5
		step "download (about 220 MB)" download "$SOURCE" "linux-headers-$RELEASE" \
			"linux-binary-$RELEASE" "linux-modules-$RELEASE"
		step "unpack" unpack
		step "configure as the stock kernel" configure
		step "build the Rust metadata (about a minute)" metadata
		step "adopt the stock symbols and version" adopt
		: >"$DIR/.complete"
	fi
	unlock
	echo "$DIR"
}

main "$@"
