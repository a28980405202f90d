# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by all scripts: paths, how steps are shown, how failures are reported. Source this file. It only sets
# shell options, variables and functions.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${RUST_GUP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rust_gup}
BUILD=$TOP/build

die() {
	printf 'error: %s\n' "$1" >&2
	shift
	local line
	for line in "$@"; do
		printf '  %s\n' "$line" >&2
	done
	exit 1
}

# Kbuild and the mounts of in-root do not work with blanks or colons in paths.
check_path() {
	case $2 in
	*[[:space:]:]*) die "the path of the $1 holds a blank or a colon: $2" ;;
	/*) ;;
	*) die "the path of the $1 is not absolute: $2" ;;
	esac
}
check_path repository "$TOP"
check_path cache "$CACHE"

# The architecture of the module and of the machines. Each has one file in scripts/arch, which sets
#   SRCARCH        the kernel's name for it: the value of ARCH=, and the folder below arch/
#   STOCK_FLAVOUR  the flavour of Debian's kernel that is used unless FLAVOUR names another one
#   STOCK_RUST     how a module is linked unless RUST says so: "kernel", to the crates of the stock kernel, or "static",
#                  with crates of its own, if the stock kernel has none or was built by another version of rustc
#   TRIPLE         the target of the C compiler, and of bindgen
#   RUST_TARGET    the target of user land; the kernel knows its own
#   IMAGE          the path of the image in the build directory of a kernel
#   PACKAGES       packages of the build root, besides root-packages; those for the guest have its architecture
#   QEMU_SYSTEM, MACHINE, CONSOLE    QEMU's binary and machine, and the serial line of the kernel's log
# and these, if they differ from those below, or if the machines have something of the kind:
#   BEST_CPU       QEMU's name for the CPU that can do most
#   RUST_PACKAGES  the compiler with its tools and source. The stock kernels were built with trixie's rustc.
#   BARE_PACKAGES  packages for the guest that are only unpacked, without those on which they depend, for a mirror that
#                  lacks some of these
#   QEMU_ARGS, BOOT_PARAMETERS       arguments of QEMU and of the kernel without which no machine boots well
#   PANIC_DEVICE, PANIC_MODULE       the device that makes QEMU fail when the kernel panics, and its driver. Without it
#                  the log shows a panic, and panic=-1 switches the machine off.
#   CLOCK          kernel parameters for a machine whose clock must not be marked as unstable
#   CPU_FLAGS      CPU flags that tests use and that not every processor has: for --need of scripts/vm
#   MOVABLE        kernel parameters that set memory aside for pages that can be moved; none where huge pages cannot
#   COUNTING_CPU   appended to the CPU model of a machine that counts instructions: it does the same in each run, and
#                  its clock has a tick for each instruction
#   GUEST_SUITE    the Debian suite of the packages for the guest, where the suite of the build root has none
#   BUILD_STD      "yes" if Debian has no standard library of the build root's rustc for RUST_TARGET: it is built, too
#   FIRMWARE       the firmware, in the build root, where the kernel does not get along without it
ARCH=${ARCH:-amd64}
ARCH_FILE=$TOP/scripts/arch/$ARCH.sh
[ -e "$ARCH_FILE" ] || die "no architecture is called $ARCH (ARCH=)" \
	"there are: $(cd "$TOP/scripts/arch" && echo *.sh | sed 's/\.sh\>//g')"
# shellcheck disable=SC2034
BEST_CPU=max RUST_PACKAGES='rustc rust-src rustfmt rust-clippy cargo' BARE_PACKAGES='' GUEST_SUITE='' BUILD_STD=''
# shellcheck disable=SC2034
QEMU_ARGS='' BOOT_PARAMETERS='' FIRMWARE='' PANIC_DEVICE='' PANIC_MODULE=''
# shellcheck disable=SC2034
CLOCK='' CPU_FLAGS='' MOVABLE=movablecore=1G COUNTING_CPU=''
# shellcheck source=scripts/arch/amd64.sh
. "$ARCH_FILE"

FLAVOUR=${FLAVOUR:-$STOCK_FLAVOUR}
RUST=${RUST:-$STOCK_RUST}
case $RUST in kernel | static) ;; *) die "RUST=$RUST is neither kernel nor static" ;; esac
# Directories for a kernel have its release as their name, and this suffix.
SUFFIX_OF_RUST=
# shellcheck disable=SC2034
[ "$RUST" = "$STOCK_RUST" ] || SUFFIX_OF_RUST=-$RUST
# The configurations of the debug flavours.
KERNELS=$TOP/selftests/vm/kernels
# User land for the VM is linked statically, so it runs in the initramfs of any kernel. The scripts that
# source this file read the variable.
# shellcheck disable=SC2034
USER_BIN=$BUILD/user/$RUST_TARGET/release

note() {
	printf '%s\n' "$*" >&2
}

# random_seed: prints a seed, for scripts to which none was given (SEED=N).
random_seed() {
	od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

# is_debug_flavour: is FLAVOUR a debug kernel, which is built here?
is_debug_flavour() {
	[ "$FLAVOUR" != base ] && [ -e "$KERNELS/$FLAVOUR.config" ] && [ -d "$KERNELS/$ARCH" ]
}

# is_native: can this machine run the programs that are built?
is_native() {
	[ "$TRIPLE" = "$(uname -m)-linux-gnu" ]
}

# knows_arch: does rust_gup run on the architecture?
knows_arch() {
	[ -d "$TOP/rust_gup/sys/arch/$SRCARCH" ]
}

# kernel_arch: prints the arguments of the kernel's make for the architecture.
kernel_arch() {
	echo "ARCH=$SRCARCH"
	is_native || echo "CROSS_COMPILE=$TRIPLE-"
}

# kernel_tools CONFIG: prints the same, and the arguments that make it use the compiler of that kernel (or of
# that configuration) in the build root.
kernel_tools() {
	kernel_arch
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$1"; then
		# Use the LLVM version of rustc, otherwise the two halves of KASAN would not fit.
		echo LLVM=-19
	fi
}

# make_cache: makes the cache, with a marker. clean-cache deletes nothing without this marker.
make_cache() {
	mkdir -p "$CACHE/logs"
	# A relative path or a symbolic link would not be the same inside the root.
	CACHE=$(cd "$CACHE" && pwd -P)
	[ -e "$CACHE/.rust_gup-cache" ] || : >"$CACHE/.rust_gup-cache"
}

# lock NAME: only one run at a time does the work behind NAME. The others wait for it and then find the work
# done. The lock ends with this process.
lock() {
	make_cache
	exec {LOCK_FD}>"$CACHE/.lock-$1"
	if ! flock -n "$LOCK_FD"; then
		note "waiting for another run that prepares the same ($1)"
		flock "$LOCK_FD"
	fi
}

unlock() {
	exec {LOCK_FD}>&-
}

duration() {
	local s=$1
	if [ "$s" -ge 60 ]; then
		printf '%d min %02d s' $((s / 60)) $((s % 60))
	else
		printf '%d s' "$s"
	fi
}

# progress START LABEL LOG: shows a line with the seconds and the last line of the log, until the script ends
# or kills this process. For terminals only.
progress() {
	local width last
	width=$(($(tput cols 2>/dev/null || echo 80) - 1))
	while kill -0 $$ 2>/dev/null; do
		last=$(tail -c 400 "$3" 2>/dev/null | tr '\r\t' '\n ' | sed '/^ *$/d' | tail -n 1)
		printf '\r\033[K%.*s' "$width" "$2 $(($(date +%s) - $1)) s  $last" >&2
		sleep 1
	done
}

# steps TITLE COUNT: sets the name of the job and the number of step calls that follow.
steps() {
	STEP_TITLE=$1
	STEP_COUNT=$2
	STEP_NR=0
}
steps '' 0

# step TEXT COMMAND...: runs COMMAND with its output in a log file. Shows the text, how far the job is, and
# how long the step took. A failure ends the script. The message names the step, the cause (the end of the
# log) and the log.
step() {
	local text=$1 label start status=0 shown='' log
	shift
	STEP_NR=$((STEP_NR + 1))
	label="$STEP_TITLE [$STEP_NR/$STEP_COUNT] $text"
	make_cache
	log=$CACHE/logs/$(printf '%s' "$STEP_TITLE-$STEP_NR" | tr -c 'A-Za-z0-9.+-' '_').log
	start=$(date +%s)
	if [ -t 2 ]; then
		progress "$start" "$label" "$log" &
		shown=$!
	else
		note "$label ..."
	fi
	# The command runs in the foreground, so that Ctrl-C ends it. It does not run in a condition, because
	# there a function would go on after an error.
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	status=$?
	set -e
	if [ -n "$shown" ]; then
		kill "$shown" 2>/dev/null || true
		wait "$shown" 2>/dev/null || true
		printf '\r\033[K' >&2
	fi
	if [ "$status" -ne 0 ]; then
		note "$label: FAILED (status $status)"
		tail -n 15 "$log" | sed 's/^/  | /' >&2
		die "$STEP_TITLE: $text" "log: $log"
	fi
	note "$label: $(duration $(($(date +%s) - start)))"
}
