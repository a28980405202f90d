# SPDX-License-Identifier: GPL-2.0
#
# sequence.awk TEST DISASSEMBLY: checks that functions of the module access memory in the order in
# which the walk of a litmus test (Documentation/litmus/aarch64) does. The test says where:
#	 * Module: 4 in take_one_unless_forked Get
# In each function whose name has these words, the sequence must lead over at least so many places
# that take references. A call that takes them because somebody else changes the count is a place of
# its own. In a loop, the parent entry was read before, so the sequence begins with the entry.
#
# Compared are barriers, and accesses that are atomic or ordered. Between two of them it only counts
# whether there are loads: the walk reads more than the test does. Each way through the function is
# followed, so it does not matter where the compiler put what.

# event NAME OPERANDS: what an instruction means for the order, or nothing.
function event(name, operands) {
	if (name ~ /^d[ms]b$/)
		return name " " operands
	if (name ~ /^((ld|st)(a|l|ap)x?r|(cas|swp|ld(add|clr|set))(a|l|al)?)[bh]?$/)
		return name
	if (name ~ /^ld(r|ur|p|xr)/ && operands !~ /\[(sp|x29)/)
		return "load"
}

FNR == NR && sub(/^ \* Module: /, "") { promises[++nr_promises] = $0 }
FNR == NR && /\|/ && !/^P0/ {
	split(tolower($0), column, "|")
	split(column[1], word, " ")
	seen = event(word[1], word[2])
	# What comes before the walk reads the count of fork() is not in the same function.
	if (seen == "ldar")
		length_of_test = 0
	if (!seen || (seen == "load" && test[length_of_test] == "load"))
		next
	test[++length_of_test] = seen
	if (seen ~ /^(stlxr|cas)/)
		grabbed = length_of_test
}
FNR == NR { next }

/^Disassembly of section/ { section = substr($4, 1, length($4) - 1) }
/^[0-9a-f]+ <.*>:$/ {
	name = substr($0, index($0, "<") + 1)
	sub(/>:$/, "", name)
	first[name] = nr + 1
}
/^ +[0-9a-f]+:\t/ {
	split($0, part, "\t")
	sub(/ <.*/, "", part[3])
	at[section " " substr($1, 1, length($1) - 1)] = ++nr
	code[nr] = part[2]
	operands[nr] = part[3]
	section_of[nr] = section
	function_of[nr] = name
}
/R_AARCH64_(CALL|JUMP)26/ {
	symbol[nr] = $0
	sub(/.*26\t/, "", symbol[nr])
}

# target I: where a branch or a call leads to.
function target(i,   word, nr_words) {
	if (i in symbol) {
		if (symbol[i] in first)
			return first[symbol[i]]
		split(symbol[i], word, /\+0x/)
		return at[word[1] " " word[2]]
	}
	nr_words = split(operands[i], word, /[, ]+/)
	return at[section_of[i] " " word[nr_words]]
}

# reach I DONE PLACE BACK: instruction I can be reached when DONE events of the test are done, and
# references were taken at PLACE. The function returns to BACK, or to where its sequence is not followed.
function reach(i, done, place, back) {
	if (i && !((i, done, place, back) in reached)) {
		reached[i, done, place, back]
		queue[++nr_queued] = i SUBSEP done SUBSEP place SUBSEP back
	}
}

# follow I DONE PLACE BACK: goes on from there.
function follow(i, done, place, back,   seen, to) {
	seen = event(code[i], operands[i])
	if (seen && !(seen == "load" && test[done] == "load")) {
		if (seen == test[done + 1])
			done++
		else if (test[done] ~ /^(ldaxr|cas)/ && seen == "load")
			done--	# The count was another one.
		else
			return
		if (done == grabbed && !place)
			place = i
		if (done > furthest)
			furthest = done
		if (done == length_of_test) {
			if (!(place in places))
				nr_places++
			places[place]
			return
		}
	}
	to = target(i)
	if (code[i] == "ret") {
		# A call that took nothing leads to no page.
		if (function_of[i] !~ /try_add_contended/ || test[done] ~ /^(stlxr|cas)/)
			reach(back, done, place, 0)
	}
	else if (code[i] == "bl" && !back && function_of[to] ~ /try_add_contended|check_exclusive/)
		reach(to, done, function_of[to] ~ /try_add/ ? i : place, i + 1)
	else {
		if (code[i] ~ /^(b|b\..*|cbn?z|tbn?z)$/ && function_of[to] == function_of[i])
			reach(to, done, place, back)
		if (code[i] !~ /^(b|br|brk|udf)$/ && function_of[i + 1] == function_of[i])
			reach(i + 1, done, place, back)
	}
}

# check NAME WANT FROM: follows a function of the module. The first FROM events are not in it.
function check(name, want, from,   i, state) {
	delete reached
	delete queue
	delete places
	nr_queued = nr_places = furthest = 0
	for (i = first[name]; function_of[i] == name; i++)
		reach(i, from, 0, 0)
	for (i = 1; i <= nr_queued; i++) {
		split(queue[i], state, SUBSEP)
		follow(state[1] + 0, state[2] + 0, state[3] + 0, state[4] + 0)
	}
	nr_functions++
	if (nr_places >= want)
		return
	nr_bad++
	printf "%s: the sequence leads over %d places, not %d", name, nr_places, want
	if (!nr_places)
		printf "; no %s after %d of %d events", test[furthest + 1], furthest, length_of_test
	print ""
}

# has NAME WORD NR: does the name have the words from the third to the last?
function has(name, word, nr_words,   i) {
	for (i = 3; i <= nr_words; i++)
		if (!index(name, word[i]))
			return 0
	return 1
}

END {
	for (i = 1; i <= nr_promises; i++) {
		nr_words = split(promises[i], word, " ")
		nr_found = 0
		for (name in first) {
			if (has(name, word, nr_words)) {
				check(name, word[1], word[3] == "take_more" ? 2 : 0)
				nr_found++
			}
		}
		if (!nr_found) {
			print "no function is meant by: " promises[i]
			nr_bad++
		}
	}
	exit nr_bad || !nr_functions
}
