# SPDX-License-Identifier: GPL-2.0
#
# What each layer of rust_gup/ may name. Reads files of Rust and C, by their paths
# relative to the repository; comments and the contents of strings do not count.

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

# path(text, "kernel"): is the path kernel:: named, from its start?
function path(text, p) {
	return text ~ ("(^|[^A-Za-z0-9_:])" p "[[:space:]]*::")
}

function report(rule) {
	printf "%s:%d: %s\n", FILENAME, FNR, rule
	printf "    %s\n", $0
	bad = 1
}

FNR == 1 {
	in_comment = in_string = 0
	walk = FILENAME ~ /^rust_gup\/walk\//
	format = FILENAME ~ /^rust_gup\/walk\/format/
	gup = FILENAME ~ /^rust_gup\/gup\//
	# kapi/exports.rs is the border to C, include/ becomes part of other modules, samples/ are other modules.
	sys = FILENAME ~ /^rust_gup\/(sys|include)\// || FILENAME == "rust_gup/kapi/exports.rs" ||
		FILENAME ~ /^samples\/[a-z_]+\/sys\//
	# The ABI names the formats and features that there are.
	arch = format || FILENAME ~ /^rust_gup\/(sys\/arch|uapi)\// || FILENAME !~ /^rust_gup\//
}

{
	text = code($0)
	if (text ~ /^[[:space:]]*$/)
		next
}

# Of the other folders of rust_gup/ the compiler says it.
!sys && (FILENAME !~ /^rust_gup\/[a-z_]+\//) && word(text, "unsafe") {
	report("`unsafe` outside of sys/")
}

!sys && text ~ /(^|[^A-Za-z0-9_])bindings[[:space:]]*::/ {
	report("`bindings::` outside of sys/")
}

FILENAME ~ /^rust_gup\// && FILENAME != "rust_gup/sys/memory/release.rs" &&
text ~ /(bindings|raw)[[:space:]]*::[[:space:]]*[a-z_]*(put_page|put_folio|folio_put|folios_put|release_pages|unpin_)/ {
	report("pages are given back outside of sys/memory/release.rs")
}

# That it names nothing but core and itself, the crate in selftests/core shows.
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

gup && (path(text, "crate::device") || path(text, "crate::kapi") || path(text, "crate::gup_test")) {
	report("gup/ names device/, kapi/ or gup_test/")
}

END {
	exit bad
}
