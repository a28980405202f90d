// SPDX-License-Identifier: GPL-2.0
/* As sys/helpers.c, for s390 only. */
#include "../../kernel_api.h"

/* The read of an entry is not torn. */
static_assert(!IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH));
