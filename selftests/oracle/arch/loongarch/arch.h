/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only 64-bit LoongArch has. The line numbers are those of Linux 7.2.13. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pgtable.h>

#include "../../../../rust_gup/uapi/rust_gup.h"
#include "../../no_keys.h"

#define ADDRESS_END	_PAGE_PFN_END_SHIFT
#define ADDRESS_BITS	_PFN_MASK

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
	return "pages of 16 KiB";
}

/*
 * pud_leaf() is true for PUDs that Linux never makes, and pud_write() would be a BUG() then
 * (include/linux/pgtable.h:2101). The walker takes no PUD for a leaf.
 */
#undef pud_access_permitted
static bool pud_access_permitted(pud_t pud, bool write)
{
	return false;
}

/*
 * A huge page begins at a multiple of its size. The walker leaves the other bits out, C does not
 * (pgtable.h:507).
 */
#define pmd_pfn(pmd) ALIGN_DOWN(pmd_pfn(pmd), PTRS_PER_PTE)

static u64 empty_entry(u32 level)
{
	return level == PMD ? (u64)invalid_pte_table : (u64)invalid_pmd_table;
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	/* With a frame of 0 it is the entry that maps nothing, and with any other one an entry for a table. */
	if (level != PTE && !is_leaf)
		return empty_entry(level);
	return _PAGE_PRESENT | _PAGE_VALID | _PAGE_WRITE | _PAGE_DIRTY | _PAGE_USER | _CACHE_CC |
	       (level == PTE ? 0 : _PAGE_HUGE);
}

/* C does not look at the highest bits, and mm/gup.c not at the lowest ones of a PUD. */
static bool is_sane_table(u64 raw, u32 level)
{
	return (raw & ~_PFN_MASK) == CSR_DMW1_BASE;
}

static u64 table_address(u64 raw, u32 level)
{
	return level == PMD ? pmd_phys(__pmd(raw)) : pud_phys(__pud(raw));
}

static bool is_shadow_stack(u64 raw)
{
	return false;
}

/* A huge page that is being split: pmd_mkinvalid(). */
static bool is_invalidated(u64 raw, u32 level)
{
	return level == PMD && (raw & _PAGE_PRESENT_INVALID);
}

/*
 * C asks neither for the privilege nor whether a leaf can be read (pte_access_permitted() and
 * pmd_access_permitted(), include/linux/pgtable.h:1361, 1366). It takes huge pages that are being split
 * (pmd_present(), pgtable.h:258). No PMD is special there: that needs ARCH_SUPPORTS_PMD_PFNMAP, so
 * pmd_special() is a stub (include/linux/mm.h:3457).
 */
static bool is_stricter(u64 raw, const struct question *q)
{
	return (raw & _PAGE_PLV) != _PAGE_USER || (raw & _PAGE_NO_READ) || is_invalidated(raw, q->level) ||
	       (q->level == PMD && (raw & _PAGE_SPECIAL));
}

static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (q->level == PUD || (q->level == PMD && !pmd_leaf(__pmd(raw))))
		return raw == empty_entry(q->level) ? RUST_GUP_STOP_ABSENT : RUST_GUP_STOP_BAD;
	if (pte_protnone(pte))
		return RUST_GUP_STOP_PROT_NONE;
	if (is_invalidated(raw, q->level))
		return RUST_GUP_STOP_CHANGED;
	if (!pte_present(pte))
		return RUST_GUP_STOP_ABSENT;
	if ((raw & _PAGE_PLV) != _PAGE_USER)
		return RUST_GUP_STOP_NOT_USER;
	if (raw & _PAGE_NO_READ)
		return RUST_GUP_STOP_PROT_NONE;
	if (q->write && !pte_write(pte))
		return RUST_GUP_STOP_READ_ONLY;
	return pte_special(pte) ? RUST_GUP_STOP_SPECIAL : 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
