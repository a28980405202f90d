# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The checks of the source, which "make check" and "make test" share. The quickest checks come
# first. Source this file after tally.sh.

check_layers() {
	scripts/check-layers --self-test && scripts/check-layers
}

# source_checks: runs each check as one test. Always succeeds, because the counts tell the result.
source_checks() {
	check "licences" scripts/lint licences || true
	check "spelling" scripts/lint spelling || true
	check "kernel-doc" scripts/lint kernel-doc || true
	check "format" scripts/lint fmt-check || true
	check "mutants apply" scripts/check-mutants || true
	check "documentation" scripts/lint docs || true
	check "checkpatch" scripts/lint checkpatch || true
	check "layers" check_layers || true
	check "shellcheck" scripts/lint shellcheck || true
	check "these scripts" selftests/scripts/run || true
	check "clippy of the module" scripts/lint clippy-module || true
	check "rustdoc of the module" scripts/lint rustdoc-module || true
	check "rustdoc of user land" scripts/lint rustdoc-user || true
	check "clippy of user land" scripts/lint clippy-user || true
}
