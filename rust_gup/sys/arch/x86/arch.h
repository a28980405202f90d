/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only x86-64 has. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

/* The bits of an address in an entry. With CONFIG_DYNAMIC_PHYSICAL_MASK this is a variable. */
#ifndef CONFIG_DYNAMIC_PHYSICAL_MASK
static const unsigned long CONST_PHYSICAL_MASK = __PHYSICAL_MASK;
#endif

/* The flag that tells whether interrupts are on. A kernel that traces interrupts is asked itself. */
#ifndef CONFIG_TRACE_IRQFLAGS
static const unsigned long CONST_EFLAGS_IF = X86_EFLAGS_IF;
#endif

bool rust_gup_x86_is_xen_pv(void);
bool rust_gup_x86_pgtable_l5_enabled(void);
bool rust_gup_x86_has_pkeys(void);
unsigned int rust_gup_x86_tsc_khz(void);

#endif /* RUST_GUP_ARCH_H */
