# SPDX-License-Identifier: GPL-2.0
#
# Adds up the counts of a run of scripts/test (tally.sh) by the kernel, its page size and its levels:
#	awk -v of=NAME -v status=STATUS -v seconds=SECONDS -v logs=DIR -f test-all.awk RESULTS
# Prints a line for each of these, with the seconds that its machines took:
#	NAME KERNEL PAGE_KIB LEVELS PASSED FAILED SKIPPED SECONDS
# The last line is for what ran on none of these, and has the seconds of the whole run, in which
# several machines ran at a time. A run that failed although it counts no failure is a failure.

# kind NAME: returns on what that machine's tests ran, and adds up how long they did. The machine
# says so in its results. It says nothing if it ended early.
function kind(name, line, fields, found) {
	found = "- - -"
	while ((getline line < (logs "/" name ".ktap")) > 0)
		if (line ~ /^# machine: /) {
			split(line, fields, /[ \r]+/)
			found = fields[3] " " fields[4] " " fields[5]
			took[found] += fields[6]
		}
	close(logs "/" name ".ktap")
	return found
}

{
	on = NF > 3 ? kind($4) : "- - -"
	if (!(on in passed) && on != "- - -")
		order[++nr] = on
	passed[on] += $1
	failed[on] += $2
	skipped[on] += $3
	failures += $2
}

END {
	order[++nr] = "- - -"
	took["- - -"] = seconds
	if (status != 0 && !failures || NR == 0)
		failed["- - -"]++
	for (i = 1; i <= nr; i++)
		print of, order[i], passed[order[i]] + 0, failed[order[i]] + 0, skipped[order[i]] + 0, took[order[i]] + 0
}
