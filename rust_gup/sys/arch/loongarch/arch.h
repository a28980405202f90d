/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only 64-bit LoongArch has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/* TASK_SIZE_MAX depends on the task that asks: one with 32-bit addresses sees less (TIF_32BIT_ADDR). */
#define RUST_GUP_USER_LIMIT TASK_SIZE64

/* The tables to which entries point that map nothing. */
unsigned long rust_gup_loongarch_empty_pmd_table(void);
unsigned long rust_gup_loongarch_empty_pte_table(void);
u64 rust_gup_loongarch_timer_hz(void);

#endif /* RUST_GUP_ARCH_H */
