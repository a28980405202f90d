# SPDX-License-Identifier: GPL-2.0
#
# Copies a litmus test to the directory DIR, as it is and without some of its barriers. Prints the name
# of each copy, the verdict that is expected, and a title.
#
# Each barrier is taken out, which must make "Sometimes" of "Never". Those with the comment "not needed"
# are taken out together, and the verdict must stay. Where comments say "one of A", each of these
# barriers is enough: the verdict stays if one of them is left, and changes if none is. With "alone"
# set, there is one copy.

# weaker TEXT: the text without its barrier, or with an access that orders nothing.
function weaker(text) {
	if (is_assembly)
		sub(/D[MS]B ISH(LD|ST)?/, "NOP", text) || sub(/LDAXR/, "LDXR", text) || sub(/STLXR/, "STXR", text) ||
			sub(/LDAR/, "LDR", text) || sub(/STLR/, "STR", text) || sub(/CASAL?/, "CAS", text) ||
			sub(/LDADDAL/, "LDADD", text)
	else if (!sub(/smp_load_acquire\(/, "READ_ONCE(*", text) && text ~ /^[[:space:]]*smp_[a-z_]*mb[a-z_]*\(\);/)
		return ""
	return text
}

# barrier TEXT: the barrier, by its name.
function barrier(text) {
	match(text, is_assembly ? "D[MS]B [A-Z]*|[A-Z]+" : "smp_[a-z_]*")
	return substr(text, RSTART, RLENGTH)
}

# write WANT TITLE: makes a copy of the lines as they are now.
function write(want, title,   copy, file, i) {
	copy = sprintf("%s-%02d", name, nr_copies++)
	file = dir "/" copy ".litmus"
	print (is_assembly ? "AArch64 " : "C ") copy >file
	for (i = 2; i <= NR; i++)
		print line[i] >file
	close(file)
	printf "%s\t%s\t%s\n", copy, want, title
}

# weaken AT COLUMN: takes the barrier out of one column of a line.
function weaken(at, column,   columns, nr, i) {
	nr = split(line[at], columns, "|")
	columns[column] = weaker(columns[column])
	line[at] = columns[1]
	for (i = 2; i <= nr; i++)
		line[at] = line[at] "|" columns[i]
}

# without GROUP LEFT: takes all barriers of a group out of the test, except the one of this number.
function without(group, left,   nr, i, place) {
	for (i = 1; i <= NR; i++)
		line[i] = as_it_is[i]
	nr = split(groups[group], places, " ")
	for (i = 1; i <= nr; i++) {
		split(places[i], place, ":")
		if (i != left)
			weaken(place[1], place[2])
	}
	return nr
}

# group_of TEXT: the group of a barrier, or a new one.
function group_of(text) {
	if (text ~ /not needed/)
		return "not needed"
	if (match(text, /one of [A-Z]/))
		return substr(text, RSTART, RLENGTH)
	return ++nr_groups
}

# at GROUP NR: says which barrier that is.
function at(group, nr,   place, columns) {
	split(groups[group], places, " ")
	split(places[nr], place, ":")
	split(as_it_is[place[1]], columns, "|")
	return barrier(columns[place[2]]) " in line " place[1]
}

FNR == 1 { is_assembly = $1 == "AArch64"; name = $2 }
/^ \* Result: / { want = $3 }
{ line[NR] = as_it_is[NR] = $0 }

END {
	title = is_assembly ? name " on AArch64" : name
	write(want, title)
	if (want != "Never" || alone)
		exit
	for (i = 2; i <= NR; i++) {
		nr_columns = is_assembly && line[i] !~ /\|/ ? 0 : split(line[i], columns, "|")
		for (j = 1; j <= nr_columns; j++) {
			if (weaker(columns[j]) != columns[j]) {
				group = group_of(columns[j])
				groups[group] = groups[group] " " i ":" j
			}
		}
	}
	for (group in groups) {
		nr = without(group)
		if (group == "not needed") {
			write("Never", title " without what is not needed")
			continue
		}
		write("Sometimes", title " without " (nr == 1 ? at(group, 1) : "any of " substr(group, 8)))
		for (i = 1; i <= nr && nr > 1; i++) {
			without(group, i)
			write("Never", title " with only " at(group, i) " of " substr(group, 8))
		}
	}
}
