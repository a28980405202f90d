// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the functions that exports.rs defines, because the macro exists only in C. With the declarations from the
 * header it also gives the symbols their versions, on a kernel with CONFIG_MODVERSIONS.
 */
#include <linux/compiler.h>
#include <linux/export.h>

#include "../include/rust_gup_api.h"

EXPORT_SYMBOL_GPL(rust_gup_take);
EXPORT_SYMBOL_GPL(rust_gup_runs);
EXPORT_SYMBOL_GPL(rust_gup_copy_from);
EXPORT_SYMBOL_GPL(rust_gup_copy_to);
EXPORT_SYMBOL_GPL(rust_gup_release);
