/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only arm64 has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/*
 * TASK_SIZE_MAX is what the kernel is built for. On a CPU with shorter addresses its tables end below that, and
 * mm/gup.c walks the rest as if the upper bits of the address were not there.
 */
#define RUST_GUP_USER_LIMIT TASK_SIZE_64

/* Levels of tables, without those that the kernel folded when it booted. */
unsigned int rust_gup_arm64_nr_levels(void);
bool rust_gup_arm64_has_lpa2(void);
bool rust_gup_arm64_has_poe(void);
u64 rust_gup_arm64_timer_hz(void);

#endif /* RUST_GUP_ARCH_H */
