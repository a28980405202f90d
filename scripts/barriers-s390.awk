# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: s390. LLVM ends the loop of an atomic operation on a count with CS or CSY and a branch: JE to the path
# of success, or JL or JNE away from it, so that success follows. Processors since z196 also have LAA, which is one
# instruction and no barrier. The barrier is BCR with a mask of 15 or 14 and register 0, which branches nowhere. Before it,
# registers may go to the stack and come back.

BEGIN { CALL = "R_390_(PC|PLT)32DBL\trust_gup_mm_set_has_pinned[+]0x2$" }

# ordinary(AT): does the instruction only compute, or access the stack alone?
function ordinary(at) {
	return code[at] ~ /^(lt?g?r|ll?gfr|lg?hi|lgfi|lli[hl][fhl]|lay?|larl|[as]l?g?r|ag?hi|al?g?fi)$/ ||
		code[at] ~ /^([nox]g?r|[nox]i[hl][fhl]|ipm|s[rl][la]g?|r[nox]?i?sbgz?)$/ ||
		code[at] ~ /^(lg?|llgf|stg?|lmg|stmg|mvg?hi)$/ && operand[at] ~ /\(%r15\)(,[0-9-]+)?$/
}

function is_atomic() {
	return $2 ~ /^(csy?|laa)$/
}

function is_followed(at,   branch, success) {
	branch = at
	if (code[at] ~ /^cs/)
		for (branch = after[at]; ordinary(branch);)
			branch = after[branch]
	if (code[branch] == "je")
		success = in_section(at, operand[branch])
	else
		success = after[branch]
	while (ordinary(success))
		success = after[success]
	return code[branch] ~ /^(je|jl|jne|laa|brasl)$/ && code[success] ~ /^(br|bnor)$/ && operand[success] == "%r0"
}
