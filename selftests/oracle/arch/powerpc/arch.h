/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only 64-bit PowerPC has. The line numbers are those of Linux 7.2.13. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pgtable.h>

#include "../../../../rust_gup/uapi/rust_gup.h"
#include "../../no_keys.h"

#define ADDRESS_END	_PAGE_PA_MAX
#define ADDRESS_BITS	PTE_RPN_MASK

/*
 * There are no protection keys with radix tables. The kernel does not export this function, which answers so then
 * (mm/book3s64/pkeys.c:430).
 */
bool arch_pte_access_permitted(u64 pte, bool write, bool execute)
{
	return true;
}

static unsigned int nr_levels(void)
{
	return CONFIG_PGTABLE_LEVELS;
}

static u64 addresses(void)
{
	return 0;
}

static const char *machine(void)
{
	return IS_ENABLED(CONFIG_PPC_64K_PAGES) ? "pages of 64 KiB" : "pages of 4 KiB";
}

static u64 val_bits(u32 level)
{
	switch (level) {
	case PMD:
		return RADIX_PMD_VAL_BITS;
	case PUD:
		return RADIX_PUD_VAL_BITS;
	default:
		return RADIX_PGD_VAL_BITS;
	}
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	if (level != PTE && !is_leaf)
		return val_bits(level);
	return _PAGE_BASE | _PAGE_PTE | _PAGE_RW | _PAGE_DIRTY;
}

static bool is_bad(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return radix__pmd_bad(__pmd(raw));
	case PUD:
		return radix__pud_bad(__pud(raw));
	default:
		return radix__p4d_bad(__p4d(raw));
	}
}

/* Bit 60 is reserved, and the kernel keeps it in the address of a table. */
#define RESERVED	BIT_ULL(60)

/*
 * mm/gup.c asks no more than pmd_bad() in the lowest of these levels, and nothing in the others. The CPU indexes
 * as many bits as the entry says, in a table that is aligned to its length.
 */
static bool is_sane_table(u64 raw, u32 level)
{
	u64 index_bits = val_bits(level) & 0x1f;
	u64 table_bytes = sizeof(u64) << index_bits;

	return (raw & _PAGE_PRESENT) && !is_bad(raw, level) && !(raw & RESERVED) &&
	       (raw & (table_bytes - 1)) == index_bits;
}

static u64 table_address(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return __pa(pmd_page_vaddr(__pmd(raw)));
	case PUD:
		return __pa(pud_pgtable(__pud(raw)));
	default:
		return __pa(p4d_pgtable(__p4d(raw)));
	}
}

static bool is_shadow_stack(u64 raw)
{
	return false;
}

/* Address bits that the manual has in a leaf. The kernel drops them, and a CPU does not. */
#define BEYOND		GENMASK_ULL(_RPAGE_PA_MAX, _PAGE_PA_MAX)

/*
 * C takes base pages that are invalid for a moment (pte_present(), pgtable.h:507), and leaves with such an address.
 */
static bool is_stricter(u64 raw, const struct question *q)
{
	return !pte_hw_valid(__pte(raw)) || (raw & BEYOND);
}

static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (q->level != PTE && !(raw & _PAGE_PTE))
		return raw & (_PAGE_PRESENT | _PAGE_INVALID) ? RUST_GUP_STOP_BAD : RUST_GUP_STOP_ABSENT;
	if (q->level > PUD)
		return RUST_GUP_STOP_BAD;
	if (!pte_hw_valid(pte))
		/* pmdp_invalidate() and ptep_modify_prot_start(). No swap entry has both bits. */
		return pte_present(pte) ? RUST_GUP_STOP_CHANGED : RUST_GUP_STOP_ABSENT;
	if (!pte_read(pte))
		return RUST_GUP_STOP_PROT_NONE;
	if (!pte_user(pte))
		return RUST_GUP_STOP_NOT_USER;
	if (q->write && !pte_write(pte))
		return RUST_GUP_STOP_READ_ONLY;
	if (pte_special(pte))
		return RUST_GUP_STOP_SPECIAL;
	return raw & BEYOND ? RUST_GUP_STOP_BAD : 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
