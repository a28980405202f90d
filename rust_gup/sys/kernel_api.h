/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of the kernel's headers that rust_gup needs and that the kernel crate lacks: inline
 * functions, which helpers.c wraps one by one, offsets, and constants. bindgen reads this file with
 * the configuration of the kernel that the module is built for, so the numbers are those of that
 * kernel.
 */
#ifndef RUST_GUP_KERNEL_API_H
#define RUST_GUP_KERNEL_API_H

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/hugetlb.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pageblock-flags.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/shmem_fs.h>
#include <linux/timex.h>
#include <linux/version.h>

/* Fields of struct page and struct folio. */
static const unsigned long CONST_SIZEOF_PAGE = sizeof(struct page);
static const unsigned long CONST_PAGE_FLAGS = offsetof(struct folio, flags);
static const unsigned long CONST_PAGE_COMPOUND_INFO = offsetof(struct page, compound_info);
static const unsigned long CONST_PAGE_TYPE = offsetof(struct page, page_type);
static const unsigned long CONST_FOLIO_PGMAP = offsetof(struct folio, pgmap);
static const unsigned long CONST_FOLIO_MAPPING = offsetof(struct folio, mapping);
static const unsigned long CONST_FOLIO_REFCOUNT = offsetof(struct folio, _refcount);
static const unsigned long CONST_FOLIO_PINCOUNT = offsetof(struct folio, _pincount);
static const unsigned long CONST_FOLIO_FLAGS_1 = offsetof(struct folio, _flags_1);
/* A struct folio without room for _nr_pages has only the order in _flags_1. */
#ifdef NR_PAGES_IN_LARGE_FOLIO
#define RUST_GUP_NR_PAGES_OFFSET offsetof(struct folio, _nr_pages)
static const unsigned long CONST_HAS_NR_PAGES = 1;
#else
#define RUST_GUP_NR_PAGES_OFFSET 0
static const unsigned long CONST_HAS_NR_PAGES = 0;
#endif
static const unsigned long CONST_FOLIO_NR_PAGES = RUST_GUP_NR_PAGES_OFFSET;

/* The page map of device memory. */
static const unsigned long CONST_PGMAP_TYPE = offsetof(struct dev_pagemap, type);
#ifdef CONFIG_SPARSEMEM
static const unsigned long CONST_PAGES_PER_SUBSECTION = PAGES_PER_SUBSECTION;
#else
static const unsigned long CONST_PAGES_PER_SUBSECTION = 1;	/* No device memory. */
#endif
static const unsigned long CONST_MEMORY_DEVICE_COHERENT = MEMORY_DEVICE_COHERENT;
static const unsigned long CONST_MEMORY_DEVICE_FS_DAX = MEMORY_DEVICE_FS_DAX;
static const unsigned long CONST_MEMORY_DEVICE_PCI_P2PDMA = MEMORY_DEVICE_PCI_P2PDMA;

/* Fields of struct mm_struct. */
static const unsigned long CONST_MM_PGD = offsetof(struct mm_struct, pgd);
static const unsigned long CONST_MM_FLAGS = offsetof(struct mm_struct, flags);
static const unsigned long CONST_MM_WRITE_PROTECT_SEQ =
	offsetof(struct mm_struct, write_protect_seq) + offsetof(seqcount_t, sequence);
static const unsigned long CONST_MM_HAS_PINNED = MMF_HAS_PINNED;

/* The same numbers as the kernel's compiler sees them. Both must agree (sys/check/layout.rs). */
#define RUST_GUP_NR_LAYOUT 14
static const unsigned long CONST_NR_LAYOUT = RUST_GUP_NR_LAYOUT;
extern const unsigned long rust_gup_layout[RUST_GUP_NR_LAYOUT];
bool rust_gup_compound_info_has_mask(void);

/* compound_info_has_mask() as a constant. */
static const unsigned long CONST_COMPOUND_INFO_HAS_MASK =
	IS_ENABLED(CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP) && !(sizeof(struct page) & (sizeof(struct page) - 1));

/* Bits of the flags of a folio, page types, and flags in folio->mapping. */
static const unsigned long CONST_PG_HEAD = PG_head;
static const unsigned long CONST_PG_REFERENCED = PG_referenced;
static const unsigned long CONST_PG_ANON_EXCLUSIVE = PG_anon_exclusive;
static const unsigned long CONST_ZONES_SHIFT = ZONES_PGSHIFT;
static const unsigned long CONST_ZONES_MASK = ZONES_MASK;
static const unsigned long CONST_NODES_SHIFT = NODES_PGSHIFT;
static const unsigned long CONST_NODES_MASK = NODES_MASK;
#ifdef CONFIG_ZONE_DEVICE
static const unsigned long CONST_ZONE_DEVICE = ZONE_DEVICE;
#else
static const unsigned long CONST_ZONE_DEVICE = MAX_NR_ZONES;	/* No page has it. */
#endif
static const unsigned long CONST_ZONE_MOVABLE = ZONE_MOVABLE;
static const unsigned long CONST_PAGE_TYPE_SLAB = PGTY_slab;
static const unsigned long CONST_PAGE_TYPE_HUGETLB = PGTY_hugetlb;
static const unsigned long CONST_MAPPING_FLAGS = FOLIO_MAPPING_FLAGS;
static const unsigned long CONST_MAPPING_ANON = FOLIO_MAPPING_ANON;

