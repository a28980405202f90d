# SPDX-License-Identifier: GPL-2.0
#
# Compares the output of selftests/upstream/run with selftests/upstream/expected:
#	awk -v arch=amd64 -v kernel=7.3 -v engine=rust -v status=N -f upstream.awk expected output
# Prints what is wrong, a line for each program, and last "=PASSED FAILED SKIPPED". A missing result
# is a failure, and so is an additional one. A test that fails as expected does not count as passed.
# A program that cannot run counts as skipped.

function fail(why) {
	print "  " why
	amiss[name]++
}

# Is the result one of a call of the fast functions? For gup_test its options tell, and for the
# other programs their output. The test of hmm-tests calls the fast functions and others.
function is_fast() {
	if (name == "gup_test")
		return command ~ / -[ua]( |$)/
	return /GUP-fast/ || command ~ /hmm_gup_test/
}

# How many pages the walk takes at least. It takes all pages of gup_test, 16 MiB a run. gup_longterm
# pins three kinds of files in four fast ways: the slow path takes shared ones for reading
# (gup_must_unshare()), and one file system refuses to be written. Most pages of hmm-tests are in a
# device.
function least_walked() {
	if (name == "gup_test")
		return want_fast[name] * 4096
	if (name == "gup_longterm")
		return want_fast[name] * 2 / 3
	if (name == "hmm")
		return want_fast[name] > 0
	return want_fast[name]
}

# For engine "rust", the walk must have taken the pages.
function check_walk() {
	if (walked[name] < least_walked())
		fail(name ": the walk took " walked[name] + 0 " pages in " want_fast[name] " tests")
}

# Did as many tests pass, and fail as expected, as the table says? Of a range of numbers, such as 8-12,
# those that did not fail have passed.
function is_as_expected(limits, nr_limits, most) {
	nr_limits = split(want_xfailed[name], limits, "-")
	most = limits[nr_limits]
	return xfailed[name] + 0 >= limits[1] + 0 && xfailed[name] + 0 <= most + 0 &&
	       passed[name] == want[name] + most - xfailed[name]
}

{ sub(/\r$/, "") }

FNR == NR {
	if ($0 ~ /^#/ || NF == 0 || ($2 != "*" && $2 != arch) || ($3 != "*" && $3 != kernel) || $1 in want)
		next
	order[++nr_names] = $1
	want[$1] = $4
	if ($4 == "-") {
		reason[$1] = substr($0, index($0, "\t-\t") + 3)
		next
	}
	want_xfailed[$1] = $5
	want_skipped[$1] = $6
	want_fast[$1] = $7
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
	else if (name in reason)
		fail(command ": it has run, and the table says that it cannot")
	next
}

command == "" {
	# How many pages the walk has taken since the module was loaded.
	if ($1 == "walked") {
		walked[$2] = $3 - nr_walked
		nr_walked = $3
	}
	next
}

# The call was short, though it succeeded. gup_test only prints this line.
tolower($0) ~ /truncated \(size: / {
	program_failed = 1
	fail(command ": " $0)
}

/^1\.\.[0-9]+/ { plan = substr($1, 4) }

/^ok / {
	results++
	if (/# SKIP/) {
		skipped[name]++
		print "  " command ": " $0
	} else if (/# XFAIL/)
		xfailed[name]++
	else {
		passed[name]++
		fast[name] += is_fast()
	}
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
	for (i = 1; i <= nr_names; i++) {
		name = order[i]
		if (name in reason) {
			printf "  %-13s skipped on %s: %s\n", name ":", arch, reason[name]
			all_skipped++
			continue
		}
		if (!amiss[name] && (!is_as_expected() || skipped[name] + 0 != want_skipped[name] ||
				     fast[name] + 0 != want_fast[name]))
			fail(name ": expected " want[name] " passed, " want_fast[name] " of them by the fast functions, " \
			     want_xfailed[name] " failed as expected, " want_skipped[name] " skipped")
		if (engine == "rust")
			check_walk()
		printf "  %-13s %3d passed, %d of them by the fast functions; %d failed, %d skipped, %d failed as expected\n",
			name ":", passed[name], fast[name], amiss[name], skipped[name], xfailed[name]
		all_passed += passed[name]
		all_fast += fast[name]
		all_xfailed += xfailed[name]
		all_skipped += skipped[name]
	}
	for (name in amiss)
		all_failed += amiss[name]
	printf "  %d of %d by the fast functions; %d more failed as expected\n", all_fast, all_passed, all_xfailed
	printf "=%d %d %d\n", all_passed, all_failed, all_skipped
}
