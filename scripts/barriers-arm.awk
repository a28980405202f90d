# SPDX-License-Identifier: GPL-2.0
#
# As followed() in scripts/barriers, for 32-bit Arm. LLVM ends the loop of an atomic operation with STREX, a comparison of
# its result with 0, and a branch: BEQ to the path of success, or BNE back into the loop, so that success follows. The
# barrier is an instruction for the coprocessor that every CPU since version 6 has.

/^Disassembly of section/ { section++ }
/^[0-9a-f]+ <.*>:$/ { walk = /walk_window|take_one|take_more|take_device/; name = $0 }
walk && /^ +[0-9a-f]+:\t/ {
	at = section " " substr($1, 1, length($1) - 1)
	after[last] = at
	before[at] = last
	last = at
	text[at] = $0
	sub(/^[^\t]*\t/, "", text[at])
	code[at] = $2
	operand[at] = $3
	section_of[at] = section
	# The flag of a folio is set in the same way, and orders nothing.
	if ($2 == "strex" && code[before[at]] != "orr")
		function_of[at] = name
}
END {
	for (at in function_of) {
		branch = after[after[at]]
		if (code[branch] == "beq")
			success = section_of[at] " " operand[branch]
		else
			success = after[branch]
		while (code[success] ~ /^(add|sub|rsb|and|orr|eor|bic|mov|movw|movt|mvn|lsl|lsr|ubfx)$/)
			success = after[success]
		if (code[branch] ~ /^(beq|bne)$/ && text[success] ~ /^mcr\t15, 0, [a-z0-9]+, cr7, cr10, \{5\}/) {
			nr++
		} else {
			bad++
			print "no full barrier follows on " at " in " function_of[at]
		}
	}
	printf "%d atomic operations of the walk are full barriers, %d are not\n", nr, bad
	exit !(nr && !bad)
}
