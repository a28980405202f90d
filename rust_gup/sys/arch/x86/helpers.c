// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for x86-64 alone. */
#include "../../kernel_api.h"

#include <asm/cpufeature.h>
#include <asm/tsc.h>

/* A read of an entry is not torn. */
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
