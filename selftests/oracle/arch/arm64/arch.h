/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only arm64 has. The line numbers are those of Linux 7.3.4. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/bitfield.h>
#include <linux/pgtable.h>
#include <asm/cpufeature.h>
#include <asm/por.h>
#include <asm/sysreg.h>

#include "../../../../rust_gup/uapi/rust_gup.h"

/*
 * Bits 51 and 50 of a long address are among the low flags. With pages of 16 KiB, the lowest two of
 * these bits have no meaning.
 */
#define ADDRESS_END	50
#define ADDRESS_BITS	GENMASK_ULL(ADDRESS_END - 1, 12)
#define KEY_BITS	PTE_PO_IDX_MASK

/*
 * Values of POR_EL0. These allow nothing; everything with all overlays; everything with the first
 * overlay; only reading; only writing; only execution; everything but with the first overlay.
 */
static const u64 key_values[] = { 0, 0x77777777, 0x7, 0x11111111, 0x44444444, 0x22222222, 0x77777770, 0 };

static unsigned int nr_levels(void)
{
#if CONFIG_PGTABLE_LEVELS > 4
	return CONFIG_PGTABLE_LEVELS - !pgtable_l5_enabled();
#else
	return CONFIG_PGTABLE_LEVELS - !pgtable_l4_enabled();
#endif
}

static u64 addresses(void)
{
	return lpa2_is_enabled();
}

static const char *machine(void)
{
	if (lpa2_is_enabled())
		return system_supports_poe() ? "LPA2 and overlays" : "LPA2 and no overlays";
	return system_supports_poe() ? "no LPA2, and overlays" : "no LPA2 and no overlays";
}

/*
 * Questions about overlays make sense on a CPU without them, too: the functions of por.h decide by a
 * value. There, the first value means that no overlays exist.
 */
static void settle_keys(struct question *q)
{
	q->has_keys = system_supports_poe() || q->keys;
}

static u64 swap_keys(u64 keys)
{
	u64 old;

	if (!system_supports_poe())
		return 0;
	old = read_sysreg_s(SYS_POR_EL0);
	write_sysreg_s(keys, SYS_POR_EL0);
	return old;
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	u64 flags = PTE_USER | PTE_AF | PTE_NG | PTE_WRITE | PTE_UXN | PTE_DIRTY;

	return flags | (is_leaf && level != PTE ? PMD_TYPE_SECT : PMD_TYPE_TABLE);
}

/*
 * mm/gup.c does not look closely at the entries of the highest levels. p4d_present() and
 * pgd_present() are true for all that is not 0 (pgtable.h:970, 1098).
 */
static bool is_sane_table(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return !pmd_bad(__pmd(raw));
	case PUD:
		return !pud_bad(__pud(raw));
	case P4D:
		return !p4d_bad(__p4d(raw));
	default:
		return !pgd_bad(__pgd(raw));
	}
}

/* pmd_pfn() and pud_pfn() are right for leaves only (pgtable.h:631, 655). */
static u64 table_address(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return page_to_phys(pmd_page(__pmd(raw)));
	case PUD:
		return page_to_phys(pud_page(__pud(raw)));
	case P4D:
		return page_to_phys(p4d_page(__p4d(raw)));
	default:
		return page_to_phys(pgd_page(__pgd(raw)));
	}
}

/* The entry of a shadow stack has the bit for writing, so both sides take it for writable. */
static bool is_shadow_stack(u64 raw)
{
	return false;
}

/* The decision of por_el0_allows_pkey() (pgtable.h:199), for any value of the register. */
static bool do_overlays_allow(u64 raw, const struct question *q)
{
	u8 overlay = FIELD_GET(PTE_PO_IDX_MASK, raw);

	if (!q->has_keys)
		return true;
	return q->write ? por_elx_allows_write(q->keys, overlay) : por_elx_allows_read(q->keys, overlay);
}

static bool is_stricter(u64 raw, const struct question *q)
{
	/*
	 * No PUD of arm64 is special: that needs HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD (mm/Kconfig:1025),
	 * which arm64 has not, so pud_special() is a stub (include/linux/mm.h:3577). The walker makes
	 * the same test at all levels.
	 */
	if (q->level == PUD && pte_special(pud_pte(__pud(raw))))
		return true;
	/* On a CPU without overlays, pte_access_permitted() and its like know of none. */
	return !system_supports_poe() && !do_overlays_allow(raw, q);
}

static u64 why_not(u64 raw, const struct question *q)
{
	pte_t pte = __pte(raw);

	if (pte_protnone(pte))
		return RUST_GUP_STOP_PROT_NONE;
	if (!pte_present(pte))
		return RUST_GUP_STOP_ABSENT;
	if (!pte_valid(pte))
		/* A huge page that is being split: pmd_mkinvalid(). */
		return RUST_GUP_STOP_CHANGED;
	if (q->level > PUD)
		return RUST_GUP_STOP_BAD;
	if (!pte_user(pte))
		return RUST_GUP_STOP_NOT_USER;
	if (q->write && !pte_write(pte))
		return RUST_GUP_STOP_READ_ONLY;
	if (pte_special(pte))
		return RUST_GUP_STOP_SPECIAL;
	if (!do_overlays_allow(raw, q))
		return RUST_GUP_STOP_PKEY;
	return 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
