// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the in-kernel API, in the module's init function: verify that
 *
 * - a range holds the pages that are mapped, its runs cover them in their order, and copies reach them;
 * - each function refuses to work where it must not sleep, and leaves the range as it was;
 * - wrong requests are refused with the error that the header names, and so is a task without an address space;
 * - a range that was not pinned for writing cannot be written to, nor released as written;
 * - flags that are not for drivers are refused, for example flags that are passed on from user space;
 * - functions that need not take mmap_lock work for a caller that holds it.
 *
 * Loading the module fails if a test fails. selftests/vm loads it.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "../../rust_gup/include/rust_gup_api.h"

#define NR_PAGES	1000
#define LEN		((size_t)NR_PAGES << PAGE_SHIFT)
#define PIN_WRITE	(RUST_GUP_PIN | RUST_GUP_LONGTERM | RUST_GUP_WRITE)

static int nr_failed;
static u8 data[3 * PAGE_SIZE], copy[3 * PAGE_SIZE];

#define expect(condition) do {							\
	if (!(condition)) {							\
		pr_err("rust_gup_api_test: line %d: %s\n", __LINE__, #condition);	\
		nr_failed++;							\
	}									\
} while (0)

static long take_errno(unsigned long addr, size_t len, unsigned int flags)
{
	struct rust_gup_range *range = rust_gup_take(addr, len, flags, NULL);

	if (IS_ERR(range))
		return PTR_ERR(range);
	expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == 0);
	return 0;
}

static void test_runs_and_copies(unsigned long addr)
{
	struct rust_gup_page_run runs[7];
	struct rust_gup_taken taken = {};
	struct rust_gup_range *range;
	size_t nr_runs = 0, nr_pages = 0;
	struct page *page;
	ssize_t nr, i;

	/* The range begins in the middle of a page. */
	range = rust_gup_take(addr + 100, LEN - 100, PIN_WRITE, &taken);
	expect(!IS_ERR(range));
	if (IS_ERR(range))
		return;
	expect(taken.nr_pages == NR_PAGES);
	expect(taken.nr_runs > 0 && taken.nr_runs <= NR_PAGES);
	expect(taken.nr_fast == NR_PAGES && taken.stop == RUST_GUP_STOP_NONE);

	do {
		nr = rust_gup_runs(range, nr_runs, runs, ARRAY_SIZE(runs));
		expect(nr >= 0);
		for (i = 0; i < nr; i++) {
			/* The kernel finds the same page at the address. */
			expect(get_user_pages_fast(addr + (nr_pages << PAGE_SHIFT), 1, 0, &page) == 1);
			expect(page == runs[i].first);
			put_page(page);
			nr_pages += runs[i].nr_pages;
		}
		nr_runs += max(nr, 0);
	} while (nr == ARRAY_SIZE(runs));
	expect(nr_runs == taken.nr_runs && nr_pages == NR_PAGES);
	expect(rust_gup_runs(range, nr_runs, runs, 1) == 0);
	expect(rust_gup_runs(range, 0, runs, 0) == 0);

	for (i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + 1;
	expect(rust_gup_copy_to(range, PAGE_SIZE - 150, data, sizeof(data)) == 0);
	expect(copy_from_user(copy, (void __user *)(addr + PAGE_SIZE - 50), sizeof(copy)) == 0);
	expect(!memcmp(data, copy, sizeof(data)));
	memset(copy, 0, sizeof(copy));
	expect(rust_gup_copy_from(range, PAGE_SIZE - 150, copy, sizeof(copy)) == 0);
	expect(!memcmp(data, copy, sizeof(data)));
	expect(rust_gup_copy_from(range, LEN - 101, copy, 1) == 0);
	expect(rust_gup_copy_from(range, LEN - 101, copy, 2) == -EINVAL);
	expect(rust_gup_copy_to(range, SIZE_MAX, data, 2) == -EINVAL);

	expect(rust_gup_release(range, 17) == -EINVAL);
	expect(rust_gup_release(range, RUST_GUP_WRITTEN) == 0);
}

/* A range that is taken with such flags may be read, but not written to. */
static void test_no_writing(unsigned long addr, unsigned int flags)
{
	struct rust_gup_range *range = rust_gup_take(addr, PAGE_SIZE, flags, NULL);

	expect(!IS_ERR(range));
	if (IS_ERR(range))
		return;
	expect(rust_gup_copy_from(range, 0, copy, 1) == 0);
	expect(rust_gup_copy_to(range, 0, data, 1) == -EACCES);
	expect(rust_gup_release(range, RUST_GUP_WRITTEN) == -EACCES);
	expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == 0);
}

