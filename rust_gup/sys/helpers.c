// SPDX-License-Identifier: GPL-2.0
/*
 * Wraps inline functions of the kernel, so that Rust can call them. Each wrapper calls one function
 * and decides nothing. They are compiled with the headers of the kernel that the module is built
 * for, and the kernel patches them like its own code (alternatives, paravirt calls, static keys).
 */
#include "kernel_api.h"

#ifdef NODE_NOT_IN_PAGE_FLAGS
#error "Released pins are counted by the node number in the page flags."
#endif

static_assert(GUP_PIN_COUNTING_BIAS == 1024);
static_assert(IS_ENABLED(CONFIG_MMU_GATHER_RCU_TABLE_FREE));
/* The struct pages of all frames form one array. */
static_assert(IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) || IS_ENABLED(CONFIG_FLATMEM));

/* The arch.h of an architecture says so if user space may end below the limit that the kernel is built for. */
#ifndef RUST_GUP_USER_LIMIT
#define RUST_GUP_USER_LIMIT TASK_SIZE_MAX
#endif

/* These do not change after boot. The walk reads them as the kernel reads its own variables. */
unsigned long rust_gup_memory_map __ro_after_init;
unsigned long rust_gup_direct_map __ro_after_init;
u64 rust_gup_user_limit __ro_after_init;
unsigned long rust_gup_nr_zero_pages __ro_after_init;
#ifdef CONFIG_HUGETLB_PAGE_SIZE_VARIABLE
unsigned long rust_gup_pageblock_order __ro_after_init;
#endif

/* Sets these variables. Called once, while the module is loaded. */
void rust_gup_ask_machine(void)
{
	rust_gup_memory_map = (unsigned long)pfn_to_page(0);
	/* Computed from an address that is in the direct map, because frame 0 need not be in it. */
	rust_gup_direct_map = (unsigned long)page_address(ZERO_PAGE(0)) - page_to_phys(ZERO_PAGE(0));
	rust_gup_user_limit = RUST_GUP_USER_LIMIT;
#ifdef __HAVE_COLOR_ZERO_PAGE
	rust_gup_nr_zero_pages = (zero_page_mask >> PAGE_SHIFT) + 1;
#else
	rust_gup_nr_zero_pages = 1;
#endif
#ifdef CONFIG_HUGETLB_PAGE_SIZE_VARIABLE
	/* The kernel does not export its variable. This is set_pageblock_order() (mm/mm_init.c:1498). */
	rust_gup_pageblock_order = PAGE_BLOCK_MAX_ORDER;
	if (HPAGE_SHIFT > PAGE_SHIFT && HUGETLB_PAGE_ORDER < rust_gup_pageblock_order)
		rust_gup_pageblock_order = HUGETLB_PAGE_ORDER;
#endif
}

u64 rust_gup_get_cycles(void)
{
	return get_cycles();
}

/* The offsets as the kernel's compiler sees them; sys/check/layout.rs has those of clang. */
const unsigned long rust_gup_layout[] = {
	sizeof(struct page),
	offsetof(struct page, flags),
	offsetof(struct page, compound_info),
	offsetof(struct page, page_type),
	offsetof(struct page, _refcount),
	offsetof(struct folio, pgmap),
	offsetof(struct folio, mapping),
	offsetof(struct folio, _pincount),
	RUST_GUP_NR_PAGES_OFFSET,
	offsetof(struct folio, _flags_1),
	offsetof(struct dev_pagemap, type),
	offsetof(struct mm_struct, pgd),
	offsetof(struct mm_struct, flags),
	offsetof(struct mm_struct, write_protect_seq) + offsetof(seqcount_t, sequence),
};

bool rust_gup_compound_info_has_mask(void)
{
	return compound_info_has_mask();
}

unsigned long rust_gup_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void rust_gup_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

#ifndef RUST_GUP_UNTAGGED_ADDR
#define RUST_GUP_UNTAGGED_ADDR(addr) untagged_addr(addr)
#endif

unsigned long rust_gup_untagged_addr(unsigned long addr)
{
	return RUST_GUP_UNTAGGED_ADDR(addr);
}

void rust_gup_mm_set_has_pinned(struct mm_struct *mm)
{
	mm_flags_set(MMF_HAS_PINNED, mm);
}

void rust_gup_might_lock_mmap_read(struct mm_struct *mm)
{
	might_lock_read(&mm->mmap_lock);
}

unsigned long rust_gup_memlock_limit_bytes(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}

