# SPDX-License-Identifier: GPL-2.0
#
# Compares what selftests/upstream/run printed with selftests/upstream/expected:
#	awk -v kernel=7.3 -v engine=rust -v status=N -f upstream.awk expected output
# Prints what is amiss, a line for each program, and last "=PASSED FAILED SKIPPED".
# A result that is missing is a failure, and so is one too many.

function fail(why) {
	print "  " why
	amiss[name]++
}

{ sub(/\r$/, "") }

FNR == NR {
	if ($0 ~ /^#/ || NF == 0 || ($2 != "*" && $2 != kernel) || $1 in want)
		next
	order[++nr_names] = $1
	want[$1] = $3
	want_xfailed[$1] = $4
	want_skipped[$1] = $5
	next
}

/^== status / {
	if ($3 != 0 && !program_failed)
		fail(command ": status " $3)
	if (results != plan)
		fail(command ": " results + 0 " results of " plan + 0)
	command = ""
	next
}

/^== / {
	name = $2
	sub(/:$/, "", name)
	command = substr($0, index($0, ": ") + 2)
	results = plan = program_failed = 0
	if (!(name in want))
		fail(command ": not in the table")
	next
}

command == "" {
	if (match($0, /"nr_fast": *[0-9]+/)) {
		nr_fast = substr($0, RSTART, RLENGTH)
		sub(/.*[: ]/, "", nr_fast)
	}
	next
}

/^1\.\.[0-9]+/ { plan = substr($1, 4) }

/^ok / {
	results++
	if (/# SKIP/) {
		skipped[name]++
		print "  " command ": " $0
	} else if (/# XFAIL/)
		xfailed[name]++
	else
		passed[name]++
}

/^not ok / {
	results++
	program_failed = 1
	fail(command ": " $0)
}

END {
	if (command != "")
		fail(command ": did not end")
	else if (status != 0) {
		name = "machine"
		fail("the machine ended with status " status)
	}
	# Two of the five commands of the matrix are fast: 96 runs over 16 MiB that are all there.
	if (engine == "rust" && nr_fast + 0 < 96 * 4096) {
		name = "walk"
		fail("the walk took " nr_fast + 0 " pages, expected " 96 * 4096)
	}
	for (i = 1; i <= nr_names; i++) {
		name = order[i]
		if (!amiss[name] && (passed[name] != want[name] || xfailed[name] + 0 != want_xfailed[name] ||
				     skipped[name] + 0 != want_skipped[name]))
			fail(name ": expected " want[name] " passed, " want_xfailed[name] " failed as expected, " \
			     want_skipped[name] " skipped")
		printf "  %-13s %3d passed, %d failed, %d skipped, %d failed as expected\n", name ":",
			passed[name], amiss[name], skipped[name], xfailed[name]
		all_passed += passed[name] + xfailed[name]
		all_skipped += skipped[name]
	}
	for (name in amiss)
		all_failed += amiss[name]
	printf "=%d %d %d\n", all_passed, all_failed, all_skipped
}