/* In a driver, ->close() of a VMA or an MMU notifier releases pages under mmap_lock. */
static void test_mmap_lock_held(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	struct rust_gup_page_run run;
	struct rust_gup_taken taken = {};
	struct rust_gup_range *range = rust_gup_take(addr, PAGE_SIZE, PIN_WRITE, NULL);

	expect(!IS_ERR(range));
	if (IS_ERR(range))
		return;
	mmap_write_lock(mm);
	expect(rust_gup_runs(range, 0, &run, 1) == 1);
	expect(rust_gup_copy_from(range, 0, copy, 1) == 0);
	expect(rust_gup_copy_to(range, 0, data, 1) == 0);
	expect(rust_gup_release(range, RUST_GUP_WRITTEN) == 0);
	range = rust_gup_take(addr, PAGE_SIZE, PIN_WRITE | RUST_GUP_FAST_ONLY, &taken);
	expect(!IS_ERR(range));
	if (!IS_ERR(range)) {
		expect(taken.nr_pages == 1);
		expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == 0);
	}
	mmap_write_unlock(mm);
}

static void refuse_all(struct rust_gup_range *range, unsigned long addr)
{
	struct rust_gup_page_run run;

	expect(PTR_ERR(rust_gup_take(addr, PAGE_SIZE, RUST_GUP_PIN, NULL)) == -EPERM);
	expect(PTR_ERR(rust_gup_take(addr, PAGE_SIZE, RUST_GUP_PIN | RUST_GUP_FAST_ONLY, NULL)) == -EPERM);
	expect(rust_gup_runs(range, 0, &run, 1) == -EPERM);
	expect(rust_gup_copy_from(range, 0, copy, 1) == -EPERM);
	expect(rust_gup_copy_to(range, 0, data, 1) == -EPERM);
	expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == -EPERM);
}

static void test_context(unsigned long addr)
{
	static DEFINE_SPINLOCK(lock);
	struct rust_gup_range *range = rust_gup_take(addr, PAGE_SIZE, PIN_WRITE, NULL);

	expect(!IS_ERR(range));
	if (IS_ERR(range))
		return;
	/* Without this option the kernel does not know. */
	if (IS_ENABLED(CONFIG_PREEMPT_COUNT)) {
		spin_lock(&lock);
		refuse_all(range, addr);
		spin_unlock(&lock);
		rcu_read_lock();
		refuse_all(range, addr);
		rcu_read_unlock();
	}
	local_irq_disable();
	refuse_all(range, addr);
	local_irq_enable();
	local_bh_disable();
	refuse_all(range, addr);
	local_bh_enable();
	/* The refused calls have left the range as it was. */
	expect(rust_gup_copy_from(range, 0, copy, 1) == 0);
	expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == 0);
}