struct user_struct *rust_gup_get_current_user(void)
{
	return get_uid(current_user());
}

atomic_long_t *rust_gup_user_locked_vm(struct user_struct *user)
{
	return &user->locked_vm;
}

atomic64_t *rust_gup_mm_pinned_vm(struct mm_struct *mm)
{
	return &mm->pinned_vm;
}

int rust_gup_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

bool rust_gup_pfn_is_online(unsigned long pfn)
{
	return pfn_to_online_page(pfn);
}

struct dev_pagemap *rust_gup_get_dev_pagemap(unsigned long pfn)
{
	return get_dev_pagemap(pfn);
}

void rust_gup_put_dev_pagemap(struct dev_pagemap *pgmap)
{
	put_dev_pagemap(pgmap);
}

bool rust_gup_pgmap_tryget_many(struct dev_pagemap *pgmap, unsigned long nr)
{
	return percpu_ref_tryget_many(&pgmap->ref, nr);
}

void rust_gup_pgmap_put_many(struct dev_pagemap *pgmap, unsigned long nr)
{
	percpu_ref_put_many(&pgmap->ref, nr);
}

bool rust_gup_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void rust_gup_cond_resched(void)
{
	cond_resched();
}

bool rust_gup_may_sleep(void)
{
	/* None of the states that __might_sleep() complains about. */
	return !in_atomic() && !irqs_disabled() && !rcu_preempt_depth();
}

void rust_gup_memcpy(void *to, const void *from, size_t len_bytes)
{
	memcpy(to, from, len_bytes);
}

bool rust_gup_mapping_unevictable(struct address_space *mapping)
{
	return mapping_unevictable(mapping);
}

/* Like get_pageblock_bitmap() and pfn_to_bitidx() in mm/page_alloc.c. */
#ifdef CONFIG_SPARSEMEM
unsigned long *rust_gup_pageblock_bitmap(unsigned long pfn)
{
	return section_to_usemap(__pfn_to_section(pfn));
}
#else
unsigned long *rust_gup_pageblock_bitmap(unsigned long pfn)
{
	return page_zone(pfn_to_page(pfn))->pageblock_flags;
}

unsigned long rust_gup_pageblock_bitmap_start(unsigned long pfn)
{
	return pageblock_start_pfn(page_zone(pfn_to_page(pfn))->zone_start_pfn);
}
#endif

int rust_gup_make_folio_accessible(struct folio *folio)
{
	return arch_make_folio_accessible(folio);
}

void rust_gup_folio_clear_referenced(struct folio *folio)
{
	folio_clear_referenced(folio);
}

bool rust_gup_folio_maybe_dma_pinned(struct folio *folio)
{
	return folio_maybe_dma_pinned(folio);
}

void rust_gup_warn(const char *text)
{
	WARN(1, "%s\n", text);
}

#ifdef RACE_DELAY
#include <linux/delay.h>
#include <linux/random.h>

void rust_gup_wait_for_a_race(void)
{
	if (get_random_u32_below(32) == 0)
		udelay(get_random_u32_below(2000));
}
#endif

void rust_gup_count_pinned(int nid, long nr_pages)
{
	/* Interrupts are off. */
	__mod_node_page_state(NODE_DATA(nid), NR_FOLL_PIN_ACQUIRED, nr_pages);
}

void rust_gup_count_many_pinned(int nid, long nr_pages)
{
	node_page_state_add(nr_pages, NODE_DATA(nid), NR_FOLL_PIN_ACQUIRED);
}

void rust_gup_count_unpinned(int nid, long nr_pages)
{
	mod_node_page_state(NODE_DATA(nid), NR_FOLL_PIN_RELEASED, nr_pages);
}

/* One set of counters for each CPU, so that CPUs do not share a cache line when they count. */
static DEFINE_PER_CPU(u64[RUST_GUP_NR_COUNTERS], rust_gup_counters);

unsigned long rust_gup_counters_base(void)
{
	return (unsigned long)&rust_gup_counters;
}

void rust_gup_this_cpu_add(unsigned int index, u64 n)
{
	this_cpu_add(rust_gup_counters[index], n);
}

/* A CPU of 32 bits may read the halves of a counter at different times. The sum over all CPUs is a snapshot anyway. */
u64 rust_gup_counter_of_cpu(unsigned int cpu, unsigned int index)
{
	return READ_ONCE(per_cpu(rust_gup_counters, cpu)[index]);
}

unsigned int rust_gup_next_possible_cpu(int cpu)
{
	return cpumask_next(cpu, cpu_possible_mask);
}
