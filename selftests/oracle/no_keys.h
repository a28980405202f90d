/* SPDX-License-Identifier: GPL-2.0 */
/* The part of an architecture's arch.h that is about protection keys, where there are none. */
#ifndef RUST_GUP_ORACLE_NO_KEYS_H
#define RUST_GUP_ORACLE_NO_KEYS_H

#define KEY_BITS	0
static const u64 key_values[] = { 0 };

static void settle_keys(struct question *q)
{
	q->has_keys = false;
	q->keys = 0;
}

static u64 swap_keys(u64 keys)
{
	return 0;
}

#endif /* RUST_GUP_ORACLE_NO_KEYS_H */
