// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for 64-bit RISC-V only. */
#include "../../kernel_api.h"

#include <linux/delay.h>

/* There are no formats for Sv32 and for a machine without an MMU. */
static_assert(IS_ENABLED(CONFIG_64BIT) && IS_ENABLED(CONFIG_MMU));
/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

unsigned int rust_gup_riscv_nr_levels(void)
{
	return CONFIG_PGTABLE_LEVELS - !pgtable_l5_enabled - !pgtable_l4_enabled;
}

bool rust_gup_riscv_has_svnapot(void)
{
	return has_svnapot();
}

unsigned long rust_gup_riscv_timer_hz(void)
{
	return riscv_timebase;
}
