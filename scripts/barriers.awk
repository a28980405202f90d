# SPDX-License-Identifier: GPL-2.0
#
# Reads the disassembly of a module: awk -f barriers.awk -f barriers-ARCH.awk. Each atomic operation of the walk on a count
# must be followed by a full barrier, and so must each call that sets MMF_HAS_PINNED. The architecture says:
#	CALL		the relocation of such a call, as a regular expression
#	is_atomic()	does the instruction in this line end such an operation?
#	is_followed(AT)	does a full barrier follow the instruction at that place, where it has succeeded?
# A place is a section and an address. These are the instructions, by their place:
#	code, operand	its name, and its first operands, which have no blank
#	before, after	the places of its neighbours

# in_section AT ADDRESS: returns the place of an address in the same section.
function in_section(at, address) {
	return section_of[at] " " address
}

/^Disassembly of section/ { section++ }
/^[0-9a-f]+ <.*>:$/ { walk = /walk_window|take_one|take_more|take_device/; name = $0 }
/^ +[0-9a-f]+:\t/ {
	at = section " " substr($1, 1, length($1) - 1)
	after[last] = at
	before[at] = last
	last = at
	code[at] = $2
	operand[at] = $3
	section_of[at] = section
	if (walk && is_atomic())
		function_of[at] = name
}
$0 ~ CALL { function_of[last] = name }
END {
	for (at in function_of) {
		if (is_followed(at)) {
			nr++
		} else {
			bad++
			print "no full barrier follows on " at " in " function_of[at]
		}
	}
	printf "%d operations of the walk are full barriers, %d are not\n", nr, bad
	exit !(nr && !bad)
}
