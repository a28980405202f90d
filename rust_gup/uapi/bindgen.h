/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads. It evaluates constants but not macros with sizeof() in them, so the ioctl numbers are turned
 * into constants here; bindgen's output, for the module and for user land alike, names them RUST_GUP_IOC_*.
 */
#include "rust_gup.h"

#define RUST_GUP_CONST(name) static const __u32 CONST_##name = name

RUST_GUP_CONST(RUST_GUP_IOC_INFO);
RUST_GUP_CONST(RUST_GUP_IOC_PIN);
RUST_GUP_CONST(RUST_GUP_IOC_UNPIN);
RUST_GUP_CONST(RUST_GUP_IOC_READ);
RUST_GUP_CONST(RUST_GUP_IOC_WRITE);
RUST_GUP_CONST(RUST_GUP_IOC_RUNS);
RUST_GUP_CONST(RUST_GUP_IOC_COMPARE);
RUST_GUP_CONST(RUST_GUP_IOC_MEASURE);
RUST_GUP_CONST(RUST_GUP_IOC_STATS);
