/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only 32-bit Arm has. The line numbers are those of Linux 7.2.13. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pgtable.h>

#include "../../../../rust_gup/uapi/rust_gup.h"
#include "../../no_keys.h"

#define ADDRESS_END	PHYS_MASK_SHIFT
#define ADDRESS_BITS	GENMASK_ULL(ADDRESS_END - 1, PAGE_SHIFT)

/* The entries of the root are PUDs: p4d_present() and pgd_present() are true for every entry. */
static unsigned int nr_levels(void)
{
	return PUD;
}

static u64 addresses(void)
{
	return 0;
}

static const char *machine(void)
{
	return "LPAE";
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	u64 flags = PMD_SECT_USER | PMD_SECT_S | PMD_SECT_AF | PMD_SECT_nG | L_PMD_SECT_DIRTY;

	return flags | (is_leaf && level != PTE ? PMD_TYPE_SECT : PMD_TYPE_TABLE);
}

/*
 * mm/gup.c takes every PUD that is not 0 for a table: pud_present() tests nothing else, and no PUD is
 * a leaf (pgtable-3level.h:116, include/linux/pgtable.h:2399). Both levels have the same types.
 */
static bool is_sane_table(u64 raw, u32 level)
{
	return pmd_table(__pmd(raw));
}

/*
 * Most frames that an entry can name have no struct page, so pmd_page() wraps around and points nowhere.
 * Back from the pointer, the highest bits of the frame number are lost: as many as the size of struct
 * page has factors of 2. A frame number has 32 bits, and an entry has only 28 of them.
 */
static_assert(sizeof(struct page) % 32);

static u64 table_address(u64 raw, u32 level)
{
	struct page *page = level == PMD ? pmd_page(__pmd(raw)) : pud_page(__pud(raw));

	return page_to_phys(page) & PHYS_MASK;
}

static bool is_shadow_stack(u64 raw)
{
	return false;
}

/*
 * The walker makes the same tests at both levels of leaves. C does not look at the bit for user space
 * in a PMD (pmd_access_permitted(), include/linux/pgtable.h:1366). No PMD of arm is special: that
 * needs ARCH_SUPPORTS_PMD_PFNMAP, so pmd_special() is a stub (include/linux/mm.h:3457).
 */
static bool is_stricter(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	return q->level == PMD && (!pte_isset(pte, L_PTE_USER) || pte_special(pte));
}

static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (!pte_valid(pte)) {
		if (pte_isset(pte, L_PTE_NONE))
			return RUST_GUP_STOP_PROT_NONE;
		/* A huge page that is being split: pmd_mkinvalid(). */
		return q->level == PTE || pmd_none(__pmd(raw)) ? RUST_GUP_STOP_ABSENT : RUST_GUP_STOP_CHANGED;
	}
	if (q->level == PUD)
		return RUST_GUP_STOP_BAD;
	if (!pte_isset(pte, L_PTE_USER))
		return RUST_GUP_STOP_NOT_USER;
	if (q->write && !pte_write(pte))
		return RUST_GUP_STOP_READ_ONLY;
	if (pte_special(pte))
		return RUST_GUP_STOP_SPECIAL;
	/* L_PTE_PRESENT has two bits. */
	return q->level == PTE ? RUST_GUP_STOP_BAD : 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
