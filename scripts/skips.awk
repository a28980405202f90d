# SPDX-License-Identifier: GPL-2.0
#
# Combines the results of all machines:
#	awk -v kernel=stock|FLAVOUR -f skips.awk SKIPS KTAP...
# SKIPS are the lines of selftests/vm/profiles/*.skips. A test that was skipped on each machine that
# has it is a failure, unless the list expects it. An entry of the list that fits no such test is a
# failure, too. Prints what is wrong, and last "=PASSED FAILED": 1 and 0 if nothing is.

function amiss(why) {
	print "  skips: " why
	failed++
}

FILENAME == ARGV[1] {
	if ($1 == "*" || $1 == kernel) {
		tests[++nr_entries] = $2
		reason[nr_entries] = $0
		sub(/^[^ \t]+[ \t]+[^ \t]+[ \t]+/, "", reason[nr_entries])
	}
	next
}

{ sub(/\r$/, "") }

/^not ok [0-9]+ / { ran[$4] = 1 }

/^ok [0-9]+ / {
	if (!/# SKIP/)
		ran[$3] = 1
	else {
		machine = FILENAME
		sub(/\.ktap$/, "", machine)
		# A machine may lack something else than another one does.
		skipped[$3] = skipped[$3] (skipped[$3] ? "; " : "") machine ": " substr($0, index($0, "# SKIP") + 7)
	}
}

END {
	for (name in skipped) {
		if (name in ran)
			continue
		expected = 0
		for (i = 1; i <= nr_entries; i++)
			if (index(name, tests[i]) == 1 && index(skipped[name], reason[i]))
				expected = used[i] = 1
		if (!expected)
			amiss(name " ran on no machine; " skipped[name])
	}
	for (i = 1; i <= nr_entries; i++)
		if (!used[i])
			amiss("no test " tests[i] " was skipped on all machines, as expected, for: " reason[i])
	for (name in ran)
		nr_ran++
	if (!nr_ran)
		amiss("no test ran on any machine")
	printf "=%d %d\n", !failed, failed
}
