/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only 32-bit Arm has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/* Page tables can lie in high memory (CONFIG_HIGHPTE). */
void *rust_gup_arm_map_table(unsigned long pfn);
void rust_gup_arm_unmap_table(const void *table);

bool rust_gup_arm_memory_map_fits(void);

#endif /* RUST_GUP_ARCH_H */
