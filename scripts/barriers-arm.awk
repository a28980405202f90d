# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: 32-bit Arm. LLVM ends the loop of an atomic operation with STREX, a comparison of its result with 0, and
# a branch: BEQ to the path of success, or BNE back into the loop, so that success follows. The barrier is an instruction
# for the coprocessor that every CPU since version 6 has. Behind a call registers may come back from the stack before it.

BEGIN { CALL = "R_ARM_CALL\trust_gup_mm_set_has_pinned$" }

function is_atomic() {
	# The flag of a folio is set in the same way, and orders nothing.
	return $2 == "strex" && code[before[at]] != "orr"
}

/^ +[0-9a-f]+:\t/ {
	text[at] = $0
	sub(/^[^\t]*\t/, "", text[at])
}

function is_followed(at,   branch, success) {
	branch = code[at] == "bl" ? at : after[after[at]]
	if (code[branch] == "beq")
		success = in_section(at, operand[branch])
	else
		success = after[branch]
	while (code[success] ~ /^(add|sub|rsb|and|orr|eor|bic|mov|movw|movt|mvn|lsl|lsr|ubfx)$/ ||
	       (code[at] == "bl" && text[success] ~ /^(ldr|str)\t[a-z0-9]+, \[sp[],]/))
		success = after[success]
	return code[branch] ~ /^(beq|bne|bl)$/ && text[success] ~ /^mcr\t15, 0, [a-z0-9]+, cr7, cr10, \{5\}/
}
