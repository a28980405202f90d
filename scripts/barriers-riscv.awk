# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: RISC-V. LLVM ends the loop of an atomic operation on a count with SC.W and a branch back into the loop,
# so that success follows, or makes it one instruction, AMOADD.W. The barrier is FENCE RW,RW.

BEGIN { CALL = "R_RISCV_CALL(_PLT)?\trust_gup_mm_set_has_pinned$" }

function is_atomic() {
	return $2 ~ /^(sc|amoadd)\.w/
}

function is_followed(at,   branch, success) {
	# A call consists of AUIPC and JALR.
	branch = code[at] ~ /^amoadd/ ? at : after[at]
	success = after[branch]
	if (code[success] == "j")
		success = in_section(at, operand[success])
	while (code[success] ~ /^(addiw?|addw?|subw?|andi?|ori?|xori?|not|neg|li|lui|mv|s[lr][la]iw?|sext\.w|zext\.[bhw])$/)
		success = after[success]
	return (branch == at || code[branch] ~ /^(bnez|jalr)$/) && code[success] == "fence" && operand[success] == "rw,rw"
}
