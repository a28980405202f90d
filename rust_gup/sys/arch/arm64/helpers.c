// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for arm64 only. */
#include "../../kernel_api.h"

#include <asm/arch_timer.h>
#include <asm/cpufeature.h>

/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

unsigned int rust_gup_arm64_nr_levels(void)
{
#if CONFIG_PGTABLE_LEVELS > 4
	return CONFIG_PGTABLE_LEVELS - !pgtable_l5_enabled();
#else
	return CONFIG_PGTABLE_LEVELS - !pgtable_l4_enabled();
#endif
}

bool rust_gup_arm64_has_lpa2(void)
{
	return lpa2_is_enabled();
}

bool rust_gup_arm64_has_poe(void)
{
	return system_supports_poe();
}

u64 rust_gup_arm64_timer_hz(void)
{
	return arch_timer_get_cntfrq();
}
