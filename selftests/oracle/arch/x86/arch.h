/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only x86-64 has. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pfn.h>
#include <linux/pgtable.h>
#include <asm/cpufeature.h>
#include <asm/pkru.h>

#include "../../../../rust_gup/uapi/rust_gup.h"

#define ADDRESS_END	52
#define ADDRESS_BITS	GENMASK_ULL(ADDRESS_END - 1, 12)
#define KEY_BITS	_PAGE_PKEY_MASK

/*
 * Values of PKRU. These deny nothing; all access with all keys but the first; writing with all keys;
 * all access with all keys; all access with the first key; writing with the first key.
 */
static const u64 key_values[] = { 0, 0x55555554, 0xaaaaaaaa, 0xffffffff, 0x1, 0x2, 0 };

/* With fewer levels, pgd_present() is true for every entry. */
static unsigned int nr_levels(void)
{
	return pgtable_l5_enabled() ? PGD : P4D;
}

static u64 addresses(void)
{
	return __PHYSICAL_MASK;
}

static const char *machine(void)
{
	return cpu_feature_enabled(X86_FEATURE_OSPKE) ? "with protection keys" : "without protection keys";
}

static void settle_keys(struct question *q)
{
	q->has_keys = cpu_feature_enabled(X86_FEATURE_OSPKE);
	q->keys = q->has_keys ? (u32)q->keys : 0;
}

static u64 swap_keys(u64 keys)
{
	u32 old = read_pkru();

	write_pkru(keys);
	return old;
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	u64 flags = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY;

	return is_leaf && level != PTE ? flags | _PAGE_PSE : flags;
}

/*
 * The walker uses the kernel's test of PMDs at all levels. Above PMDs it tests the low flags only,
 * because of the flags that PTI sets.
 */
static bool is_sane_table(u64 raw, u32 level)
{
	return !pmd_bad(__pmd(level == PMD ? raw : raw & GENMASK_ULL(51, 0)));
}

static u64 table_address(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return PFN_PHYS(pmd_pfn(__pmd(raw)));
	case PUD:
		return PFN_PHYS(pud_pfn(__pud(raw)));
	case P4D:
		return PFN_PHYS(p4d_pfn(__p4d(raw)));
	default:
		return PFN_PHYS(pgd_pfn(__pgd(raw)));
	}
}

/* The walker goes by the bits of a shadow stack page: not writable. */
static bool is_shadow_stack(u64 raw)
{
	return pte_shstk(__pte(raw));
}

static bool is_stricter(u64 raw, const struct question *q)
{
	return false;
}

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
	return 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