/*
 * Whether gup_fast_folio_allowed() accepts a small folio without a mapping. Since 7.3 it knows that
 * such a folio is no secret memory (mm/gup.c:2792). Without CONFIG_SECRETMEM it has always accepted
 * the folio.
 */
static const unsigned long CONST_ADMITS_UNOWNED =
	LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0) || !IS_ENABLED(CONFIG_SECRETMEM);
static const unsigned long CONST_HAS_SECRETMEM = IS_ENABLED(CONFIG_SECRETMEM);

/* Pageblocks. */
#ifdef CONFIG_SPARSEMEM
static const unsigned long CONST_PAGES_PER_SECTION = PAGES_PER_SECTION;
#else
unsigned long rust_gup_pageblock_bitmap_start(unsigned long pfn);
#endif
#ifdef CONFIG_HUGETLB_PAGE_SIZE_VARIABLE
extern unsigned long rust_gup_pageblock_order;
#else
static const unsigned long CONST_PAGEBLOCK_ORDER = pageblock_order;
#endif
static const unsigned long CONST_NR_PAGEBLOCK_BITS = NR_PAGEBLOCK_BITS;
static const unsigned long CONST_PAGEBLOCK_ISO_MASK = PAGEBLOCK_ISO_MASK;
static const unsigned long CONST_PAGEBLOCK_MIGRATETYPE_MASK = PAGEBLOCK_MIGRATETYPE_MASK;
#ifdef CONFIG_CMA
static const unsigned long CONST_MIGRATE_CMA = MIGRATE_CMA;
#else
static const unsigned long CONST_MIGRATE_CMA = MIGRATE_TYPES;	/* No block has it. */
#endif

/* The section with interrupts off, which keeps tables from being freed. */
unsigned long rust_gup_local_irq_save(void);
void rust_gup_local_irq_restore(unsigned long flags);

/* The current process. */
unsigned long rust_gup_untagged_addr(unsigned long addr);
void rust_gup_mm_set_has_pinned(struct mm_struct *mm);
int rust_gup_mmap_read_lock_killable(struct mm_struct *mm);
void rust_gup_might_lock_mmap_read(struct mm_struct *mm);
unsigned long rust_gup_memlock_limit_bytes(void);
struct user_struct *rust_gup_get_current_user(void);
atomic_long_t *rust_gup_user_locked_vm(struct user_struct *user);
atomic64_t *rust_gup_mm_pinned_vm(struct mm_struct *mm);
bool rust_gup_fatal_signal_pending(void);
bool rust_gup_pfn_is_online(unsigned long pfn);
struct dev_pagemap *rust_gup_get_dev_pagemap(unsigned long pfn);
void rust_gup_put_dev_pagemap(struct dev_pagemap *pgmap);
bool rust_gup_pgmap_tryget_many(struct dev_pagemap *pgmap, unsigned long nr);
void rust_gup_pgmap_put_many(struct dev_pagemap *pgmap, unsigned long nr);
void rust_gup_cond_resched(void);
bool rust_gup_may_sleep(void);
void rust_gup_memcpy(void *to, const void *from, size_t len_bytes);

/* The machine. */
extern unsigned long rust_gup_memory_map;
extern unsigned long rust_gup_direct_map;
extern u64 rust_gup_user_limit;
extern unsigned long rust_gup_nr_zero_pages;
void rust_gup_ask_machine(void);
u64 rust_gup_get_cycles(void);

/* Folios. */
/* The kernel declares this variable only within functions. */
extern unsigned long zero_page_pfn;
#ifdef __HAVE_COLOR_ZERO_PAGE
static const unsigned long CONST_HAS_COLOR_ZERO_PAGE = 1;
#else
static const unsigned long CONST_HAS_COLOR_ZERO_PAGE = 0;
#endif
bool rust_gup_mapping_unevictable(struct address_space *mapping);
unsigned long *rust_gup_pageblock_bitmap(unsigned long pfn);
#ifdef HAVE_ARCH_MAKE_FOLIO_ACCESSIBLE
static const unsigned long CONST_HAS_MAKE_FOLIO_ACCESSIBLE = 1;
#else
static const unsigned long CONST_HAS_MAKE_FOLIO_ACCESSIBLE = 0;
#endif
int rust_gup_make_folio_accessible(struct folio *folio);
void rust_gup_folio_clear_referenced(struct folio *folio);
/* memory/put_pages.c */
void rust_gup_put_pages(struct page **pages, unsigned long nr_pages);
void rust_gup_put_page_range(struct page *page, unsigned long nr_pages);
bool rust_gup_folio_maybe_dma_pinned(struct folio *folio);
void rust_gup_warn(const char *text);

#ifdef RACE_DELAY
void rust_gup_wait_for_a_race(void);
#endif

/* Statistics. */
#define RUST_GUP_NR_COUNTERS 64
static const unsigned long CONST_NR_COUNTERS = RUST_GUP_NR_COUNTERS;
unsigned long rust_gup_counters_base(void);
u64 rust_gup_counter_of_cpu(unsigned int cpu, unsigned int index);
unsigned int rust_gup_next_possible_cpu(int cpu);
void rust_gup_this_cpu_add(unsigned int index, u64 n);
void rust_gup_count_pinned(int nid, long nr_pages);
void rust_gup_count_many_pinned(int nid, long nr_pages);
void rust_gup_count_unpinned(int nid, long nr_pages);

/* sys/arch/$(SRCARCH)/ */
#include "arch.h"

#endif /* RUST_GUP_KERNEL_API_H */
