// SPDX-License-Identifier: GPL-2.0
/*
 * Feeds systematic and random page-table entries to the walker's decoder and to the running
 * kernel's own inline functions, at every level, for both kinds of access and under several values
 * of PKRU. Loading the module fails if the results differ. The kernel log has the first difference.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <asm/pkru.h>

#include "../../rust_gup/uapi/rust_gup.h"

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
u64 rust_gup_oracle_decode(u64 raw, u32 level, bool write, u32 pkru, u64 physical_mask);

enum { PTE = 1, PMD, PUD, P4D, PGD, LEVELS = PGD };

struct question {
	u32 level;
	bool write;
	u32 pkru;
};

static u64 leaf(unsigned long pfn, bool writable)
{
	return (u64)pfn << 8 | (writable ? WRITABLE_LEAF : LEAF);
}

/*
 * Returns whether an entry that points to a table makes sense. The walker uses the kernel's test of
 * PMDs at all levels. Above PMDs it tests the low flags only, because of the flags that PTI sets.
 */
static bool is_sane_table(u64 raw, u32 level)
{
	return !pmd_bad(__pmd(level == PMD ? raw : raw & GENMASK_ULL(51, 0)));
}

static u64 table(unsigned long pfn)
{
	return (u64)pfn << 8 | TABLE;
}

/*
 * Makes the tests of gup_fast_pte_range() and of its callers up the tree, in their order. Returns 0
 * if the fast walk ends here.
 */
static u64 what_is_taken(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);
	pmd_t pmd = __pmd(raw);
	pud_t pud = __pud(raw);

	switch (q->level) {
	case PTE:
		/*
		 * The walker goes by the bits of a shadow stack page: not writable.
		 */
		if (!pte_protnone(pte) && pte_access_permitted(pte, q->write) && !pte_special(pte))
			return leaf(pte_pfn(pte), pte_write(pte) && !pte_shstk(pte));
		return 0;
	case PMD:
		if (!pmd_present(pmd))
			return 0;
		if (!pmd_leaf(pmd))
			return is_sane_table(raw, PMD) ? table(pmd_pfn(pmd)) : 0;
		if (!pmd_protnone(pmd) && pmd_access_permitted(pmd, q->write) && !pmd_special(pmd))
			return leaf(pmd_pfn(pmd), pmd_write(pmd) && !pmd_shstk(pmd));
		return 0;
	case PUD:
		if (!pud_present(pud))
			return 0;
		if (!pud_leaf(pud))
			return is_sane_table(raw, PUD) ? table(pud_pfn(pud)) : 0;
		if (pud_access_permitted(pud, q->write) && !pud_special(pud))
			return leaf(pud_pfn(pud), pud_write(pud));
		return 0;
	case P4D:
		return p4d_present(__p4d(raw)) && is_sane_table(raw, P4D) ? table(p4d_pfn(__p4d(raw))) : 0;
	default:
		return pgd_present(__pgd(raw)) && is_sane_table(raw, PGD) ? table(pgd_pfn(__pgd(raw))) : 0;
	}
}

/* Returns the stop reason for an entry that is not taken. */
static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (q->level > PUD && raw & _PAGE_PSE)
		return RUST_GUP_STOP_BAD;
	if (pte_protnone(pte))
		return RUST_GUP_STOP_PROT_NONE;
	if (!pte_present(pte))
		/* A huge page that is being split. pmd_present() tests the same bit. */
		return raw & _PAGE_PSE ? RUST_GUP_STOP_CHANGED : RUST_GUP_STOP_ABSENT;
	if (q->level != PTE && !pmd_leaf(__pmd(raw)))
		return RUST_GUP_STOP_BAD;
	if (!(raw & _PAGE_USER))
		return RUST_GUP_STOP_NOT_USER;
	if (q->write && !(raw & _PAGE_RW))
		return RUST_GUP_STOP_READ_ONLY;
	if (pte_special(pte))
		return RUST_GUP_STOP_SPECIAL;
	if (!__pkru_allows_pkey(pte_flags_pkey(raw), q->write))
		return RUST_GUP_STOP_PKEY;
	/* There is no reason left, so this shows as a difference. */
	return 0;
}

