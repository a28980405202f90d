# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Reads the tables of machines, selftests/vm/profiles/*. Source it after lib.sh.

PROFILES=$TOP/selftests/vm/profiles

# disk NAME: prints the arguments of QEMU for a disk with an empty file system of scripts/fs-images.
# Writes to the disk are lost when the machine ends.
disk() {
	printf -- '-drive if=none,id=%s,file=%s/fs/%s.img,format=raw,snapshot=on -device virtio-blk,drive=%s,serial=%s' \
		"$1" "$BUILD" "$1" "$1" "$1"
}

# Variables that the tables use.
# shellcheck disable=SC2034
{
	DISKS="$(disk ext4) $(disk xfs)"
	RACE_SCALE=8 NR_CASES=100000 NR_CALLS=1000000
	if is_debug_flavour; then
		# Debug kernels are slow. They find a mistake the first time, so they need fewer
		# repetitions.
		RACE_SCALE=1 NR_CASES=5000 NR_CALLS=40000
	fi
	# One seed for all machines of a run.
	export SEED=${SEED:-$(random_seed)}
}

# table NAME: prints the lines of the table of ARCH and of the table of all architectures, as far as
# they exist. A line "-NAME REASON" of the first one removes a line of the second one.
table() {
	local file files=()
	for file in "$PROFILES/$ARCH$1" "$PROFILES/common$1"; do
		[ ! -e "$file" ] || files+=("$file")
	done
	[ ${#files[@]} -eq 0 ] || awk '/^-/ { removed[substr($1, 2)] } /^[^-#]/ && !($1 in removed)' "${files[@]}"
}

# machines: prints the machines for the kernel that FLAVOUR chooses, one a line: its name, and its
# arguments as the table quotes them. Debug kernels do not get the machines that boot another
# kernel. With MACHINES=short it prints those of the table ARCH.short instead.
machines() {
	case ${MACHINES:-$FLAVOUR} in
	short) table .short ;;
	kasan) { table '' | grep -v '[[:space:]]--flavour '; table .kasan; } ;;
	kcsan) table .kcsan ;;
	*) table '' ;;
	esac
}

# names_of_machines: prints the names on one line.
names_of_machines() {
	machines | awk '{ names = names " " $1 } END { print substr(names, 2) }'
}

# machine_args REST: sets args to the arguments that follow the name in a table. The table quotes as
# the shell does.
machine_args() {
	eval "args=($1)"
}

# machine NAME: sets args to the arguments of that machine, and options to the arguments before the
# command. Both are empty if there is no such machine.
machine() {
	local name rest arg
	args=() options=()
	while read -r name rest; do
		if [ "$name" = "$1" ]; then
			machine_args "$rest"
		fi
	done < <(machines; table .tools)
	for arg in "${args[@]}"; do
		[ "$arg" != -- ] || break
		options+=("$arg")
	done
}
