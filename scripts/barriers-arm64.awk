# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: arm64. An atomic operation on a count has a 32-bit register. LLVM ends its loop with STLXR, or STXR if
# it orders nothing, and a conditional branch back. The path of success follows, or begins with a branch. Before the
# barrier it may compute, but not load, store or branch.

BEGIN { CALL = "R_AARCH64_CALL26\trust_gup_mm_set_has_pinned$" }

function is_atomic() {
	return $2 ~ /^stl?xr$/ && $4 ~ /^w/
}

function is_followed(at,   branch, success) {
	branch = code[at] == "bl" ? at : after[at]
	success = after[branch]
	if (code[success] == "b")
		success = in_section(at, operand[success])
	while (code[success] ~ /^(add|sub|and|orr|eor|mov|movk|lsl|lsr|asr|ubfx)$/)
		success = after[success]
	return code[branch] ~ /^(cbn?z|bl)$/ && code[success] == "dmb" && operand[success] == "ish"
}
