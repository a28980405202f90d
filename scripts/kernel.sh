# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2164
#
# Shared by the scripts that prepare a stock kernel or build a debug kernel. Source it after lib.sh
# and apt.sh. DIR is the kernel's directory, SOURCE and VERSION name the package of its source, and
# SUITE is the suite that has this package.

# The scripts that source this file read the variable.
# shellcheck disable=SC2034
IN_ROOT=$TOP/scripts/in-root

# Most of the tree consists of drivers, and a module build reads none of their sources. A * also
# matches slashes.
# shellcheck disable=SC2034
NOT_NEEDED='drivers/*.c drivers/gpu/drm/*.h drivers/net/*.h drivers/media/*.h
	drivers/staging/*.h sound/*.c arch/*/boot/dts/*.dts arch/*/boot/dts/*.dtsi tools/perf/*
	tools/testing/selftests/bpf/* tools/testing/selftests/net/*'

# read_choice FILE: reads the choice of prepare-kernel.sh. A file without a suite means the first
# one.
read_choice() {
	# shellcheck disable=SC2034
	read -r VERSION RELEASE SOURCE SUITE <"$1"
	SUITE=${SUITE:-trixie-backports}
}

# use_suite SUITE: makes apt work on that suite from now on, for ARCH.
use_suite() {
	apt_setup "$CACHE/apt/$1-$ARCH" "$1" "$ARCH"
}

# download PACKAGE...: downloads these packages in version VERSION, to $DIR/debs.
download() {
	use_suite "$SUITE"
	[ -n "$(find "$APT_DIR/lists" -name '*_Packages*')" ] || apt_update
	rm -rf "$DIR/debs"
	mkdir -p "$DIR/debs"
	cd "$DIR/debs"
	in_apt apt-get download "${@/%/=$VERSION}"
	cd "$TOP"
}

# unpack_source [--exclude=PATTERN...]: unpacks the packages to $DIR/unpacked, and the source in one
# of them to $DIR/source.
unpack_source() {
	local deb
	for deb in "$DIR"/debs/*.deb; do
		echo "unpacking ${deb##*/}"
		"$IN_ROOT" dpkg-deb --extract "$deb" "$DIR/unpacked"
	done
	mkdir -p "$DIR/source"
	"$IN_ROOT" tar -C "$DIR/source" --strip-components=1 --no-same-owner --anchored \
		"$@" -xf "$DIR/unpacked/usr/src/$SOURCE.tar.xz"
}

kmake() {
	"$IN_ROOT" make -C "$DIR/source" O="$DIR/build" -j"$(nproc)" "${TOOLS[@]}" "$@"
}
