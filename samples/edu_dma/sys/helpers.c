// SPDX-License-Identifier: GPL-2.0
/* The kernel's inline functions as functions that Rust can call: one each, without a decision. */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>

void edu_dma_reset_completion(struct completion *x);
bool edu_dma_wait(struct completion *x, unsigned int timeout_ms);
bool edu_dma_fatal_signal_pending(void);
void edu_dma_sg_set_page(struct scatterlist *sg, struct page *page, unsigned int len, unsigned int offset);
void edu_dma_sync_for_device(struct device *dev, u64 addr, size_t len, int direction);
void edu_dma_sync_for_cpu(struct device *dev, u64 addr, size_t len, int direction);

void edu_dma_reset_completion(struct completion *x)
{
	reinit_completion(x);
}

bool edu_dma_wait(struct completion *x, unsigned int timeout_ms)
{
	return wait_for_completion_timeout(x, msecs_to_jiffies(timeout_ms)) != 0;
}

bool edu_dma_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void edu_dma_sg_set_page(struct scatterlist *sg, struct page *page, unsigned int len, unsigned int offset)
{
	sg_set_page(sg, page, len, offset);
}

void edu_dma_sync_for_device(struct device *dev, u64 addr, size_t len, int direction)
{
	dma_sync_single_for_device(dev, addr, len, direction);
}

void edu_dma_sync_for_cpu(struct device *dev, u64 addr, size_t len, int direction)
{
	dma_sync_single_for_cpu(dev, addr, len, direction);
}