static void test_requests(unsigned long addr)
{
	expect(take_errno(addr, 0, RUST_GUP_PIN) == -EINVAL);
	expect(take_errno(addr, 1, 1U << 31) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_FORCE) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_FORCE | PIN_WRITE) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_NOFAULT) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_PCI_P2PDMA) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_HONOR_NUMA_FAULT) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_PIN | RUST_GUP_SHORT_TERM) == -EINVAL);
	expect(take_errno(addr, 1, RUST_GUP_LONGTERM) == -EINVAL);
	expect(take_errno(addr, ULONG_MAX, RUST_GUP_PIN) == -EOVERFLOW);
	expect(take_errno(TASK_SIZE_MAX, 1, RUST_GUP_PIN) == -EFAULT);
	expect(take_errno(addr, 1, 0) == 0);
	expect(take_errno(addr, LEN, RUST_GUP_WRITE) == 0);
}

static void test_nothing_there(unsigned long addr)
{
	struct rust_gup_taken taken = {};
	struct rust_gup_page_run run;
	struct rust_gup_range *range;

	expect(take_errno(addr, PAGE_SIZE, RUST_GUP_PIN) == -EFAULT);
	/* An absent page is no error here, and the caller has to release the range all the same. */
	range = rust_gup_take(addr, PAGE_SIZE, RUST_GUP_PIN | RUST_GUP_FAST_ONLY, &taken);
	expect(!IS_ERR(range));
	if (IS_ERR(range))
		return;
	expect(taken.nr_pages == 0 && taken.nr_runs == 0);
	expect(taken.stop == RUST_GUP_STOP_ABSENT && taken.stop_addr == addr);
	expect(rust_gup_runs(range, 0, &run, 1) == 0);
	expect(rust_gup_copy_from(range, 0, copy, 1) == -EINVAL);
	expect(rust_gup_release(range, RUST_GUP_WRITTEN) == -EACCES);
	expect(rust_gup_release(range, RUST_GUP_UNCHANGED) == 0);
}

struct thread_work {
	struct completion done;
	struct rust_gup_range *range;
	unsigned long addr;
};

/*
 * A task without an address space cannot take pages, but can use and release another's range.
 */
static int kernel_thread_work(void *argument)
{
	struct thread_work *work = argument;

	expect(take_errno(work->addr, PAGE_SIZE, RUST_GUP_PIN) == -EFAULT);
	expect(rust_gup_copy_from(work->range, 0, copy, 1) == 0);
	expect(rust_gup_release(work->range, RUST_GUP_WRITTEN) == 0);
	complete(&work->done);
	return 0;
}

static void test_kernel_thread(unsigned long addr)
{
	struct thread_work work = { .addr = addr };
	struct task_struct *task;

	init_completion(&work.done);
	work.range = rust_gup_take(addr, PAGE_SIZE, PIN_WRITE, NULL);
	expect(!IS_ERR(work.range));
	if (IS_ERR(work.range))
		return;
	task = kthread_run(kernel_thread_work, &work, "rust_gup_api_test");
	expect(!IS_ERR(task));
	if (!IS_ERR(task))
		wait_for_completion(&work.done);
}

static int __init rust_gup_api_test_init(void)
{
	unsigned long addr = vm_mmap(NULL, 0, LEN, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, 0);

	if (IS_ERR_VALUE(addr))
		return addr;
	/* Gives the mapping writable pages of its own, in memory that long-term pins may have. */
	expect(take_errno(addr, LEN, PIN_WRITE) == 0);
	test_runs_and_copies(addr);
	test_no_writing(addr, RUST_GUP_PIN);
	/* A plain reference keeps the page, but does not tell anybody about a write. */
	test_no_writing(addr, RUST_GUP_WRITE);
	test_mmap_lock_held(addr);
	test_context(addr);
	test_requests(addr);
	test_kernel_thread(addr);
	vm_munmap(addr, LEN);
	test_nothing_there(addr);
	return nr_failed ? -EINVAL : 0;
}

static void __exit rust_gup_api_test_exit(void)
{
}

module_init(rust_gup_api_test_init);
module_exit(rust_gup_api_test_exit);
MODULE_AUTHOR("The rust_gup authors");
MODULE_DESCRIPTION("Tests of rust_gup's in-kernel API");
MODULE_LICENSE("GPL");
