/* SPDX-License-Identifier: GPL-2.0 */
/* The functions of machine.c, which tools/bench-host calls. */
#ifndef RUST_GUP_BENCH_HOST_MACHINE_H
#define RUST_GUP_BENCH_HOST_MACHINE_H

#include <linux/types.h>

void rust_gup_bench_host_make(unsigned long direct_map, unsigned long memory_map);
void rust_gup_bench_host_enter(void);
void rust_gup_bench_host_make_folio(unsigned long pfn, unsigned int order, bool is_file);
int rust_gup_bench_host_refs(unsigned long pfn);
void rust_gup_bench_host_reset_folio(unsigned long pfn, unsigned int order);
void rust_gup_bench_host_map_page(unsigned long addr, unsigned long pfn);
void rust_gup_bench_host_map_leaf(unsigned long addr, unsigned long pfn);
void rust_gup_bench_host_floor(const unsigned long *pfns, unsigned long nr, unsigned int ahead);

#endif
