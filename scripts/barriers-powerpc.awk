# SPDX-License-Identifier: GPL-2.0
#
# As followed() in scripts/barriers, for 64-bit PowerPC. LLVM ends the loop of an atomic operation on a count with STWCX. and
# a branch back into the loop. What follows is also reached if the count was another one, and may compare once more: the
# path of success is the one for equality. The barrier is HWSYNC. LWSYNC alone lets a load pass a store.

# target AT: where a branch leads to. A field of the condition register may stand before.
function target(at,   word, nr_words) {
	nr_words = split(operand[at], word, ",")
	return section_of[at] " " word[nr_words]
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

/^Disassembly of section/ { section++ }
/^[0-9a-f]+ <.*>:$/ { walk = /walk_window|take_one|take_more|take_device/; name = $0 }
/^ +[0-9a-f]+:\t/ {
	at = section " " substr($1, 1, length($1) - 1)
	after[last] = at
	last = at
	code[at] = $2
	operand[at] = $3
	section_of[at] = section
	if (walk && $2 == "stwcx.")
		function_of[at] = name
}
/R_PPC64_REL24(_NOTOC)?\trust_gup_mm_set_has_pinned$/ { function_of[last] = name }
END {
	for (at in function_of) {
		branch = code[at] == "bl" ? at : after[at]
		if (code[branch] ~ /^(bne[-+]?|bl)$/ && code[succeeds(branch)] ~ /^(hw)?sync$/) {
			nr++
		} else {
			bad++
			print "no full barrier follows on " at " in " function_of[at]
		}
	}
	printf "%d operations of the walk are full barriers, %d are not\n", nr, bad
	exit !(nr && !bad)
}
