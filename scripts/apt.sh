# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Gets packages of another suite than that of the build root, from the same mirror. Source this file
# after lib.sh. It does not touch the host's own apt and its lists.

# apt_setup DIR SUITE [ARCH]: makes in_apt work on SUITE from now on, with the lists in DIR. Each
# configuration has one suite and one architecture, because apt drops a whole suite for one bad
# index.
apt_setup() {
	local mirror
	APT_DIR=$1
	mirror=$("$TOP/scripts/apt-source" mirror)
	if [ -z "$mirror" ]; then
		# This is not a Debian host: use the mirror that mmdebstrap chose for the root.
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
		# A user namespace has only one user.
		echo 'APT::Sandbox::User "root";'
		echo 'Acquire::Retries "3";'
		echo 'Acquire::Languages "none";'
		# A mirror that lags behind, or a snapshot, is good enough: apt still checks the
		# signature.
		echo 'Acquire::Check-Valid-Until "false";'
	} >"$APT_DIR/apt.conf"
}

in_apt() {
	"$TOP/scripts/in-root" env APT_CONFIG="$APT_DIR/apt.conf" "$@"
}

apt_update() {
	in_apt apt-get update -o APT::Update::Error-Mode=any
}
