/* SPDX-License-Identifier: GPL-2.0 */
/* The part of the oracle that only s390 has. The line numbers are those of Linux 7.2.13. */
#ifndef RUST_GUP_ORACLE_ARCH_H
#define RUST_GUP_ORACLE_ARCH_H

#include <linux/pgtable.h>
#include <asm/cpufeature.h>

#include "../../../../rust_gup/uapi/rust_gup.h"
#include "../../no_keys.h"

/* An address ends with the highest bit of its entry, and oracle.c wants a bit above it. */
#define ADDRESS_END	63
#define ADDRESS_BITS	GENMASK_ULL(ADDRESS_END - 1, PAGE_SHIFT)

/* Processes have three to five levels, whatever the machine. */
static unsigned int nr_levels(void)
{
	return PGD;
}

static u64 addresses(void)
{
	return 0;
}

static const char *machine(void)
{
	return cpu_has_edat1() ? "EDAT-1" : "no EDAT-1";
}

static u64 likely_flags(u32 level, bool is_leaf)
{
	const u64 leaf = _SEGMENT_ENTRY_LARGE | _SEGMENT_ENTRY_PRESENT | _SEGMENT_ENTRY_READ | _SEGMENT_ENTRY_WRITE |
			 _SEGMENT_ENTRY_DIRTY | _SEGMENT_ENTRY_YOUNG;

	switch (level) {
	case PTE:
		return _PAGE_PRESENT | _PAGE_READ | _PAGE_WRITE | _PAGE_DIRTY | _PAGE_YOUNG;
	case PMD:
		return is_leaf ? leaf : _SEGMENT_ENTRY;
	case PUD:
		return is_leaf ? _REGION_ENTRY_TYPE_R3 | leaf : _REGION3_ENTRY;
	case P4D:
		return _REGION2_ENTRY;
	default:
		return _REGION1_ENTRY;
	}
}

/* The flags of huge leaves are the same at both levels. */
static_assert(_SEGMENT_ENTRY_LARGE == _REGION3_ENTRY_LARGE);
static_assert(_SEGMENT_ENTRY_PRESENT == _REGION3_ENTRY_PRESENT);
static_assert(_SEGMENT_ENTRY_READ == _REGION3_ENTRY_READ);
static_assert(_SEGMENT_ENTRY_WRITE == _REGION3_ENTRY_WRITE);
static_assert(_SEGMENT_ENTRY_INVALID == _REGION_ENTRY_INVALID);

static bool is_of_its_table(u64 raw, u32 level)
{
	return (raw & _REGION_ENTRY_TYPE_MASK) == (level - PMD) << 2;
}

/*
 * C takes an entry whose type is too low for a folded one, and does not look at the invalid bit
 * (pgd_present() and the like, pgtable.h:663).
 */
static bool is_sane_table(u64 raw, u32 level)
{
	return is_of_its_table(raw, level) && !(raw & _REGION_ENTRY_INVALID);
}

/*
 * Back from an address of the direct map. __pa() takes an address from __kaslr_offset on for one of the
 * kernel's image, and most frames that an entry can name are beyond that. So the frames of huge leaves are
 * not taken from the kernel's functions, which use it.
 */
static unsigned long physical(unsigned long addr)
{
	return addr - (unsigned long)__va(0);
}

#undef pud_pfn
#define pud_pfn(pud)	(physical(pud_deref(pud)) >> PAGE_SHIFT)
#define pmd_pfn(pmd)	(physical(pmd_deref(pmd)) >> PAGE_SHIFT)

static u64 table_address(u64 raw, u32 level)
{
	switch (level) {
	case PMD:
		return physical(pmd_deref(__pmd(raw)));
	case PUD:
		return physical(pud_deref(__pud(raw)));
	case P4D:
		return physical(p4d_deref(__p4d(raw)));
	default:
		return physical(pgd_deref(__pgd(raw)));
	}
}

static bool is_shadow_stack(u64 raw)
{
	return false;
}

/*
 * The kernel takes what is PROT_NONE for readable: pte_access_permitted() asks only whether the entry is
 * present (include/linux/pgtable.h:1361), and without NUMA_BALANCING pte_protnone() is false for every entry
 * (:2145). It also takes a huge page with the invalid bit, which can be one that is being split
 * (pmdp_invalidate(), pgtable.h:1795), and does not look at the type of one in a segment table.
 */
static bool is_stricter(u64 raw, const struct question *q)
{
	if (q->level == PTE)
		return !(raw & _PAGE_READ);
	return !(raw & _SEGMENT_ENTRY_READ) || raw & _SEGMENT_ENTRY_INVALID || !is_of_its_table(raw, q->level);
}

static bool is_huge_leaf(u64 raw, u32 level)
{
	const u64 leaf = _SEGMENT_ENTRY_LARGE | _SEGMENT_ENTRY_PRESENT;

	return level <= PUD && (raw & leaf) == leaf;
}

/*
 * Above the region third table C finds an entry absent if it points to address 0 (p4d_present(), pgtable.h:697).
 * No table lies there, because a CPU has its own data in the first frames, so the walker does not look for that.
 */
static bool is_table_of_nothing(u64 raw, u32 level)
{
	return level > PUD && is_sane_table(raw, level) && !(raw & _REGION_ENTRY_ORIGIN);
}

static u64 why_not_page(u64 raw, bool write)
{
	if (!(raw & _PAGE_PRESENT))
		return RUST_GUP_STOP_ABSENT;
	if (!(raw & _PAGE_READ))
		return RUST_GUP_STOP_PROT_NONE;
	if (write && !(raw & _PAGE_WRITE))
		return RUST_GUP_STOP_READ_ONLY;
	return raw & _PAGE_SPECIAL ? RUST_GUP_STOP_SPECIAL : 0;
}

static u64 why_not(u64 raw, const struct question *q)
{
	if (q->level == PTE)
		return why_not_page(raw, q->write);
	if (is_table_of_nothing(raw, q->level))
		return 0x80; /* TABLE, at address 0 */
	if (!is_huge_leaf(raw, q->level))
		return raw & _REGION_ENTRY_INVALID ? RUST_GUP_STOP_ABSENT : RUST_GUP_STOP_BAD;
	if (!is_of_its_table(raw, q->level))
		return RUST_GUP_STOP_BAD;
	if (!(raw & _SEGMENT_ENTRY_READ) || raw & _SEGMENT_ENTRY_INVALID)
		return RUST_GUP_STOP_PROT_NONE;
	return q->write && !(raw & _SEGMENT_ENTRY_WRITE) ? RUST_GUP_STOP_READ_ONLY : 0;
}

#endif /* RUST_GUP_ORACLE_ARCH_H */
