# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2164
#
# Counting tests, for the scripts that run many of them. Source it after lib.sh.

cd "$TOP"
mkdir -p "$BUILD/test-logs"
RESULTS=$BUILD/test-logs/$(basename "$0").results
export RESULTS
: >"$RESULTS"
START=$(date +%s)

count() {
	echo "$1 $2 $3" >>"$RESULTS"
}

# check TEXT COMMAND...: one test, whose output matters only if it fails.
check() {
	local text=$1 start log
	shift
	start=$(date +%s)
	log=$BUILD/test-logs/$(printf '%s' "$text" | tr -c 'a-z0-9' '-').log
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

finish() {
	printf 'all tests took %s\n' "$(duration $(($(date +%s) - START)))"
	awk '{ p += $1; f += $2; s += $3 }
		END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f != 0 }' "$RESULTS"
	exit
}
