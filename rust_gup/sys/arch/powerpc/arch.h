/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only 64-bit PowerPC has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/* Whether the CPU reads the page tables. If not, it has a hash table, and the tree has another format. */
bool rust_gup_powerpc_radix_enabled(void);
unsigned long rust_gup_powerpc_timebase_hz(void);

#endif /* RUST_GUP_ARCH_H */
