/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The in-kernel API of rust_gup.ko. A module takes the pages of a range of the current process, and holds them until it
 * releases them.
 *
 *	struct rust_gup_taken taken;
 *	struct rust_gup_range *range;
 *
 *	range = rust_gup_take(addr, len, RUST_GUP_PIN | RUST_GUP_LONGTERM | RUST_GUP_WRITE, &taken);
 *	if (IS_ERR(range))
 *		return PTR_ERR(range);
 *	... rust_gup_runs(), rust_gup_copy_from(), rust_gup_copy_to(), as often as needed, in any order and at once ...
 *	rust_gup_release(range, RUST_GUP_WRITTEN);
 *
 * Every function may sleep. The caller must be in process context, without a spinlock, with interrupts and preemption
 * on, and outside of RCU read-side critical sections. Elsewhere each function does nothing and returns -EPERM. (A
 * kernel without CONFIG_PREEMPT_COUNT cannot tell that a spinlock is held.)
 *
 * Locks of the memory management that each function may take:
 *
 *	rust_gup_take()			mmap_lock of the current process for reading, and all that page faults take
 *	rust_gup_take(), _FAST_ONLY	none
 *	rust_gup_runs()			none
 *	rust_gup_copy_from(), _to()	none
 *	rust_gup_release(), _UNCHANGED	none, unless rust_gup_copy_to() has written to the pages
 *	rust_gup_release(), _WRITTEN	the lock of each folio, and what the file system takes to mark it dirty
 *
 * The holder of an mmap_lock may call all but the first, for example in close() of a VMA or in mmap() of a file. The
 * holder of a folio lock may call those that take no lock, for example in an MMU notifier; but rust_gup_take()
 * allocates memory with GFP_KERNEL_ACCOUNT. Lockdep complains about a rust_gup_take() without _FAST_ONLY under
 * mmap_lock.
 *
 * rust_gup_take() takes pages of the current task's address space. Any task may call the other functions, even if that
 * address space is gone. Held pages count against RLIMIT_MEMLOCK of the user that took them, in user->locked_vm as
 * those of io_uring do, unless the task has CAP_IPC_LOCK. They show as VmPin of the process.
 *
 * A module that uses a symbol of another module holds that module: rust_gup.ko cannot be removed before its users.
 *
 * Documentation/dma.rst says which flags are right for DMA, and when to release with RUST_GUP_WRITTEN.
 */
#ifndef RUST_GUP_API_H
#define RUST_GUP_API_H

#include <linux/types.h>

/* RUST_GUP_WRITE, _PIN, _LONGTERM, _FAST_ONLY and RUST_GUP_STOP_* are those of /dev/rust_gup. */
#include "../uapi/rust_gup.h"

struct page;

/* Pages that are held. Opaque; released once, by rust_gup_release(). */
struct rust_gup_range;

/**
 * struct rust_gup_taken - how a request was served
 * @nr_pages: Pages that are held, from the one with the first byte on. A short count is no error.
 * @nr_runs: How many physically contiguous runs they make.
 * @nr_fast: How many of the pages the lockless walk took; the kernel's slow path took the others.
 * @stop_addr: Address of the page at which that walk first stopped, if @stop is not RUST_GUP_STOP_NONE.
 * @stop: RUST_GUP_STOP_*, the reason.
 */
struct rust_gup_taken {
	size_t		nr_pages;
	size_t		nr_runs;
	size_t		nr_fast;
	unsigned long	stop_addr;
	unsigned int	stop;
};

/**
 * struct rust_gup_page_run - physically contiguous pages
 * @first: The first page. The others follow it in the memory map: nth_page(), page_to_pfn() + i.
 * @nr_pages: Number of pages.
 */
struct rust_gup_page_run {
	struct page	*first;
	size_t		nr_pages;
};

/* What happened to the contents of the pages while they were held. */
enum rust_gup_contents {
	RUST_GUP_UNCHANGED	= 0,	/* They were at most read. */
	RUST_GUP_WRITTEN	= 1,	/* A device or the kernel wrote to them: they are marked dirty. */
};

/**
 * rust_gup_take - hold the pages of [addr, addr + len_bytes) of the current process
 * @addr: First byte.
 * @len_bytes: Number of bytes, not 0.
 * @flags: RUST_GUP_WRITE, _PIN, _LONGTERM (with _PIN only), _FAST_ONLY. The function refuses the other flags of the
 *	device: they are for tests, and a flag from user space must not become FOLL_FORCE.
 * @taken: How the request was served; on errors, why and where the walk stopped. May be NULL.
 *
 * Return: the pages, or an error pointer:
 *	-EPERM		not in process context
 *	-EINVAL		no bytes; unknown flags, or flags that do not go together
 *	-EOVERFLOW	the range wraps around
 *	-EFAULT		the range reaches beyond user space, the first page cannot be had, or there is no user space
 *	-ENOMEM		RLIMIT_MEMLOCK, or no memory
 *	-ETOOMANYREFS	the first page has so many references that its count could overflow
 *	-EINTR		the task was killed
 *	others		the answer of the kernel's slow path for the first page
 *
 * With RUST_GUP_FAST_ONLY the returned range may have no pages. It has to be released all the same.
 */
struct rust_gup_range *rust_gup_take(unsigned long addr, size_t len_bytes, unsigned int flags,
				     struct rust_gup_taken *taken);

/**
 * rust_gup_runs - list the runs of a range
 * @range: From rust_gup_take().
 * @first: Index of the first run wanted.
 * @runs: Room for @capacity runs.
 * @capacity: See @runs.
 *
 * Return: the number of runs written, less than @capacity only at the end; or -EPERM.
 */
ssize_t rust_gup_runs(const struct rust_gup_range *range, size_t first,
		      struct rust_gup_page_run *runs, size_t capacity);

/**
 * rust_gup_copy_from - read from the pages
 * @range: From rust_gup_take().
 * @offset: First byte, counted from the first byte of the range.
 * @buf: Destination.
 * @len_bytes: Number of bytes.
 *
 * Return: 0; -EPERM; -EINVAL if the bytes are not all within what was taken; -EINTR if the task was killed.
 */
int rust_gup_copy_from(const struct rust_gup_range *range, size_t offset, void *buf, size_t len_bytes);

/**
 * rust_gup_copy_to - write to the pages
 * @range: From rust_gup_take(), with RUST_GUP_PIN and RUST_GUP_WRITE.
 * @offset: First byte, counted from the first byte of the range.
 * @buf: Source.
 * @len_bytes: Number of bytes.
 *
 * The pages are marked dirty when they are released, whatever is passed to rust_gup_release().
 *
 * Return: as rust_gup_copy_from(); -EACCES if the range was not pinned for writing. With a plain reference nobody
 * learns of the write: the file system takes the page for clean, and fork() shares it
 * (Documentation/core-api/pin_user_pages.rst).
 */
int rust_gup_copy_to(const struct rust_gup_range *range, size_t offset, const void *buf, size_t len_bytes);

/**
 * rust_gup_release - give the pages back
 * @range: From rust_gup_take(). Not valid afterwards.
 * @contents: Whether the pages were written to.
 *
 * Return: 0; or an error. After an error nothing is released, and the caller still has @range: -EPERM; -EACCES for
 * RUST_GUP_WRITTEN if the range was not pinned for writing; -EINVAL for another @contents.
 */
int __must_check rust_gup_release(struct rust_gup_range *range, enum rust_gup_contents contents);

#endif /* RUST_GUP_API_H */
