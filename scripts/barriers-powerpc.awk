# SPDX-License-Identifier: GPL-2.0
#
# For barriers.awk: 64-bit PowerPC. LLVM ends the loop of an atomic operation on a count with STWCX. and a branch back into
# the loop. What follows is also reached if the count was another one, and may compare once more: the path of success is
# the one for equality. The barrier is HWSYNC. LWSYNC alone lets a load pass a store.

BEGIN { CALL = "R_PPC64_REL24(_NOTOC)?\trust_gup_mm_set_has_pinned$" }

# target AT: where a branch leads to. A field of the condition register may stand before.
function target(at,   word, nr_words) {
	nr_words = split(operand[at], word, ",")
	return in_section(at, word[nr_words])
}

# computes AT: is it a part of a computation, which may save a register on the stack?
function computes(at) {
	return code[at] ~ /^(nop|lwsync|add|addi|addis|subf|and|or|ori|xor|mr|li|lis|cmpl?wi?|[sr]l[dw]i|sr[dw]i|cl[lr][lr]?[dw]i|rl[dw]i[a-z]+|exts[bhw])$/ ||
	       (code[at] ~ /^st[dw]$/ && operand[at] ~ /\(r1\)$/)
}

# succeeds AT: the first instruction behind AT that is no part of a computation, on the path of success.
function succeeds(at,   compares) {
	for (at = after[at]; at in code; ) {
		if (code[at] == "b" || (compares && code[at] ~ /^beq/)) {
			at = target(at)
			continue
		}
		# A call is followed by a place for the linker (NOP).
		if (!computes(at) && !(compares && code[at] ~ /^bne/))
			break
		if (code[at] ~ /^cmp/)
			compares = 1
		at = after[at]
	}
	return at
}

function is_atomic() {
	return $2 == "stwcx."
}

function is_followed(at,   branch) {
	branch = code[at] == "bl" ? at : after[at]
	return code[branch] ~ /^(bne[-+]?|bl)$/ && code[succeeds(branch)] ~ /^(hw)?sync$/
}
