/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only 64-bit RISC-V has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/* TASK_SIZE_MAX depends on the task that asks: a 32-bit one sees less (CONFIG_COMPAT). */
#define RUST_GUP_USER_LIMIT TASK_SIZE_64

/* untagged_addr() asks the address space of the caller (asm/uaccess.h), and a kernel thread has none. */
#define RUST_GUP_UNTAGGED_ADDR(addr) ({				\
	unsigned long tagged = (addr);				\
	current->mm ? untagged_addr(tagged) : tagged;		\
})

/* Levels of tables, without those that the kernel folded when it booted. */
unsigned int rust_gup_riscv_nr_levels(void);
bool rust_gup_riscv_has_svnapot(void);
unsigned long rust_gup_riscv_timer_hz(void);

#endif /* RUST_GUP_ARCH_H */
