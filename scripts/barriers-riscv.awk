# SPDX-License-Identifier: GPL-2.0
#
# As followed() in scripts/barriers, for RISC-V. LLVM ends the loop of an atomic operation on a count with SC.W and a branch
# back into the loop, so that success follows, or makes it one instruction, AMOADD.W. The barrier is FENCE RW,RW.

/^Disassembly of section/ { section++ }
/^[0-9a-f]+ <.*>:$/ { walk = /walk_window|take_one|take_more|take_device/; name = $0 }
/^ +[0-9a-f]+:\t/ {
	at = section " " substr($1, 1, length($1) - 1)
	after[last] = at
	last = at
	code[at] = $2
	operand[at] = $3
	section_of[at] = section
	if (walk && $2 ~ /^(sc|amoadd)\.w/)
		function_of[at] = name
}
/R_RISCV_CALL(_PLT)?\trust_gup_mm_set_has_pinned$/ { function_of[last] = name }
END {
	for (at in function_of) {
		# A call consists of AUIPC and JALR.
		branch = code[at] ~ /^amoadd/ ? at : after[at]
		success = after[branch]
		if (code[success] == "j")
			success = section_of[at] " " operand[success]
		while (code[success] ~ /^(addiw?|addw?|subw?|andi?|ori?|xori?|not|neg|li|lui|mv|s[lr][la]iw?|sext\.w|zext\.[bhw])$/)
			success = after[success]
		if ((branch == at || code[branch] ~ /^(bnez|jalr)$/) && code[success] == "fence" && operand[success] == "rw,rw") {
			nr++
		} else {
			bad++
			print "no full barrier follows on " at " in " function_of[at]
		}
	}
	printf "%d operations of the walk are full barriers, %d are not\n", nr, bad
	exit !(nr && !bad)
}
