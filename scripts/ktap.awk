# SPDX-License-Identifier: GPL-2.0
#
# Counts KTAP results. Prints the lines of failed and skipped tests, each after the name (-v
# name=PROFILE), and last "=PASSED FAILED SKIPPED". A planned result that is missing is a failure,
# and so is a missing plan. A machine that did not end well (-v status=STATUS) although no test
# failed is a failure, too.

function fail(why, n) {
	failed += n
	print "  " name ": " why
}

{ sub(/\r$/, "") }

/^1\.\.[0-9]+/ && !planned {
	planned = 1
	plan = substr($1, 4) + 0
}

/^Bail out!/ {
	fail($0, 1)
}

# Tests report in such lines how much they did.
/^# figures: / {
	print "  " name ": " substr($0, 12)
}

# Diagnostics come before the result to which they belong.
/^#/ {
	diagnostics = diagnostics "      " $0 "\n"
}

/^(not )?ok [0-9]+/ {
	number = $1 == "not" ? $3 : $2
	results++
	if (number + 0 != results && !disorder++)
		fail("result " number " where " results " was due", 1)
	if ($1 == "not") {
		fail($0, 1)
		printf "%s", diagnostics
	} else if (/# SKIP/) {
		skipped++
		print "  " name ": " $0
	} else
		passed++
	diagnostics = ""
}

END {
	if (!planned)
		fail("no plan (1..N): the tests did not start", 1)
	else if (plan == 0)
		fail("an empty plan: nothing was tested", 1)
	else if (results < plan)
		fail(plan - results " of " plan " planned results are missing", plan - results)
	else if (results > plan)
		fail(results - plan " results more than the " plan " planned", 1)
	if (failed == 0 && passed == 0)
		fail("nothing passed: all of it was skipped", 1)
	if (status != 0 && failed == 0)
		fail("ended with status " status " though no test failed", 1)
	else if (status == 124 || status == 125)
		fail("the machine did not end well (status " status ")", 1)
	printf "=%d %d %d\n", passed, failed, skipped
}
