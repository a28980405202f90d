# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What all scripts share: where things live, how steps are shown, how failures
# are told. Source it; it changes nothing but variables and functions.

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

# Kbuild and in-root's mounts cannot do with blanks or colons in paths.
check_path() {
	case $2 in
	*[[:space:]:]*) die "the path of the $1 holds a blank or a colon: $2" ;;
	/*) ;;
	*) die "the path of the $1 is not absolute: $2" ;;
	esac
}
check_path repository "$TOP"
check_path cache "$CACHE"

# What is built for, and booted: one file each in scripts/arch, which sets
#   SRCARCH        what the kernel calls it: its ARCH=, and the folder below arch/
#   STOCK_FLAVOUR  the flavour of Debian's kernel that is used unless FLAVOUR says another one
#   TRIPLE         of the C compiler, and of bindgen's
#   RUST_TARGET    of user land; the kernel knows its own
#   IMAGE          where a kernel that is built here has its image
#   PACKAGES       of the build root, besides root-packages; what the guest gets is of its architecture
#   QEMU_SYSTEM, MACHINE, CONSOLE    QEMU's binary and machine, and the serial line of the kernel's log
#   PANIC_DEVICE, PANIC_MODULE       what makes QEMU fail when the kernel panics, and its driver
#   CLOCK          for the command line of a kernel whose clock must not be found fault with
#   CPU_FLAGS      what tests use of a processor that not each has: the value of scripts/vm's --need
#   NO_RANDOM      follows on the name of a processor that has to do the same each time
ARCH=${ARCH:-amd64}
ARCH_FILE=$TOP/scripts/arch/$ARCH.sh
[ -e "$ARCH_FILE" ] || die "no architecture is called $ARCH (ARCH=)" \
	"there are: $(cd "$TOP/scripts/arch" && echo *.sh | sed 's/\.sh\>//g')"
# shellcheck source=scripts/arch/amd64.sh
. "$ARCH_FILE"

FLAVOUR=${FLAVOUR:-$STOCK_FLAVOUR}
# The configurations of the debug flavours.
KERNELS=$TOP/selftests/vm/kernels/$ARCH
# User land for the VM is linked statically, so it runs on any kernel's initramfs.
# Read by the scripts that source this file.
# shellcheck disable=SC2034
USER_BIN=$BUILD/user/$RUST_TARGET/release

note() {
	printf '%s\n' "$*" >&2
}

# random_seed: for who was given none (SEED=N).
random_seed() {
	od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

# is_debug_flavour: is FLAVOUR a kernel that is built here, to be slow and careful?
is_debug_flavour() {
	[ "$FLAVOUR" != base ] && [ -e "$KERNELS/$FLAVOUR.config" ]
}

# is_native: can this machine run what is built?
is_native() {
	[ "$TRIPLE" = "$(uname -m)-linux-gnu" ]
}

# knows_arch: does rust_gup run on the architecture?
knows_arch() {
	[ -d "$TOP/rust_gup/sys/arch/$SRCARCH" ]
}

# kernel_arch: what the kernel's make has to be told of the architecture.
kernel_arch() {
	echo "ARCH=$SRCARCH"
	is_native || echo "CROSS_COMPILE=$TRIPLE-"
}

# kernel_tools CONFIG: the same, and what it has to be told to use the compiler of that
# kernel (or of that configuration) in the build root.
kernel_tools() {
	kernel_arch
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$1"; then
		# The LLVM that rustc has, or KASAN's two halves would not fit.
		echo LLVM=-19
	fi
}

# make_cache: the cache, with the marker without which clean-cache deletes nothing.
make_cache() {
	mkdir -p "$CACHE/logs"
	# A relative or linked path would not be the same inside the root.
	CACHE=$(cd "$CACHE" && pwd -P)
	[ -e "$CACHE/.rust_gup-cache" ] || : >"$CACHE/.rust_gup-cache"
}

# lock NAME: one run at a time does the work behind NAME; the others wait for it
# and then find it done. The lock goes with this process.
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

# progress START LABEL LOG: a line that shows the seconds and the last line of the
# log, as long as this script lives and nobody ends it. For terminals only.
progress() {
	local width last
	width=$(($(tput cols 2>/dev/null || echo 80) - 1))
	while kill -0 $$ 2>/dev/null; do
		last=$(tail -c 400 "$3" 2>/dev/null | tr '\r\t' '\n ' | sed '/^ *$/d' | tail -n 1)
		printf '\r\033[K%.*s' "$width" "$2 $(($(date +%s) - $1)) s  $last" >&2
		sleep 1
	done
}

# steps TITLE COUNT: names the job and how many step calls will follow.
steps() {
	STEP_TITLE=$1
	STEP_COUNT=$2
	STEP_NR=0
}
steps '' 0

# step TEXT COMMAND...: runs COMMAND with its output in a log file and says what
# is done, how far the job is, and how long it took. A failure ends the script
# and names the step, the cause (the end of the log) and the log.
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
	# In the foreground, so that Ctrl-C ends it; not in a condition, where a
	# function would go on after an error.
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
