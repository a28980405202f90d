/* SPDX-License-Identifier: GPL-2.0 */
/* The border between oracle.c and the arch.h of each architecture. */
#ifndef RUST_GUP_ORACLE_H
#define RUST_GUP_ORACLE_H

#include <linux/types.h>

/* Levels count from 1, the tables of base pages. */
enum { PTE = 1, PMD, PUD, P4D, PGD };

/*
 * A register may deny accesses by a key that is a part of the entry. has_keys says whether the walker
 * is told of such a register, and keys is the value of it.
 */
struct question {
	u32 level;
	bool write;
	bool has_keys;
	u64 keys;
};

/*
 * Each arch.h defines ADDRESS_BITS, the bits of an entry in which an address is, and ADDRESS_END, the
 * number of the bit above them; KEY_BITS, the bits of the key; key_values[], the values of the
 * register that are tried, the last of which is replaced by a random one; and these functions.
 */

/* Returns the number of levels, without those that the kernel has folded. */
static unsigned int nr_levels(void);

/* Returns what the walker has to know of addresses. The mod.rs beside arch.h gets the value. */
static u64 addresses(void);

/* Describes the machine in the message that all went well. */
static const char *machine(void);

/* Adapts the keys of a question, which has one of key_values[], to the CPU. */
static void settle_keys(struct question *q);

/* Writes the register, if the CPU has it, and returns the value that it had before. */
static u64 swap_keys(u64 keys);

/* Returns the flags of an entry that is taken, for a leaf or for a table. */
static u64 likely_flags(u32 level, bool is_leaf);

/* Returns whether an entry that is present and no leaf makes sense as a pointer to a table. */
static bool is_sane_table(u64 raw, u32 level);

/* Returns the physical address of the table that such an entry points to. */
static u64 table_address(u64 raw, u32 level);

/* Returns whether C calls a leaf writable because the CPU may write to it as a shadow stack. */
static bool is_shadow_stack(u64 raw);

/* Returns whether the walker refuses a leaf that C takes. */
static bool is_stricter(u64 raw, const struct question *q);

/* Returns the stop reason for an entry that is not taken, or 0 if it has none. */
static u64 why_not(u64 raw, const struct question *q);

#include "arch.h"

#endif /* RUST_GUP_ORACLE_H */
