#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the debug kernel of FLAVOUR=kasan or FLAVOUR=kcsan in the user's cache, unless the cache
# has it already. Prints its directory, which has the same layout as the directory of a stock
# kernel. prepare-kernel.sh calls this script and describes the layout.
#
# The source is the one of the stock kernel that KVER chooses. The options are in base.config and
# FLAVOUR.config of selftests/vm/kernels, and in the files of these names for ARCH. A kernel that
# was built with other versions of these files is built again.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/apt.sh"
. "$(dirname "$0")/kernel.sh"

is_debug_flavour || die "no debug kernel of flavour $FLAVOUR for $ARCH" \
	"there are: $(cd "$KERNELS" && echo k*.config | sed 's/\.config\>//g'), for $(cd "$KERNELS" && echo */)"
[ "$RUST" = kernel ] || die "a debug kernel has Rust: RUST=kernel"
FRAGMENTS=()
for name in base "$FLAVOUR"; do
	for file in "$KERNELS/$name.config" "$KERNELS/$ARCH/$name.config"; do
		[ ! -e "$file" ] || FRAGMENTS+=("$file")
	done
done
# The key and the version of the source identify a kernel. The key is in the stamp file.
KEY=$(cat "${FRAGMENTS[@]}" | sha256sum | cut -c1-12)

mapfile -t TOOLS < <(kernel_tools "$KERNELS/$FLAVOUR.config")

# lost: prints the options of the fragments that the configuration does not have with the wanted
# value.
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
	# The release looks like that of the stock kernel, whatever the upstream version is called.
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

# keep: keeps the files that a module build or a boot needs. The rest takes 20 times the space.
keep() {
	local pattern
	cp "$DIR/build/$IMAGE" "$DIR/vmlinuz"
	# This step is needed even for a configuration without modules: it installs the list of
	# built-in ones.
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

# prepare-kernel.sh decides on the version and stores the choice.
FLAVOUR=$STOCK_FLAVOUR "$TOP/scripts/prepare-kernel.sh" "$@" >/dev/null
read_choice "$CACHE/kernel/choice-${KVER:-newest}-$STOCK_FLAVOUR"
RELEASE=${RELEASE%"-$STOCK_FLAVOUR"}-$FLAVOUR-$ARCH
DIR=$CACHE/kernel/$RELEASE
if ! ready; then
	lock "kernel-$FLAVOUR"
fi
if ! ready; then
	# An interrupted build continues where it stopped.
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
