# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: LoongArch. LLVM makes an atomic operation on a count one instruction, AMADD_DB.W, or a loop: LL.W, a
# comparison that leaves the loop, SC.W, and a branch back. It leaves with a load barrier if the count was another one.
# Both ways meet, and the same comparison tells them apart again. Before that registers may be saved on the stack, which no
# other CPU accesses. The barrier is DBAR 0x10.

BEGIN { CALL = "R_LARCH_B26\trust_gup_mm_set_has_pinned$" }

# target: returns the place to which a branch in this line goes. objdump writes its address behind a #.
function target(i) {
	for (i = 3; i < NF; i++)
		if ($i == "#")
			return in_section(at, $(i + 1))
}

function is_atomic() {
	return $2 ~ /^(sc|amadd_db)\.w$/
}

# There is a blank between operands.
/^ +[0-9a-f]+:\t/ {
	operand[at] = $3 $4
	goes_to[at] = target()
	if ($2 == "ll.w")
		compared = ""
	else if ($2 == "bne" && !compared)
		compared = $3 $4
	compared_in[at] = compared
}

function is_followed(at,   is_loop, branch, success) {
	is_loop = code[at] == "sc.w"
	branch = is_loop ? after[at] : at
	success = after[branch]
	if (code[success] == "b")
		success = goes_to[success]
	while (1) {
		if (is_loop && code[success] == "bne" && operand[success] == compared_in[at])
			success = after[success]
		else if (is_loop && code[success] == "beq" && operand[success] == compared_in[at])
			success = goes_to[success]
		else if (code[success] == "st.d" && operand[success] ~ /,\$sp,/)
			success = after[success]
		else if (code[success] ~ /^(addi?|sub|slli|srli|srai|li|ext|bstrpick|bstrins|alsl)\.[bhwd]/ ||
			 code[success] ~ /^(and|or|xor|nor|andi|ori|xori|move|lu12i\.w|lu32i\.d|sltu?i?|mask(eq|ne)z)$/)
			success = after[success]
		else
			break
	}
	return (!is_loop || code[branch] == "beqz") && code[success] == "dbar" && operand[success] == "0x10"
}
