/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The header that bindgen reads. bindgen does not evaluate the ioctl numbers of edu_dma.h, because
 * they contain sizeof().
 */
#include "edu_dma.h"

static const __u32 CONST_EDU_DMA_IOC_REGISTER = EDU_DMA_IOC_REGISTER;
static const __u32 CONST_EDU_DMA_IOC_UNREGISTER = EDU_DMA_IOC_UNREGISTER;
static const __u32 CONST_EDU_DMA_IOC_TRANSFER = EDU_DMA_IOC_TRANSFER;
