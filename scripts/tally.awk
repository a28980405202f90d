# SPDX-License-Identifier: GPL-2.0
#
# Checks the counts of one stage (tally.sh), and adds them to the results:
#	awk -v text=STAGE -v names="NAME..." -v status=STATUS -v results=FILE -f tally.awk COUNTS
# Each name must have one count. A missing count is a failure. So is a second count of a name, a
# count of another name, or a status other than 0 although no test failed.

function amiss(why) {
	printf "not ok  %s: %s\n", text, why
	print 0, 1, 0 >>results
	failed++
}

BEGIN {
	nr = split(names, order, " ")
	for (i = 1; i <= nr; i++)
		wanted[order[i]] = 1
	if (nr == 0)
		amiss("there is nothing to run")
}

!/^[0-9]+ [0-9]+ [0-9]+ [^ ]+( [0-9]+)?$/ {
	amiss("this is no count: " $0)
	next
}

{
	print >>results
	failed += $2
	if (!($4 in wanted))
		amiss($4 " was not asked for")
	else if (counted[$4]++)
		amiss($4 " was counted more than once")
	else if ($1 + $2 + $3 == 0)
		amiss($4 " tested nothing")
}

END {
	for (i = 1; i <= nr; i++)
		if (!counted[order[i]])
			amiss("no count of " order[i])
	if (status != 0 && !failed)
		amiss("ended with status " status " though no test failed")
}
