/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only 64-bit RISC-V has. The line numbers are those of Linux 7.2.13. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pgtable.h>

#include "../../../../rust_gup/uapi/rust_gup.h"
#include "../../no_keys.h"

#define ADDRESS_END	54
#define ADDRESS_BITS	_PAGE_PFN_MASK

static unsigned int nr_levels(void)
{
	return CONFIG_PGTABLE_LEVELS - !pgtable_l5_enabled - !pgtable_l4_enabled;
}

static u64 addresses(void)
{
	return has_svnapot();
}

static const char *machine(void)
{
	return has_svnapot() ? "Svnapot" : "no Svnapot";
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	if (level != PTE && !is_leaf)
		return _PAGE_TABLE;
	return _PAGE_BASE | _PAGE_READ | _PAGE_WRITE | _PAGE_DIRTY;
}

/*
 * mm/gup.c does not look closely: pmd_present() is true for PROT_NONE without any access (pgtable.h:207),
 * and no P4D is a leaf (include/linux/pgtable.h:2399).
 */
static bool is_sane_table(u64 raw, u32 level)
{
	return (raw & (_PAGE_PRESENT | _PAGE_LEAF)) == _PAGE_TABLE;
}

static u64 table_address(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return PFN_PHYS(_pmd_pfn(__pmd(raw)));
	case PUD:
		return PFN_PHYS(_pud_pfn(__pud(raw)));
	case P4D:
		return PFN_PHYS(_p4d_pfn(__p4d(raw)));
	default:
		return PFN_PHYS(_pgd_pfn(__pgd(raw)));
	}
}

static bool is_shadow_stack(u64 raw)
{
	return !(raw & _PAGE_READ);
}

/* Linux makes blocks of 64 KiB only. On CPUs without Svnapot the bit says something else. */
static bool is_strange_block(pte_t pte)
{
	return pte_napot(pte) && (!has_svnapot() || napot_cont_order(pte) != NAPOT_CONT64KB_ORDER);
}

static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (!(raw & _PAGE_PRESENT)) {
		if (raw & _PAGE_PROT_NONE)
			return RUST_GUP_STOP_PROT_NONE;
		/* A huge page that is being split: pmd_mkinvalid(). A swap entry may have _PAGE_EXEC. */
		return raw & (_PAGE_READ | _PAGE_WRITE) ? RUST_GUP_STOP_CHANGED : RUST_GUP_STOP_ABSENT;
	}
	if (q->level > PUD)
		return RUST_GUP_STOP_BAD;
	if (!pte_user(pte))
		return RUST_GUP_STOP_NOT_USER;
	if (q->write && (!pte_write(pte) || is_shadow_stack(raw)))
		return RUST_GUP_STOP_READ_ONLY;
	if (pte_special(pte))
		return RUST_GUP_STOP_SPECIAL;
	if (q->level == PTE && (!(raw & _PAGE_LEAF) || is_strange_block(pte)))
		return RUST_GUP_STOP_BAD;
	return 0;
}

/*
 * C looks only at the bit for writing (pte_access_permitted(), include/linux/pgtable.h:1361). It takes huge
 * pages that are being split, and leaves that are not for user space; it writes to shadow stacks; and it knows
 * special PUDs only with ARCH_SUPPORTS_PUD_PFNMAP.
 */
static bool is_stricter(u64 raw, const struct question *q)
{
	return why_not(raw, q);
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
