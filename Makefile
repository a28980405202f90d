# SPDX-License-Identifier: GPL-2.0
#
# The targets that people type; scripts/ does the work. Kbuild lists the parts of
# the module.
#
# ARCH=amd64 | arm64 | armhf | loong64 | ppc64el | riscv64 | s390x	the architecture, one of scripts/arch (amd64); all, for make demo
# KVER=7.2 | 7.2.12 | RELEASE	the stock kernel (the newest one)
# FLAVOUR=amd64 | kasan | kcsan	its flavour (the one for clouds); kasan and kcsan are built here, from its source
# RUST=kernel | static		use the crates of the kernel, or link them into the module (what the stock kernel needs; not on amd64)
# KDIR=DIR			build for this prepared kernel tree, with the host's own tools
# MIRROR=URL			the Debian mirror (the one the host's apt uses)
# SEED=N			seed of the random tests (a new one each time); they also run with a fixed seed
# ORACLE=y			build selftests/oracle, too
# RUST_GUP_CACHE=DIR		folder of the build root and the kernels

S := scripts

# Make hands command-line variables to the scripts through the environment.
export ARCH KVER FLAVOUR RUST KDIR MIRROR ORACLE SEED RUST_GUP_CACHE

.DEFAULT_GOAL := module
# The scripts share the cache, the build directories and the processors.
.NOTPARALLEL:

.PHONY: module
module: ## build rust_gup.ko for the newest stock kernel (KVER=, FLAVOUR=) or for KDIR=
	@$(S)/build-module

.PHONY: user
user: ## build gupctl, the self-tests and the sample programs, linked statically
	@$(S)/cargo build-static

.PHONY: all
all: module user ## build everything

.PHONY: vm
vm: user ## boot the stock kernel with the module loaded, and give a shell
	@$(S)/vm shell

.PHONY: demo
demo: ## show the walker at work in VMs, with 5 and with 4 levels of tables; ARCH=all: on each architecture
	@$(S)/demo$(if $(filter all,$(ARCH)),-all)

.PHONY: test
test: ## run all checks and tests; the last line counts them
	@$(S)/test

.PHONY: test-all
test-all: ## run all checks and tests on all architectures, and show a table of them (hours)
	@$(S)/test-all

.PHONY: test-host
test-host: ## run the walker's tests on this machine, without a kernel
	@$(S)/cargo test

.PHONY: litmus
litmus: ## check the barriers as litmus tests, with herd7
	@$(S)/litmus

.PHONY: barriers
barriers: module ## check that the machine code has the barriers of the walk (ARCH=arm64)
	@$(S)/barriers

.PHONY: oracle
oracle: ## compare the decoder with the running kernel's inline functions, in VMs
	@$(S)/oracle

.PHONY: mutants
mutants: ## put one mistake after the other into the walker: the host tests must detect each
	@$(S)/mutants

.PHONY: mutants-vm
mutants-vm: all ## put one mistake after the other into the module: the tests in VMs must detect each
	@$(S)/mutants-vm

.PHONY: fuzz
fuzz: ## let libFuzzer search for faults of the walker (SECONDS_EACH=60, SEED=, SAVE=y)
	@$(S)/fuzz

.PHONY: fuzz-diff
fuzz-diff: all ## compare the engines on random memory until they differ (SECONDS=, SEED=, FIRST=: a sequence's number)
	@$(S)/fuzz-diff $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST))

.PHONY: test-vm
test-vm: all ## run the tests of the loaded module on every machine of selftests/vm/profiles
	@$(S)/test-vm

.PHONY: test-upstream
test-upstream: all ## run the kernel's own selftests that open gup_test, unmodified, on rust_gup's
	@$(S)/test-upstream

.PHONY: test-debug
test-debug: ## run the tests of the loaded module on debug kernels, built first if need be: KASAN, KCSAN
	@$(S)/test-debug

.PHONY: fuzz-abi
fuzz-abi: all ## make hostile calls from user land, in a VM (SECONDS=300, SEED=)
	@$(S)/vm run --name fuzz-abi --machine abi-fuzz --timeout $$(($(or $(SECONDS),300) * 2 + 120)) -- \
		gup-selftest abi-fuzz --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: ## measure against the kernel (7.2 unless KVER=); a missed figure is shown, and is no failure
	@$(S)/bench

.PHONY: bench-host
bench-host: ## measure against the kernel's code, in time, on this machine's processor (ONLY=TEXT: rows with it in their name)
	@$(S)/bench-host $(if $(ONLY),--only '$(ONLY)')

.PHONY: load
load: ## load the module into the running kernel, for which it must be built
	@$(S)/load-module load

.PHONY: unload
unload: ## unload the module from the running kernel
	@$(S)/load-module unload

.PHONY: check
check: ## run all checks of the source; the last line counts them
	@$(S)/check

.PHONY: check-layers
check-layers: ## check the layers of the source
	@$(S)/check-layers

.PHONY: check-scripts
check-scripts: ## check that make test and make test-debug fail for each thing that can go wrong
	@selftests/scripts/run

.PHONY: check-mutants
check-mutants: ## check that the mistakes of the mutants still apply to the source
	@$(S)/check-mutants

.PHONY: fmt
fmt: ## format the Rust code
	@$(S)/lint fmt

.PHONY: fmt-check
fmt-check: ## check the format of the Rust code
	@$(S)/lint fmt-check

.PHONY: clippy
clippy: ## run clippy with the kernel's lints on the module and on user land
	@$(S)/lint clippy

.PHONY: shellcheck
shellcheck: ## run shellcheck on the scripts
	@$(S)/lint shellcheck

.PHONY: docs
docs: ## build the documentation, as build/docs/index.html
	@$(S)/lint docs

.PHONY: update
update: ## look for a newer stock kernel, and use it from now on
	@dir=$$($(S)/prepare-kernel.sh --update) && echo "the stock kernel is now the one in $$dir"

.PHONY: clean
clean: ## delete what was built in this folder
	rm -rf build target

.PHONY: clean-cache
clean-cache: ## delete the build root, the kernels and the crates from the cache
	@$(S)/clean-cache

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk '/^# [A-Z_]+=/ { sub(/^# /, ""); split($$0, f, /\t+/); printf "  %-28s %s\n", f[1], f[2] }' $(firstword $(MAKEFILE_LIST))
