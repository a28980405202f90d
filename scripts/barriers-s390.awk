# SPDX-License-Identifier: GPL-2.0
#
# As followed() in scripts/barriers, for s390. LLVM ends the loop of an atomic operation on a count with CS or CSY and a
# branch: JE to the path of success, or JL or JNE away from it, so that success follows. Processors since z196 also have
# LAA, which is one instruction and no barrier. The barrier is BCR with a mask of 15 or 14 and register 0, which branches
# nowhere. Before it, registers may go to the stack and come back.

# ordinary(AT): does the instruction only compute, or access the stack alone?
function ordinary(at) {
	return code[at] ~ /^(lt?g?r|ll?gfr|lg?hi|lgfi|lli[hl][fhl]|lay?|larl|[as]l?g?r|ag?hi|al?g?fi)$/ ||
		code[at] ~ /^([nox]g?r|[nox]i[hl][fhl]|ipm|s[rl][la]g?|r[nox]?i?sbgz?)$/ ||
		code[at] ~ /^(lg?|llgf|stg?|lmg|stmg|mvg?hi)$/ && operand[at] ~ /\(%r15\)(,[0-9-]+)?$/
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
	if (walk && $2 ~ /^(csy?|laa)$/)
		function_of[at] = name
}
/R_390_(PC|PLT)32DBL\trust_gup_mm_set_has_pinned\+0x2$/ { function_of[last] = name }
END {
	for (at in function_of) {
		branch = at
		if (code[at] ~ /^cs/)
			for (branch = after[at]; ordinary(branch);)
				branch = after[branch]
		if (code[branch] == "je")
			success = section_of[at] " " operand[branch]
		else
			success = after[branch]
		while (ordinary(success))
			success = after[success]
		if (code[branch] ~ /^(je|jl|jne|laa|brasl)$/ && code[success] ~ /^(br|bnor)$/ && operand[success] == "%r0") {
			nr++
		} else {
			bad++
			print "no full barrier follows on " at " in " function_of[at]
		}
	}
	printf "%d operations of the walk are full barriers, %d are not\n", nr, bad
	exit !(nr && !bad)
}
