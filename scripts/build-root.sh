#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the build root in the user's cache, unless it is there already, and prints its path. The
# root is a Debian trixie with compilers and QEMU. Architectures (ARCH=) with different packages
# have different roots.
#
# MIRROR=URL  the Debian mirror; otherwise the one that the host's apt uses. A host
#             that is not Debian has none, and mmdebstrap uses its own default.

. "$(dirname "$0")/lib.sh"

SUITE=trixie

packages() {
	{
		sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$TOP/scripts/root-packages"
		tr ' ' '\n' <<<"$RUST_PACKAGES $PACKAGES"
	} | sort
}

root_key() {
	{ echo "$SUITE"; packages; echo -n "$BARE_PACKAGES"; } | sha256sum | cut -c1-12
}

# A caller without root needs user namespaces, and mmdebstrap needs a range of ids in them.
check_unprivileged() {
	command -v newuidmap >/dev/null || die "uidmap is not installed" \
		"run: sudo apt-get install uidmap"
	grep -q "^$(id -un):" /etc/subuid || die "$(id -un) has no line in /etc/subuid" \
		"run: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	unshare --user --map-root-user --mount true || die "this host allows no user namespaces" \
		"run: sudo sysctl kernel.unprivileged_userns_clone=1                  (Debian)" \
		"or:  sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0      (Ubuntu)" \
		"or run make as root"
}

install_mmdebstrap() {
	command -v mmdebstrap >/dev/null && return
	# mmdebstrap checks the signature of the archive with Debian's keys. Only Debian hosts have
	# these keys from the start.
	local install=(apt-get install -y --no-install-recommends mmdebstrap debian-archive-keyring)
	if [ "$(id -u)" -ne 0 ]; then
		die "mmdebstrap is not installed" "run: sudo apt-get install mmdebstrap"
	fi
	steps "host" 2
	export DEBIAN_FRONTEND=noninteractive
	step "look up packages (apt-get update, if needed)" update_if_needed "${install[@]}"
	step "install mmdebstrap" "${install[@]}"
}

# The host's package index may be missing, or may name versions that the mirror no longer has.
update_if_needed() {
	"$@" --download-only || apt-get update
}

# unpack_bare: prints the command that unpacks packages, for mmdebstrap, whose $1 is the root.
# shellcheck disable=SC2016
unpack_bare() {
	echo 'mkdir "$1/tmp/bare" && cd "$1/tmp/bare" &&'
	echo 'APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download -o APT::Sandbox::User=root'" $BARE_PACKAGES &&"
	echo 'for deb in *.deb; do dpkg-deb --extract "$deb" "$1" || exit; done && rm -r "$1/tmp/bare"'
}

# make_tree DIR: turns the tar archive of mmdebstrap into a tree that the caller owns and may
# delete. in-root shows the host's device nodes inside.
make_tree() {
	local dir=$1 mirror
	shift
	set -- --variant=minbase --format=tar \
		--include="$(packages | paste -sd,)" \
		--aptopt='Acquire::Retries "3"' \
		--dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*'
	is_native || set -- "$@" --architectures="$(dpkg --print-architecture),$ARCH"
	if [ -n "$BARE_PACKAGES" ]; then
		set -- "$@" --customize-hook="$(unpack_bare)"
	fi
	"$TOP/scripts/apt-source" proxy >"$dir.proxy"
	if [ -s "$dir.proxy" ]; then
		set -- "$@" --aptopt="$dir.proxy"
	fi
	set -- "$@" "$SUITE" -
	mirror=$("$TOP/scripts/apt-source" mirror)
	if [ -n "$GUEST_SUITE" ]; then
		# That suite also has the packages that are the same for all architectures. Take none of
		# these, although they are newer. apt checks the signature, but a mirror may lag behind.
		[ -n "$mirror" ] || die "no Debian mirror known" "run: make MIRROR=URL"
		set -- --setup-hook="printf 'Package: *\nPin: release n=$GUEST_SUITE\nPin-Priority: 1\n' >\"\$1\"/etc/apt/preferences.d/$GUEST_SUITE" \
			--aptopt='Acquire::Check-Valid-Until "false"' \
			"$@" "deb [arch=$(dpkg --print-architecture)] $mirror $SUITE main" "deb [arch=$ARCH] $mirror $GUEST_SUITE main"
	elif [ -n "$mirror" ]; then
		set -- "$@" "deb $mirror $SUITE main"
	fi
	mmdebstrap "$@" | tar -C "$dir" -x --no-same-owner --exclude='./dev/*'
}

main() {
	local root tmp
	make_cache
	root=$CACHE/root/$SUITE-$(root_key)
	if [ ! -d "$root" ]; then
		install_mmdebstrap >&2
		[ "$(id -u)" -eq 0 ] || check_unprivileged
		lock root
		if [ ! -d "$root" ]; then
			mkdir -p "$CACHE/root"
			# An interrupted run left these. This run holds the lock, so nobody else
			# uses them.
			rm -rf "$CACHE"/root/tmp.*
			tmp=$CACHE/root/tmp.$$
			mkdir "$tmp"
			steps "build root" 1
			step "install Debian $SUITE with compilers and QEMU (about a minute)" make_tree "$tmp"
			rm -f "$tmp.proxy"
			mkdir -p "$tmp/dev" "$tmp/proc" "$tmp/sys" "$tmp/tmp"
			mv -T "$tmp" "$root"
		fi
		unlock
	fi
	echo "$root"
}

main "$@"
