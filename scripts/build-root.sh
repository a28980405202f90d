#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the build root, a Debian trixie with compilers and QEMU in the user's
# cache, unless it is there already. Prints its path. Architectures whose packages
# differ (ARCH=) have each a root of their own.
#
# MIRROR=URL  the Debian mirror; otherwise the one the host's apt uses, and
#             where that is none (not a Debian host) mmdebstrap's own default.

. "$(dirname "$0")/lib.sh"

SUITE=trixie

packages() {
	{
		sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$TOP/scripts/root-packages"
		tr ' ' '\n' <<<"$PACKAGES"
	} | sort
}

root_key() {
	{ echo "$SUITE"; packages; } | sha256sum | cut -c1-12
}

# Without root, user namespaces stand in for it, and mmdebstrap needs a range of ids.
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
	# mmdebstrap checks the archive's signature with Debian's keys, which
	# only Debian hosts have from the start.
	local install=(apt-get install -y --no-install-recommends mmdebstrap debian-archive-keyring)
	if [ "$(id -u)" -ne 0 ]; then
		die "mmdebstrap is not installed" "run: sudo apt-get install mmdebstrap"
	fi
	steps "host" 2
	export DEBIAN_FRONTEND=noninteractive
	step "look up packages (apt-get update, if needed)" update_if_needed "${install[@]}"
	step "install mmdebstrap" "${install[@]}"
}

# The host's package index may be missing, or name versions that have left the mirror.
update_if_needed() {
	"$@" --download-only || apt-get update
}

# make_tree DIR: mmdebstrap's tar becomes a tree that the caller owns and may
# delete. Device nodes come from the host when a command is run inside.
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
	"$TOP/scripts/apt-source" proxy >"$dir.proxy"
	if [ -s "$dir.proxy" ]; then
		set -- "$@" --aptopt="$dir.proxy"
	fi
	set -- "$@" "$SUITE" -
	mirror=$("$TOP/scripts/apt-source" mirror)
	if [ -n "$mirror" ]; then
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
			# What an interrupted run left, and nobody else is at it.
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
