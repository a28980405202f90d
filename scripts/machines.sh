# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Reads the tables of machines, selftests/vm/profiles/*. Source it after lib.sh.

PROFILES=$TOP/selftests/vm/profiles

# disk NAME: a disk with an empty file system of scripts/fs-images, as QEMU's
# arguments. What is written to it is gone with the machine.
disk() {
	printf -- '-drive if=none,id=%s,file=%s/fs/%s.img,format=raw,snapshot=on -device virtio-blk-pci,drive=%s,serial=%s' \
		"$1" "$BUILD" "$1" "$1" "$1"
}

# What the tables name.
# shellcheck disable=SC2034
{
	DISKS="$(disk ext4) $(disk xfs)"
	RACE_SCALE=8 NR_CASES=100000 NR_CALLS=1000000
	if is_debug_flavour; then
		# They are slow. What they look for shows as well the first time.
		RACE_SCALE=1 NR_CASES=5000 NR_CALLS=40000
	fi
	# One for all that a run consists of.
	export SEED=${SEED:-$(random_seed)}
}

# table NAME: the lines of the table of all architectures and of the one of ARCH, as far
# as there are.
table() {
	local file
	for file in "$PROFILES/$ARCH$1" "$PROFILES/common$1"; do
		[ ! -e "$file" ] || awk '/^[^#]/' "$file"
	done
}

# machines: those of the kernel that FLAVOUR chooses, one a line: its name, and its
# arguments as the table quotes them. On debug kernels not those that boot another kernel.
machines() {
	case $FLAVOUR in
	kasan) { table '' | grep -v ' --flavour '; table .kasan; } ;;
	kcsan) table .kcsan ;;
	*) table '' ;;
	esac
}

# names_of_machines: on one line.
names_of_machines() {
	machines | awk '{ names = names " " $1 } END { print substr(names, 2) }'
}

# machine_args REST: what follows on the name in a table, as args. The table quotes as
# the shell does.
machine_args() {
	eval "args=($1)"
}

# machine NAME: the arguments of that machine as args, and those before the command as
# options; none, if there is no such machine.
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
