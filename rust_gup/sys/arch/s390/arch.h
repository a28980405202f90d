/* SPDX-License-Identifier: GPL-2.0 */
/* The part of sys/kernel_api.h that only s390 has: nothing. */
#ifndef RUST_GUP_ARCH_H
#define RUST_GUP_ARCH_H

#endif /* RUST_GUP_ARCH_H */
