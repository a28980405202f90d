// SPDX-License-Identifier: GPL-2.0
/*
 * The emulated machine of make bench-host: one process, one node, its page tables and its memory map.
 * It is made with the kernel's own types and macros, so nothing here depends on how they are laid out.
 * Only the object for bench-host has this file (BENCH_HOST=y); the module has not.
 */
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgalloc.h>
#include <linux/prefetch.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/vmstat.h>

#include "machine.h"

/* As calculate_normal_threshold() sets it on a machine of two CPUs and 8 to 16 GiB. */
#define STAT_THRESHOLD 32

static struct task_struct task;
static struct mm_struct mm;
static struct pglist_data node;
static DEFINE_PER_CPU(struct per_cpu_nodestat, nodestats);
/* Any address whose low bits are free, as that of an anon_vma. */
static unsigned long anon_vma[2];
/* Of no file system that the walk knows. */
static const struct address_space_operations aops;
static struct address_space file = { .a_ops = &aops };

/* Physical address of the next free table. */
static unsigned long next_table;

static void *new_table(void)
{
	void *table = __va(next_table);

	next_table += PAGE_SIZE;
	return table;
}

/*
 * Makes the machine. Physical address 0 is at direct_map; the tables are allocated from there on. The
 * struct page of frame 0 is at memory_map. The memory must be zeroed.
 */
void rust_gup_bench_host_make(unsigned long direct_map, unsigned long memory_map)
{
	page_offset_base = direct_map;
	vmemmap_base = memory_map;
	node.per_cpu_nodestats = &nodestats;
	node_data[0] = &node;
	next_table = 0;
	mm.pgd = new_table();
	task.mm = &mm;
	task.active_mm = &mm;
}

/* Makes the calling thread the current task of its CPU. Called by each thread, after its per-CPU memory is in place. */
void rust_gup_bench_host_enter(void)
{
	this_cpu_write(current_task, &task);
	this_cpu_write(nodestats.stat_threshold, STAT_THRESHOLD);
}

/* Makes a folio of 1 << order pages, anonymous or of a file. */
void rust_gup_bench_host_make_folio(unsigned long pfn, unsigned int order, bool is_file)
{
	struct page *page = pfn_to_page(pfn);
	struct folio *folio = (struct folio *)page;
	unsigned long i;

	for (i = 0; i < 1UL << order; i++) {
		set_page_links(page + i, ZONE_NORMAL, 0, pfn + i);
		atomic_set(&page[i]._mapcount, order ? -1 : 0);
		if (i)
			set_compound_head(page + i, page, order);
		if (!is_file)
			SetPageAnonExclusive(page + i);
	}
	init_page_count(page);
	if (order) {
		__folio_set_head(folio);
		folio->_flags_1 |= order;
		folio->_nr_pages = 1U << order;
		atomic_set(&folio->_pincount, 0);
		atomic_set(&folio->_entire_mapcount, -1);
	}
	folio->mapping = is_file ? &file : (void *)((unsigned long)anon_vma | FOLIO_MAPPING_ANON);
	__folio_mark_uptodate(folio);
	folio_set_referenced(folio);
	folio_set_lru(folio);
	if (!is_file)
		__folio_set_swapbacked(folio);
}

/* Returns the number of references on a folio. */
int rust_gup_bench_host_refs(unsigned long pfn)
{
	return page_ref_count(pfn_to_page(pfn));
}

/* Sets the counts of a folio back to those of a folio that nobody has taken. */
void rust_gup_bench_host_reset_folio(unsigned long pfn, unsigned int order)
{
	struct page *page = pfn_to_page(pfn);

	init_page_count(page);
	if (order)
		atomic_set(&((struct folio *)page)->_pincount, 0);
}

/* Returns the entry of the lowest interior level for addr, below tables that are made when they are missing. */
static pmd_t *pmd_of(unsigned long addr)
{
	p4d_t *p4d = p4d_offset(pgd_offset(&mm, addr), addr);
	pud_t *pud;

	if (p4d_none(*p4d))
		p4d_populate(&mm, p4d, new_table());
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		pud_populate(&mm, pud, new_table());
	return pmd_offset(pud, addr);
}

/* Maps frame pfn at addr, writable, as a base page. */
void rust_gup_bench_host_map_page(unsigned long addr, unsigned long pfn)
{
	pmd_t *pmd = pmd_of(addr);

	if (pmd_none(*pmd))
		pmd_populate_kernel(&mm, pmd, new_table());
	set_pte(pte_offset_kernel(pmd, addr), pte_mkdirty(pte_mkyoung(pfn_pte(pfn, PAGE_SHARED))));
}

/* Maps the frames from pfn on at addr, writable, as a leaf of the lowest interior level. */
void rust_gup_bench_host_map_leaf(unsigned long addr, unsigned long pfn)
{
	set_pmd(pmd_of(addr), pmd_mkhuge(pmd_mkdirty(pmd_mkyoung(pfn_pmd(pfn, PAGE_SHARED)))));
}

/*
 * Does the least that any taker must do: one locked operation for each folio, in the order of the frame numbers in
 * pfns. If ahead is not 0, it also prefetches the folio that many places on.
 */
void rust_gup_bench_host_floor(const unsigned long *pfns, unsigned long nr, unsigned int ahead)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		if (ahead && i + ahead < nr)
			prefetchw(pfn_to_page(pfns[i + ahead]));
		page_ref_add(pfn_to_page(pfns[i]), 1);
	}
}