static bool ask(u64 raw, const struct question *q)
{
	u64 taken = what_is_taken(raw, q);
	u64 kernel = taken ?: why_not(raw, q);
	u64 walker = rust_gup_oracle_decode(raw, q->level, q->write, q->pkru, __PHYSICAL_MASK);

	if (likely(kernel == walker))
		return true;
	pr_err("raw %#llx level %u %s pkru %#x: kernel %#llx, walker %#llx\n", raw, q->level,
	       q->write ? "write" : "read", q->pkru, kernel, walker);
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
#define HIGH_PATTERNS	14

/* Returns a pattern of the bits above the frame: none of them, each one alone, or all of them. */
static u64 high_bits(unsigned int pattern)
{
	if (pattern == 0)
		return 0;
	return pattern <= 12 ? BIT_ULL(51 + pattern) : GENMASK_ULL(63, 52);
}

static u64 frame_bits(void)
{
	u64 random = next();

	switch (random & 7) {
	case 0:
		return 0;
	case 1:
		return GENMASK_ULL(51, 12);
	default:
		return random & GENMASK_ULL(51, 12);
	}
}

/* Returns an entry that is valid, or differs from a valid one in up to three bits. */
static u64 likely_entry(u32 level)
{
	u64 raw = frame_bits() | _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY;
	u64 random = next();
	unsigned int flips = random & 3;

	if (level != PTE && random & 4)
		raw |= _PAGE_PSE;
	if (random & 8)
		raw |= (random << 16) & _PAGE_PKEY_MASK;
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
	/*
	 * These deny nothing; all access with all keys but the first; writing with all keys; all
	 * access with all keys; all access with the first key; writing with the first key. The last
	 * value is replaced by a random one.
	 */
	static const u32 pkrus[] = { 0, 0x55555554, 0xaaaaaaaa, 0xffffffff, 0x1, 0x2, 0 };
	unsigned long batch, nr_batches = DIV_ROUND_UP(entries, BATCH);

	/* With fewer levels, pgd_present() is true for every entry. */
	unsigned int levels = pgtable_l5_enabled() ? PGD : P4D;

	if (!seed)
		seed = get_random_long() | 1;
	rng = seed;
	for (batch = 0; batch < nr_batches; batch++) {
		unsigned long rest = batch;
		struct question q;
		u32 old;
		bool same;

		q.level = 1 + rest % levels;
		rest /= levels;
		q.write = rest % 2;
		rest /= 2;
		q.pkru = pkrus[rest % ARRAY_SIZE(pkrus)];
		if (rest % ARRAY_SIZE(pkrus) == ARRAY_SIZE(pkrus) - 1)
			q.pkru = next();
		if (!cpu_feature_enabled(X86_FEATURE_OSPKE))
			q.pkru = 0;
		rest /= ARRAY_SIZE(pkrus);

		/* PKRU belongs to the task, and nothing here touches user memory. */
		preempt_disable();
		old = read_pkru();
		write_pkru(q.pkru);
		same = ask_batch(rest, &q);
		write_pkru(old);
		preempt_enable();
		if (!same) {
			pr_err("they differ after %lu entries, with seed=%lu\n", batch * BATCH, seed);
			return -EINVAL;
		}
		cond_resched();
	}
	pr_info("%lu entries on %u levels, %s protection keys, seed=%lu: no difference\n", nr_batches * BATCH, levels,
		cpu_feature_enabled(X86_FEATURE_OSPKE) ? "with" : "without", seed);
	return 0;
}
module_init(oracle_init);

static void __exit oracle_exit(void)
{
}
module_exit(oracle_exit);

MODULE_DESCRIPTION("The walker's decoder against the kernel's inline functions");
MODULE_LICENSE("GPL");
