// SPDX-License-Identifier: GPL-2.0
/*
 * insmod rust_gup_splat.ko kind=KIND makes one mistake. A debug kernel has to notice it, and
 * scripts/vm has to take that for a failure. scripts/splats makes all mistakes.
 */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "../../rust_gup/include/rust_gup_api.h"

/* memory.rs */
void rust_gup_splat_out_of_bounds(void);
void rust_gup_splat_use_after_free(void);
void rust_gup_splat_overflow(void);

static void out_of_bounds(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	OPTIMIZER_HIDE_VAR(p);
	p[64] = 1;
	kfree(p);
}

static void shift(void)
{
	volatile int bits = 40;

	pr_info("%d\n", 1 << bits);
}

static void list(void)
{
	LIST_HEAD(head);
	LIST_HEAD(other);

	/* As if somebody else had removed this entry from the list. */
	head.next = &other;
	list_del(&head);
}

static void page(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return;
	put_page(page);
	put_page(page);
}

static DEFINE_SPINLOCK(spin);

static void sleeping(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

/*
 * A raw spinlock, because another kind may not be taken in an interrupt, and the kernel would
 * report that first.
 */
static DEFINE_RAW_SPINLOCK(raw_spin);

static void lock_in_interrupt(struct irq_work *work)
{
	raw_spin_lock(&raw_spin);
	raw_spin_unlock(&raw_spin);
}

static void irq_state(void)
{
	struct irq_work work = IRQ_WORK_INIT_HARD(lock_in_interrupt);

	irq_work_queue(&work);
	irq_work_sync(&work);
	/* The interrupt took the lock; taking it with interrupts on is the mistake. */
	raw_spin_lock(&raw_spin);
	raw_spin_unlock(&raw_spin);
}

/*
 * Acts as a driver that takes pages in its ->mmap(), or in ->close() of a VMA. The pages are
 * present, so the walk takes them and does not wait for the lock that is held. Without the
 * annotation for lockdep nobody would notice.
 */
static void take_under_mmap_lock(void)
{
	typeof(rust_gup_release) *release = symbol_get(rust_gup_release);
	typeof(rust_gup_take) *take = symbol_get(rust_gup_take);
	struct mm_struct *mm = current->mm;
	struct rust_gup_range *range;
	unsigned long addr;

	if (WARN_ON(!take || !release))
		return;
	addr = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, 0);
	mmap_write_lock(mm);
	range = take(addr, PAGE_SIZE, RUST_GUP_PIN | RUST_GUP_LONGTERM | RUST_GUP_WRITE, NULL);
	mmap_write_unlock(mm);
	if (!IS_ERR(range))
		(void)!release(range, RUST_GUP_UNCHANGED);
	symbol_put(rust_gup_take);
	symbol_put(rust_gup_release);
}

static int __rcu *protected;

static void rcu(void)
{
	rcu_dereference(protected);
}

static void dma(void)
{
	struct platform_device *pdev = platform_device_register_simple("rust_gup_splat", -1, NULL, 0);

	if (IS_ERR(pdev))
		return;
	if (!dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64)))
		dma_unmap_single(&pdev->dev, 0x100000, 64, DMA_TO_DEVICE);
	platform_device_unregister(pdev);
}

static unsigned long shared;

static int write_shared(void *unused)
{
	while (!kthread_should_stop()) {
		shared++;
		cond_resched();
	}
	return 0;
}

static void race(void)
{
	struct task_struct *threads[2];
	int i;

	for (i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = kthread_run(write_shared, NULL, "splat/%d", i);
	msleep(5000);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		if (!IS_ERR(threads[i]))
			kthread_stop(threads[i]);
}

static const struct {
	const char *name;
	void (*make)(void);
} kinds[] = {
	{ "out-of-bounds", out_of_bounds },
	{ "rust-out-of-bounds", rust_gup_splat_out_of_bounds },
	{ "rust-use-after-free", rust_gup_splat_use_after_free },
	{ "rust-overflow", rust_gup_splat_overflow },
	{ "shift", shift },
	{ "list", list },
	{ "page", page },
	{ "sleeping", sleeping },
	{ "lock-order", lock_order },
	{ "irq-state", irq_state },
	{ "take-under-mmap-lock", take_under_mmap_lock },
	{ "rcu", rcu },
	{ "dma", dma },
	{ "race", race },
};

static char *kind = "";
module_param(kind, charp, 0);
MODULE_PARM_DESC(kind, "the mistake to make");

static int __init splat_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kind, kinds[i].name)) {
			kinds[i].make();
			return 0;
		}
	}
	return -EINVAL;
}
module_init(splat_init);

static void __exit splat_exit(void)
{
}
module_exit(splat_exit);

MODULE_DESCRIPTION("Mistakes that a debug kernel has to notice");
MODULE_LICENSE("GPL");
