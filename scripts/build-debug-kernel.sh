#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the debug kernel of FLAVOUR=kasan or FLAVOUR=kcsan in the user's cache,
# unless it is there already, and prints its directory, which looks like that of a
# stock kernel (prepare-kernel.sh, which calls this).
#
# The source is that of the stock kernel that KVER chooses. What is switched on is
# in base.config and FLAVOUR.config of selftests/vm/kernels/ARCH; a kernel of other
# configurations than these is built anew.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/kernel.sh"

is_debug_flavour || die "no debug kernel of flavour $FLAVOUR for $ARCH" \
	"there are: $(cd "$TOP/selftests/vm/kernels" && echo */k*.config | sed 's/\.config\>//g')"
FRAGMENTS=("$KERNELS/base.config" "$KERNELS/$FLAVOUR.config")
# What a kernel is known by, with its source: in the stamp.
KEY=$(cat "${FRAGMENTS[@]}" | sha256sum | cut -c1-12)

mapfile -t TOOLS < <(kernel_tools "$KERNELS/$FLAVOUR.config")

# lost: the options of the fragments that the configuration does not have as they
# were asked for.
lost() {
	awk '
		FNR == NR { have[$0] = 1; next }
		/^CONFIG_/ {
			option = substr($0, 1, index($0, "=") - 1)
			value = substr($0, index($0, "=") + 1)
			if (value != "n" ? !($0 in have) : ((option "=y") in have || (option "=m") in have))
				print $0
		}' "$DIR/build/.config" "${FRAGMENTS[@]}"
}

configure() {
	local lost
	mkdir -p "$DIR/build"
	# Of a release like the stock one's, whatever the upstream version is called.
	{
		cat "${FRAGMENTS[@]}"
		echo "CONFIG_LOCALVERSION=\"${RELEASE#"${RELEASE%%+*}"}\""
	} >"$DIR/build/fragment"
	kmake rustavailable
	kmake KCONFIG_ALLCONFIG="$DIR/build/fragment" allnoconfig
	lost=$(lost)
	if [ -n "$lost" ]; then
		echo "the kernel's configuration did not take these options:"
		echo "$lost"
		return 1
	fi
	[ "$(kmake -s kernelrelease)" = "$RELEASE" ]
}

build() {
	kmake "${IMAGE##*/}" modules
}

# keep: what a module is built with and what is booted; the rest is 20 times as much.
keep() {
	local pattern
	cp "$DIR/build/$IMAGE" "$DIR/vmlinuz"
	# Also without any module: the list of what is built in.
	kmake INSTALL_MOD_PATH="$DIR/modules" modules_install
	rm -f "$DIR/modules/lib/modules/$RELEASE/build"
	find "$DIR/build" -mindepth 1 -maxdepth 1 -type d ! -name arch ! -name include \
		! -name rust ! -name scripts ! -name tools -exec rm -rf {} +
	find "$DIR/build" -type f \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' -o \
		-name '.*vmlinux*' -o -name "${IMAGE##*/}" \) -delete
	set -f
	for pattern in $NOT_NEEDED; do
		find "$DIR/source" -path "$DIR/source/$pattern" -type f -delete
	done
	set +f
	rm -rf "$DIR/debs" "$DIR/unpacked"
	echo "$RELEASE" >"$DIR/release"
}

ready() {
	[ -e "$DIR/.complete" ] && [ "$(cat "$DIR/.complete")" = "$KEY" ]
}

# It decides on the version, and remembers it.
FLAVOUR=$STOCK_FLAVOUR "$TOP/scripts/prepare-kernel.sh" "$@" >/dev/null
read_choice "$CACHE/kernel/choice-${KVER:-newest}-$STOCK_FLAVOUR"
RELEASE=${RELEASE%"-$STOCK_FLAVOUR"}-$FLAVOUR
DIR=$CACHE/kernel/$RELEASE
if ! ready; then
	lock "kernel-$FLAVOUR"
fi
if ! ready; then
	# A build that was interrupted goes on where it was.
	if [ -e "$DIR/.unpacked" ] && [ "$(cat "$DIR/.unpacked")" = "$VERSION" ]; then
		steps "kernel $RELEASE" 3
	else
		rm -rf "$DIR"
		mkdir -p "$DIR"
		steps "kernel $RELEASE" 5
		step "download the source (about 165 MB)" download "$SOURCE"
		step "unpack" unpack_source
		echo "$VERSION" >"$DIR/.unpacked"
	fi
	step "configure" configure
	step "build (about 20 minutes of a processor)" build
	rm "$DIR/.unpacked"
	step "keep what modules and machines need" keep
	echo "$KEY" >"$DIR/.complete"
fi
echo "$DIR"
