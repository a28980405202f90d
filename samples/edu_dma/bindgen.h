/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads: it does not evaluate the ioctl numbers of edu_dma.h, which have sizeof() in them. */
#include "edu_dma.h"

static const __u32 CONST_EDU_DMA_IOC_REGISTER = EDU_DMA_IOC_REGISTER;
static const __u32 CONST_EDU_DMA_IOC_UNREGISTER = EDU_DMA_IOC_UNREGISTER;
static const __u32 CONST_EDU_DMA_IOC_TRANSFER = EDU_DMA_IOC_TRANSFER;
