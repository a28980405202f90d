// SPDX-License-Identifier: GPL-2.0
/*
 * Feeds systematic and random page-table entries to the walker's decoder and to the running
 * kernel's own inline functions, at every level, for both kinds of access and under several values
 * of the register with protection keys. Loading the module fails if the results differ. The kernel
 * log has the first difference.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/random.h>
#include <linux/sched.h>

#include "oracle.h"

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Where the random entries begin; 0 is a random one");

static unsigned long entries = 10000000;
module_param(entries, ulong, 0444);
MODULE_PARM_DESC(entries, "How many entries");

/* decode.rs has the same constants. */
#define LEAF		0x20
#define WRITABLE_LEAF	0x60
#define TABLE		0x80
u64 rust_gup_oracle_decode(u64 raw, u32 level, bool write, bool has_keys, u64 keys, u64 addresses);

static u64 leaf(u64 raw, const struct question *q, unsigned long pfn, bool writable)
{
	if (is_stricter(raw, q))
		return 0;
	return (u64)pfn << 8 | (writable && !is_shadow_stack(raw) ? WRITABLE_LEAF : LEAF);
}

static u64 table(u64 raw, u32 level)
{
	return is_sane_table(raw, level) ? table_address(raw, level) << 8 | TABLE : 0;
}

/*
 * Makes the tests of gup_fast_pte_range() and of its callers up the tree, in their order. Returns 0
 * if the fast walk ends here. Where the address of a huge page has an offset in it, which no kernel
 * writes, pmd_pfn() and pud_pfn() of PowerPC keep that offset.
 */
static u64 what_is_taken(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);
	pmd_t pmd = __pmd(raw);
	pud_t pud = __pud(raw);

	switch (q->level) {
	case PTE:
		if (!pte_protnone(pte) && pte_access_permitted(pte, q->write) && !pte_special(pte))
			return leaf(raw, q, pte_pfn(pte), pte_write(pte));
		return 0;
	case PMD:
		if (!pmd_present(pmd))
			return 0;
		if (!pmd_leaf(pmd))
			return table(raw, PMD);
		if (!pmd_protnone(pmd) && pmd_access_permitted(pmd, q->write) && !pmd_special(pmd))
			return leaf(raw, q, ALIGN_DOWN(pmd_pfn(pmd), PHYS_PFN(PMD_SIZE)), pmd_write(pmd));
		return 0;
	case PUD:
		if (!pud_present(pud))
			return 0;
		if (!pud_leaf(pud))
			return table(raw, PUD);
		if (pud_access_permitted(pud, q->write) && !pud_special(pud))
			return leaf(raw, q, ALIGN_DOWN(pud_pfn(pud), PHYS_PFN(PUD_SIZE)), pud_write(pud));
		return 0;
	case P4D:
		return p4d_present(__p4d(raw)) ? table(raw, P4D) : 0;
	default:
		return pgd_present(__pgd(raw)) ? table(raw, PGD) : 0;
	}
}

static bool ask(u64 raw, const struct question *q)
{
	u64 taken = what_is_taken(raw, q);
	u64 kernel = taken ?: why_not(raw, q);
	u64 walker = rust_gup_oracle_decode(raw, q->level, q->write, q->has_keys, q->keys, addresses());

	if (likely(kernel == walker))
		return true;
	pr_err("raw %#llx level %u %s %s %#llx: kernel %#llx, walker %#llx\n", raw, q->level,
	       q->write ? "write" : "read", q->has_keys ? "keys" : "no keys", q->keys, kernel, walker);
	return false;
}

/* xorshift64 */
static u64 rng;

static u64 next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

#define BATCH		4096
#define HIGH_BITS	(64 - ADDRESS_END)
#define HIGH_PATTERNS	(HIGH_BITS + 2)

/* Returns a pattern of the bits above the frame: none of them, each one alone, or all of them. */
static u64 high_bits(unsigned int pattern)
{
	if (pattern == 0)
		return 0;
	return pattern <= HIGH_BITS ? BIT_ULL(ADDRESS_END - 1 + pattern) : GENMASK_ULL(63, ADDRESS_END);
}

static u64 frame_bits(void)
{
	u64 random = next();

	switch (random & 7) {
	case 0:
		return 0;
	case 1:
		return ADDRESS_BITS;
	default:
		return random & ADDRESS_BITS;
	}
}

/* Returns an entry that is valid, or differs from a valid one in up to three bits. */
static u64 likely_entry(u32 level)
{
	u64 raw = frame_bits();
	u64 random = next();
	unsigned int flips = random & 3;

	raw |= likely_flags(level, random & 4);
	if (random & 8)
		raw |= (random << 16) & KEY_BITS;
	for (random >>= 8; flips; flips--, random >>= 6)
		raw ^= BIT_ULL(random & 63);
	return raw;
}

/*
 * Asks about a batch of entries. The first batches of each question have all combinations of the
 * low flags, with patterns of the high bits. The batches after them have random entries.
 */
static bool ask_batch(unsigned long pattern, const struct question *q)
{
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		u64 raw;

		if (pattern < HIGH_PATTERNS)
			raw = high_bits(pattern) | frame_bits() | i;
		else
			raw = i & 1 ? likely_entry(q->level) : next();
		if (!ask(raw, q))
			return false;
	}
	return true;
}

static int __init oracle_init(void)
{
	unsigned long batch, nr_batches = DIV_ROUND_UP(entries, BATCH);
	unsigned int levels = nr_levels();

	if (!seed)
		seed = get_random_long() | 1;
	rng = seed;
	for (batch = 0; batch < nr_batches; batch++) {
		unsigned long rest = batch;
		struct question q;
		unsigned int nr;
		u64 old;
		bool same;

		q.level = 1 + rest % levels;
		rest /= levels;
		q.write = rest % 2;
		rest /= 2;
		nr = rest % ARRAY_SIZE(key_values);
		q.keys = nr == ARRAY_SIZE(key_values) - 1 ? next() : key_values[nr];
		settle_keys(&q);
		rest /= ARRAY_SIZE(key_values);

		/* The register belongs to the task, and nothing here touches user memory. */
		preempt_disable();
		old = swap_keys(q.keys);
		same = ask_batch(rest, &q);
		swap_keys(old);
		preempt_enable();
		if (!same) {
			pr_err("they differ after %lu entries, with seed=%lu\n", batch * BATCH, seed);
			return -EINVAL;
		}
		cond_resched();
	}
	pr_info("%lu entries on %u levels, %s, seed=%lu: no difference\n", nr_batches * BATCH, levels, machine(),
		seed);
	return 0;
}
module_init(oracle_init);

static void __exit oracle_exit(void)
{
}
module_exit(oracle_exit);

MODULE_DESCRIPTION("The walker's decoder against the kernel's inline functions");
MODULE_LICENSE("GPL");
