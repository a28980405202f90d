// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for 64-bit LoongArch only. */
#include "../../kernel_api.h"

#include <asm/time.h>

/* The format has no other size of pages, and no other number of levels. */
static_assert(IS_ENABLED(CONFIG_64BIT) && IS_ENABLED(CONFIG_PAGE_SIZE_16KB) && CONFIG_PGTABLE_LEVELS == 3);
/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

unsigned long rust_gup_loongarch_empty_pmd_table(void)
{
	return (unsigned long)invalid_pmd_table;
}

unsigned long rust_gup_loongarch_empty_pte_table(void)
{
	return (unsigned long)invalid_pte_table;
}

u64 rust_gup_loongarch_timer_hz(void)
{
	return const_clock_freq;
}
