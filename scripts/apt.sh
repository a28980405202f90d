# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Packages of another suite than the build root's, from the same mirror. Source
# it after lib.sh. The host's own apt and its lists are left alone.

# apt_setup DIR SUITE [ARCH]: from now on in_apt works on SUITE, with its lists in DIR. A
# configuration has one suite and one architecture: apt drops all of a suite for one bad index.
apt_setup() {
	local mirror
	APT_DIR=$1
	mirror=$("$TOP/scripts/apt-source" mirror)
	if [ -z "$mirror" ]; then
		# Not a Debian host: follow what mmdebstrap chose for the root.
		mirror=$(awk '$1 == "deb" && / main/ { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' \
			"$("$TOP/scripts/build-root.sh")/etc/apt/sources.list")
	fi
	[ -n "$mirror" ] || die "no Debian mirror known" "run: make MIRROR=URL"
	mkdir -p "$APT_DIR/lists/partial"
	echo "deb $mirror $2 main" >"$APT_DIR/sources.list"
	"$TOP/scripts/apt-source" proxy >"$APT_DIR/proxy.conf"
	{
		cat "$APT_DIR/proxy.conf"
		echo "Dir::State::lists \"$APT_DIR/lists\";"
		echo "Dir::Etc::sourcelist \"$APT_DIR/sources.list\";"
		echo 'Dir::Etc::sourceparts "-";'
		echo "Dir::Cache::pkgcache \"\";"
		echo "Dir::Cache::srcpkgcache \"\";"
		[ -z "${3:-}" ] || printf 'APT::Architecture "%s";\nAPT::Architectures { "%s"; };\n' "$3" "$3"
		# There is one user only in a user namespace.
		echo 'APT::Sandbox::User "root";'
		echo 'Acquire::Retries "3";'
		echo 'Acquire::Languages "none";'
		# A mirror that lags behind, or is a snapshot, is as good: the signature counts.
		echo 'Acquire::Check-Valid-Until "false";'
	} >"$APT_DIR/apt.conf"
}

in_apt() {
	"$TOP/scripts/in-root" env APT_CONFIG="$APT_DIR/apt.conf" "$@"
}

apt_update() {
	in_apt apt-get update -o APT::Update::Error-Mode=any
}
