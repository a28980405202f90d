// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for 32-bit Arm only. */
#include "../../kernel_api.h"

#include <linux/highmem.h>

/* Without LPAE there is no fast GUP, and an entry has 32 bits. */
static_assert(IS_ENABLED(CONFIG_ARM_LPAE));
/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

/* A page in low memory gets no mapping, so without CONFIG_HIGHPTE there is nothing to unmap. */
void *rust_gup_arm_map_table(unsigned long pfn)
{
	return kmap_local_page(pfn_to_page(pfn));
}

void rust_gup_arm_unmap_table(const void *table)
{
	kunmap_local(table);
}

/* Whether the offset of a struct page from that of frame 0 has 32 bits at most (MemoryMap::pfn()). */
bool rust_gup_arm_memory_map_fits(void)
{
	return PHYS_PFN_OFFSET + max_mapnr <= ULONG_MAX / sizeof(struct page);
}
