# SPDX-License-Identifier: GPL-2.0
#
# Checks what each layer of rust_gup/ may name. Reads files of Rust and C, by their paths relative
# to the repository. Comments and the contents of strings do not count.

function code(line,    out, c, i, n) {
	out = ""
	n = length(line)
	for (i = 1; i <= n; i++) {
		c = substr(line, i, 1)
		if (in_comment) {
			if (c == "*" && substr(line, i + 1, 1) == "/") {
				in_comment = 0
				i++
			}
		} else if (in_string) {
			if (c == "\\")
				i++
			else if (c == "\"") {
				in_string = 0
				out = out c
			}
		} else if (c == "'" && substr(line, i, 3) == "'\"'") {
			i += 2
		} else if (c == "\"") {
			in_string = 1
			out = out c
		} else if (c == "/" && substr(line, i + 1, 1) == "/") {
			break
		} else if (c == "/" && substr(line, i + 1, 1) == "*") {
			in_comment = 1
			i++
		} else
			out = out c
	}
	return out
}

function word(text, w) {
	return text ~ ("(^|[^A-Za-z0-9_])" w "([^A-Za-z0-9_]|$)")
}

# path(text, "kernel"): does the text name the path kernel::, from its start?
function path(text, p) {
	return text ~ ("(^|[^A-Za-z0-9_:])" p "[[:space:]]*::")
}

# part_of(file) is the folder of rust_gup/ that the file is in, and room_of(file) the folder of sys/.
function part_of(file) {
	sub(/^rust_gup\//, "", file)
	sub(/[\/.].*/, "", file)
	return file
}

function room_of(file) {
	return sub(/^rust_gup\/sys\//, "", file) ? part_of(file) : ""
}

# check_use(tree, prefix): reports each name in the tree of a `use` that does not lie below this
# file's layer.
function check_use(tree, prefix,    i, c, depth, name, names, n, own) {
	depth = 0
	name = ""
	n = 0
	for (i = 1; i <= length(tree); i++) {
		c = substr(tree, i, 1)
		if (c == "{" && depth++ == 0 || c == "}" && --depth == 0)
			continue
		if (c == "," && depth == 0) {
			names[++n] = name
			name = ""
		} else
			name = name c
	}
	names[++n] = name
	for (i = 1; i <= n; i++) {
		name = names[i]
		if (prefix == "" && match(name, /^sys::/))
			check_use(substr(name, 6), "sys")
		sub(/[^a-z_0-9].*/, "", name)
		own = prefix == "" ? part : room
		if (name != own && (prefix, name) in rank && (prefix, own) in rank && rank[prefix, name] >= rank[prefix, own])
			report("`" own "` uses `" name "`, which does not lie below it")
	}
}

function report(rule) {
	printf "%s:%d: %s\n", FILENAME, FNR, rule
	printf "    %s\n", $0
	bad = 1
}

FNR == 1 {
	in_comment = in_string = 0
	use = ""
	part = FILENAME ~ /^rust_gup\/.*\.rs$/ ? part_of(FILENAME) : ""
	room = room_of(FILENAME)
	walk = FILENAME ~ /^rust_gup\/walk\//
	format = FILENAME ~ /^rust_gup\/walk\/format/
	gup = FILENAME ~ /^rust_gup\/gup\//
	# kapi/exports.rs and bench_host/ are borders to C. include/ becomes part of other modules.
	# samples/ are other modules.
	sys = FILENAME ~ /^rust_gup\/(sys|include|bench_host)\// || FILENAME == "rust_gup/kapi/exports.rs" ||
		FILENAME ~ /^samples\/[a-z_]+\/sys\//
	# The ABI names all formats and features.
	arch = format || FILENAME ~ /^rust_gup\/(sys\/arch|uapi)\// || FILENAME !~ /^rust_gup\//
}

{
	text = code($0)
	if (text ~ /^[[:space:]]*$/)
		next
}

!sys && word(text, "unsafe") {
	report("`unsafe` outside of sys/")
}

!sys && text ~ /(^|[^A-Za-z0-9_])bindings[[:space:]]*::/ {
	report("`bindings::` outside of sys/")
}

FILENAME ~ /^rust_gup\// && FILENAME != "rust_gup/sys/memory/release.rs" &&
text ~ /(bindings|raw)[[:space:]]*::[[:space:]]*[a-z_]*(put_page|put_folio|folio_put|folios_put|release_pages|unpin_)/ {
	report("pages are given back outside of sys/memory/release.rs")
}

# The crate in selftests/core shows that walk/ names nothing but core and itself.
walk && text ~ /extern[[:space:]]+crate/ {
	report("walk/ names a crate other than core")
}

walk && text ~ /target_arch|target_pointer_width|CONFIG_/ {
	report("walk/ depends on the machine it is built for")
}

!arch && tolower(text) ~ /x86|aarch64|arm64|(^|[^a-z])arm([^a-z]|$)|arm_lpae|s390|riscv|loongarch|powerpc|(^|[^a-z])l?pae([^a-z]|$)/ {
	report("an architecture is named outside of sys/arch/ and walk/format/")
}

!arch && tolower(text) ~ /pkru|ospke|la57|xenpv|xen_pv|rdtsc|(^|[^a-z])tsc([^a-z]|$)|por_el0|lpa2|asm!|<asm\// {
	report("what one architecture has is named outside of sys/arch/ and walk/format/")
}

# Collects a `use` up to its end, without blanks.
part != "" && (use != "" || text ~ /^[[:space:]]*(pub(\([a-z: ]*\))?[[:space:]]+)?use[[:space:]]+(crate|super)::/) {
	one = text
	sub(/^[[:space:]]*(pub(\([a-z: ]*\))?[[:space:]]+)?use[[:space:]]+/, "", one)
	gsub(/[[:space:]]/, "", one)
	use = use one
	if (use ~ /;$/) {
		sub(/;$/, "", use)
		if (sub(/^crate::/, "", use))
			check_use(use ~ /^\{/ ? substr(use, 2, length(use) - 2) : use, "")
		else if (FILENAME ~ /^rust_gup\/sys\/[a-z_]+\.rs$/ && sub(/^super::/, "", use))
			check_use(use ~ /^\{/ ? substr(use, 2, length(use) - 2) : use, "sys")
		use = ""
	}
}

gup && (path(text, "crate::device") || path(text, "crate::kapi") || path(text, "crate::gup_test")) {
	report("gup/ names device/, kapi/ or gup_test/")
}

END {
	exit bad
}

# Layers are listed from the bottom to the top.
BEGIN {
	n = split("walk uapi:sys:gup:kapi:device gup_test:bench_host", floors, ":")
	for (i = 1; i <= n; i++)
		for (j = split(floors[i], names, " "); j > 0; j--)
			rank["", names[j]] = i
	n = split("arch:machine task counters files errno:memory:live:held:kernel_gup window:check", floors, ":")
	for (i = 1; i <= n; i++)
		for (j = split(floors[i], names, " "); j > 0; j--)
			rank["sys", names[j]] = i
}
