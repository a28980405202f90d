// SPDX-License-Identifier: GPL-2.0
/* Like sys/helpers.c, but only for x86-64. */
#include "../../kernel_api.h"

#include <asm/cpufeature.h>
#include <asm/tsc.h>

/* One load reads a whole entry, so the read is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));

bool rust_gup_x86_is_xen_pv(void)
{
	return cpu_feature_enabled(X86_FEATURE_XENPV);
}

bool rust_gup_x86_pgtable_l5_enabled(void)
{
	return pgtable_l5_enabled();
}

bool rust_gup_x86_has_pkeys(void)
{
	return cpu_feature_enabled(X86_FEATURE_OSPKE);
}

unsigned int rust_gup_x86_tsc_khz(void)
{
	return tsc_khz;
}
