// SPDX-License-Identifier: GPL-2.0
/*
 * Exports what exports.rs defines. The macro is C's; with the declarations from the header it would also give the
 * symbols their versions, where the kernel has CONFIG_MODVERSIONS.
 */
#include <linux/compiler.h>
#include <linux/export.h>

#include "../include/rust_gup_api.h"

EXPORT_SYMBOL_GPL(rust_gup_take);
EXPORT_SYMBOL_GPL(rust_gup_runs);
EXPORT_SYMBOL_GPL(rust_gup_copy_from);
EXPORT_SYMBOL_GPL(rust_gup_copy_to);
EXPORT_SYMBOL_GPL(rust_gup_release);
