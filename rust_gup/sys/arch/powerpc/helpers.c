// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for 64-bit PowerPC only. */
#include "../../kernel_api.h"

#include <asm/mmu.h>
#include <asm/time.h>

/* Radix tables are in Book3S CPUs alone. */
static_assert(IS_ENABLED(CONFIG_PPC_BOOK3S_64) && IS_ENABLED(CONFIG_PPC_RADIX_MMU));
/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

bool rust_gup_powerpc_radix_enabled(void)
{
	return radix_enabled();
}

unsigned long rust_gup_powerpc_timebase_hz(void)
{
	return ppc_tb_freq;
}
