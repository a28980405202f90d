#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes a stock Debian kernel ready to build Rust modules for, and to boot, in
# the user's cache, unless it is there already. Prints its directory, in which
# are
#   source/   the kernel's source (without most drivers)
#   build/    what KDIR points to: the stock configuration, with Rust metadata
#   vmlinuz   the stock image
#   modules/  the stock modules, as lib/modules/RELEASE below it
#   release   the kernel's release
#
# KVER=7.2, KVER=7.2.12 or KVER=RELEASE chooses the kernel, FLAVOUR=amd64 the
# flavour; without KVER it is the newest of which everything is on the mirror.
# The choice is remembered: --update looks it up anew. The debug flavours are built
# by build-debug-kernel.sh, from the source of the same kernel.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/kernel.sh"

# list_packages FILE: what $SUITE holds, "package version" a line.
list_packages() {
	apt_update
	# shellcheck disable=SC2016
	in_apt sh -c 'apt-get indextargets --format "\$(FILENAME)" "Created-By: Packages" |
		xargs /usr/lib/apt/apt-helper cat-file' |
		awk '/^Package: / { p = $2 } /^Version: / { print p, $2 }' >"$1"
	grep -q '^linux-source-' "$1"
}

# choose FILE: looks the kernel up; FILE gets "version release source-package".
choose() {
	list_packages "$1.packages"
	awk -v flavour="$FLAVOUR" -v want="$KVER" -f "$TOP/scripts/kernel-lookup.awk" \
		"$1.packages" | sort -V >"$1.found"
	if [ ! -s "$1.found" ]; then
		echo "$SUITE has no kernel of flavour $FLAVOUR${KVER:+ and version $KVER} of which"
		echo "image, modules, headers and source are there in one version. It has:"
		awk -v flavour="$FLAVOUR" -v want= -f "$TOP/scripts/kernel-lookup.awk" "$1.packages" | sort -V
		return 1
	fi
	tail -n 1 "$1.found" >"$1.new"
	mv "$1.new" "$1"
	rm -f "$1.packages" "$1.found"
}

unpack() {
	local pattern exclude=()
	set -f
	for pattern in $NOT_NEEDED; do
		exclude+=(--exclude="$SOURCE/$pattern")
	done
	set +f
	unpack_source "${exclude[@]}"
	mkdir -p "$DIR/modules/lib"
	mv "$DIR/unpacked/usr/lib/modules" "$DIR/modules/lib/modules"
	cp "$DIR/modules/lib/modules/$RELEASE/vmlinuz" "$DIR/vmlinuz" ||
		cp "$DIR/unpacked/boot/vmlinuz-$RELEASE" "$DIR/vmlinuz"
	"$IN_ROOT" depmod -b "$DIR/modules" "$RELEASE"
	mv "$DIR/unpacked/usr/src/linux-headers-$RELEASE" "$DIR/headers"
	rm -rf "$DIR/debs" "$DIR/unpacked"
}

configure() {
	mkdir -p "$DIR/build"
	cp "$DIR/headers/.config" "$DIR/build/.config"
	kmake olddefconfig
	kmake rustavailable
	# The stock kernel's own compilers, or the metadata would not fit it.
	if ! grep -q '^CONFIG_RUST=y' "$DIR/build/.config"; then
		echo "CONFIG_RUST is lost: the stock configuration does not fit this root's tools"
		return 1
	fi
}

metadata() {
	kmake prepare
	kmake modules_prepare
}

# What identifies the stock kernel: its symbols and its version magic.
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
	read -r VERSION RELEASE SOURCE <"$CHOICE"
	DIR=$CACHE/kernel/$RELEASE
	[ -e "$DIR/.complete" ]
}

main() {
	local update=''
	if is_debug_flavour; then
		exec "$TOP/scripts/build-debug-kernel.sh" "$@"
	fi
	make_cache
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
	# Another run may have done it while this one waited.
	if [ -n "$update" ] || ! ready; then
		mkdir -p "$CACHE/kernel"
		apt_setup "$CACHE/apt" "$SUITE"
		steps "kernel" 1
		step "look up ${KVER:-the newest} for $FLAVOUR in $SUITE" choose "$CHOICE"
	fi
	if ! ready; then
		# A build directory knows its own path, so it is made in place;
		# the stamp comes last, and what has none is a leftover.
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
