// SPDX-License-Identifier: GPL-2.0
/* Wraps inline functions of the kernel, so that Rust can call them. No wrapper decides anything. */
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/mm_types.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

void edu_dma_reset_completion(struct completion *x);
void edu_dma_wait(struct completion *x, unsigned int timeout_ms);
bool edu_dma_fatal_signal_pending(void);
unsigned long edu_dma_memlock_limit_bytes(void);
struct user_struct *edu_dma_get_current_user(void);
atomic_long_t *edu_dma_user_locked_vm(struct user_struct *user);
atomic64_t *edu_dma_mm_pinned_vm(struct mm_struct *mm);
void edu_dma_sg_set_page(struct scatterlist *sg, struct page *page, unsigned int len, unsigned int offset);
void edu_dma_sync_for_device(struct device *dev, u64 addr, size_t len, int direction);
void edu_dma_sync_for_cpu(struct device *dev, u64 addr, size_t len, int direction);

void edu_dma_reset_completion(struct completion *x)
{
	reinit_completion(x);
}

void edu_dma_wait(struct completion *x, unsigned int timeout_ms)
{
	wait_for_completion_timeout(x, msecs_to_jiffies(timeout_ms));
}

bool edu_dma_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

unsigned long edu_dma_memlock_limit_bytes(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}

struct user_struct *edu_dma_get_current_user(void)
{
	return get_uid(current_user());
}

atomic_long_t *edu_dma_user_locked_vm(struct user_struct *user)
{
	return &user->locked_vm;
}

atomic64_t *edu_dma_mm_pinned_vm(struct mm_struct *mm)
{
	return &mm->pinned_vm;
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
