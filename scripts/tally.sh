# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2164
#
# Counts tests, for the scripts that run many of them. Source it after lib.sh.
#
# A count is a line in the file RESULTS: PASSED FAILED SKIPPED [NAME [RESTARTS]].

cd "$TOP"
mkdir -p "$BUILD/test-logs"
RESULTS=$BUILD/test-logs/$(basename "$0").results
export RESULTS
: >"$RESULTS"
START=$(date +%s)

count() {
	echo "$*" >>"$RESULTS"
}

# log_of TEXT: prints the path of the log of that check or stage, without the suffix.
log_of() {
	printf '%s/test-logs/%s' "$BUILD" "$(printf '%s' "$1" | tr -c 'a-z0-9' '-')"
}

# check TEXT COMMAND...: runs one test. Shows its output only if it fails.
check() {
	local text=$1 start log
	shift
	start=$(date +%s)
	log=$(log_of "$text").log
	if "$@" >"$log" 2>&1; then
		count 1 0 0
		printf 'ok      %s (%s)\n' "$text" "$(duration $(($(date +%s) - start)))"
	else
		count 0 1 0
		printf 'not ok  %s (%s)\n' "$text" "$(duration $(($(date +%s) - start)))"
		tail -n 30 "$log" | sed 's/^/  | /'
		printf '  log: %s\n' "$log"
		return 1
	fi
}

# stage TEXT "NAME..." COMMAND...: runs tests that the command counts, once for each NAME. A missing
# count is a failure, and so is a status that no failed test explains. Always succeeds, because the
# counts tell the result.
stage() {
	local text=$1 names=$2 counts status
	shift 2
	counts=$(log_of "$text").counts
	: >"$counts"
	# The command does not run in a condition, because there a function would go on after an
	# error.
	set +e
	(
		set -e
		RESULTS=$counts "$@"
	)
	status=$?
	set -e
	awk -v text="$text" -v names="$names" -v status="$status" -v results="$RESULTS" \
		-f "$TOP/scripts/tally.awk" "$counts"
}

# finish: prints the totals. A run in which nothing passed is a failure.
finish() {
	awk 'NF > 4 && $5 > 0 { printf "started again, since it was in trouble before its tests began: %s (%d times)\n", $4, $5 }' "$RESULTS"
	printf 'all tests took %s\n' "$(duration $(($(date +%s) - START)))"
	awk '{ p += $1; f += $2; s += $3 }
		END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f != 0 || p == 0 }' "$RESULTS"
	exit
}
