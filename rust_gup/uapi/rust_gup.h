/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ABI of /dev/rust_gup.
 *
 * This header is the only definition: the module and the user-land crates both generate their Rust types from it.
 *
 * How it grows
 * ------------
 * An ioctl number carries the size of the caller's structure (_IOC_SIZE), and the module dispatches on the rest of
 * the number. A structure only grows at its end. Each call treats it as copy_struct_from_user() does:
 *
 * - The module serves an older, smaller structure: the fields that the caller does not know read as zero, and only
 *   the bytes for which it has room are written back.
 * - The module serves a newer, larger structure if all bytes that the module does not know are zero, and refuses it
 *   with E2BIG otherwise. On return those bytes are zero.
 * - The module refuses a structure smaller than the first published one with EINVAL.
 *
 * It refuses unknown flags, and reserved fields that are not zero, with EINVAL.
 *
 * Addresses and lengths are in bytes and need not be aligned. A request covers the bytes [addr, addr + len_bytes),
 * is served with every page that holds one of them, and is never rounded silently: offsets into a handle count from
 * addr, not from the start of a page.
 */
#ifndef _UAPI_RUST_GUP_H
#define _UAPI_RUST_GUP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Raised when a structure grows or a call is added. No call, field or flag is ever taken away. */
#define RUST_GUP_ABI_VERSION	2

#define RUST_GUP_DEVICE_PATH	"/dev/rust_gup"

/* What a request asks for: the flags of struct rust_gup_pin, rust_gup_compare and rust_gup_measure. */
#define RUST_GUP_WRITE		(1U << 0)	/* FOLL_WRITE: the pages will be written to. */
#define RUST_GUP_PIN		(1U << 1)	/* FOLL_PIN, pin_user_pages*(); else FOLL_GET, get_user_pages*(). */
#define RUST_GUP_LONGTERM	(1U << 2)	/* FOLL_LONGTERM; only together with RUST_GUP_PIN. */
#define RUST_GUP_FAST_ONLY	(1U << 3)	/* Never use the slow path, which takes mmap_lock and faults. */
/* For the slow path. The fast walk heeds only PCI_P2PDMA of these four, as mm/gup.c does. */
#define RUST_GUP_FORCE		(1U << 4)	/* FOLL_FORCE: write to private read-only memory; CAP_SYS_ADMIN. */
#define RUST_GUP_NOFAULT	(1U << 5)	/* FOLL_NOFAULT: do not fault pages in. */
#define RUST_GUP_PCI_P2PDMA	(1U << 6)	/* FOLL_PCI_P2PDMA: peer-to-peer memory, too; not with _LONGTERM. */
#define RUST_GUP_HONOR_NUMA_FAULT	(1U << 7)	/* FOLL_HONOR_NUMA_FAULT: let NUMA hints fault first. */
/*
 * The pins are short-term although they are in a handle. A handle lives for as long as user space likes, so
 * RUST_GUP_IOC_PIN requires RUST_GUP_LONGTERM with RUST_GUP_PIN, or this flag. A short-term pin keeps memory in its
 * place that the kernel must be able to move or take away. So the flag is for tests, and requires CAP_SYS_ADMIN there.
 * The other calls drop their pins before they return, with or without it. Only together with RUST_GUP_PIN, and without
 * RUST_GUP_LONGTERM.
 */
#define RUST_GUP_SHORT_TERM	(1U << 8)

/* Which engine takes the pages. */
#define RUST_GUP_ENGINE_RUST		0U	/* The walk in Rust, kept as runs; the slow path for the rest. */
#define RUST_GUP_ENGINE_KERNEL		1U	/* get_user_pages_fast(), pin_user_pages_fast(). */
#define RUST_GUP_ENGINE_RUST_PAGES	2U	/* RUST, written out as an array; RUST_GUP_IOC_MEASURE only. */
/*
 * As KERNEL, released by physically contiguous runs: unpin_user_page_range_dirty_lock(), and for plain references
 * folio_put_refs(), one step for each folio. RUST_GUP_IOC_MEASURE only, which does not count the cost of finding the
 * runs.
 */
#define RUST_GUP_ENGINE_KERNEL_RANGES	3U

/* Why the fast walk stopped before the end of a range. Index of rust_gup_stats.stops. */
#define RUST_GUP_STOP_NONE		0U	/* It did not stop. */
#define RUST_GUP_STOP_ABSENT		1U	/* Not mapped, swapped out, or migrating. */
#define RUST_GUP_STOP_PROT_NONE		2U	/* PROT_NONE, a NUMA hint, or an access marker of userfaultfd. */
#define RUST_GUP_STOP_READ_ONLY		3U	/* Wanted for writing, mapped read-only (also COW, uffd-wp). */
#define RUST_GUP_STOP_NOT_USER		4U	/* Mapped for the kernel only. */
#define RUST_GUP_STOP_PKEY		5U	/* The thread's protection keys deny the access. */
#define RUST_GUP_STOP_SPECIAL		6U	/* A special mapping: it may have no struct page. */
#define RUST_GUP_STOP_BAD		7U	/* A table entry that makes no sense: pmd_bad(). */
#define RUST_GUP_STOP_CHANGED		8U	/* An entry changed before it was re-read. */
#define RUST_GUP_STOP_UNREFERENCED	9U	/* The reference count was zero: being freed, split or migrated. */
#define RUST_GUP_STOP_SPLIT		10U	/* The folio was split or replaced meanwhile. */
#define RUST_GUP_STOP_DEVICE		11U	/* PCI peer-to-peer memory, without RUST_GUP_PCI_P2PDMA. */
#define RUST_GUP_STOP_ZERO_PAGE		12U	/* The zero page, left to the slow path. */
#define RUST_GUP_STOP_LONGTERM		13U	/* Not to be pinned for long there: movable, CMA, isolated. */
#define RUST_GUP_STOP_NO_MAPPING	14U	/* A small folio without a mapping: truncated, or a driver's. */
#define RUST_GUP_STOP_FILE_LONGTERM	15U	/* Long-term writing to a file: the VMA decides. */
#define RUST_GUP_STOP_SECRET		16U	/* Secret memory, or unevictable memory, which could be secret. */
#define RUST_GUP_STOP_UNSHARE		17U	/* Read-only pin of a page that is not exclusive. */
#define RUST_GUP_STOP_INACCESSIBLE	18U	/* The architecture could not make the folio accessible. */
#define RUST_GUP_STOP_FORK		19U	/* fork() is or was write-protecting the address space. */
#define RUST_GUP_STOP_RANGE		20U	/* Beyond the reach of this process's page tables. */
#define RUST_GUP_STOP_OFF		21U	/* The fast walk is off (Xen PV; hash tables of PowerPC). */
#define RUST_GUP_STOP_SIGNAL		22U	/* A fatal signal is pending. */
#define RUST_GUP_STOP_TOO_MANY_REFS	23U	/* So many references that the count could overflow. */
#define RUST_GUP_NR_STOPS		24U

/* Page-table formats: rust_gup_info.format. */
#define RUST_GUP_FORMAT_X86_64		1U
#define RUST_GUP_FORMAT_ARM64_4K	2U
#define RUST_GUP_FORMAT_ARM64_16K	3U
#define RUST_GUP_FORMAT_ARM_LPAE	4U
#define RUST_GUP_FORMAT_RISCV64		5U
#define RUST_GUP_FORMAT_LOONGARCH_16K	6U
#define RUST_GUP_FORMAT_S390		7U
#define RUST_GUP_FORMAT_PPC64_4K	8U
#define RUST_GUP_FORMAT_PPC64_64K	9U

/* rust_gup_info.features */
#define RUST_GUP_FEATURE_FAST		(1ULL << 0)	/* The fast walk is on. */
#define RUST_GUP_FEATURE_PKEYS		(1ULL << 1)	/* The CPU has protection keys; the walk checks them. */
#define RUST_GUP_FEATURE_LA57		(1ULL << 2)	/* Five levels of tables. */
#define RUST_GUP_FEATURE_HAS_PFN	(1ULL << 3)	/* The caller may see page frame numbers (CAP_SYS_ADMIN). */

/* Levels are counted from the leaf: [0] counts base pages, [1] those under a PMD leaf, [2] those under a PUD leaf. */
#define RUST_GUP_NR_LEVELS	5

/**
 * struct rust_gup_info - describes this module and its machine
 * @abi_version: RUST_GUP_ABI_VERSION of the module.
 * @format: RUST_GUP_FORMAT_*, the page-table format that is walked.
 * @page_size_bytes: Size of a base page.
 * @levels: How many levels the page tables have now.
 * @features: RUST_GUP_FEATURE_*.
 * @cycles_khz: Rate of the counter that the cycle fields of this ABI are in, or 0 if it is not known.
 * @window_entries: Entries that the walk takes at most before it enables interrupts again.
 * @reserved: Zero.
 * @module_version: Version of the module, a string that ends in a zero byte.
 * @user_limit: The first address beyond user space (TASK_SIZE_MAX; TASK_SIZE_64 on arm64): a range that ends above it
 *	is refused with EFAULT.
 * @entry_shift: An entry of each level covers 1 << entry_shift[i] bytes; 0 above the root. entry_shift[0] is the
 *	shift of a base page, and a table of level i has 1 << (entry_shift[i + 1] - entry_shift[i]) entries.
 * @leaf_levels: Bit i is set if an entry of level i can map memory itself, as a page of 1 << entry_shift[i] bytes. The
 *	format says so; whether the CPU and the kernel use such pages is to be seen in /sys/kernel/mm.
 */
struct rust_gup_info {
	__u32		abi_version;
	__u32		format;
	__u32		page_size_bytes;
	__u32		levels;
	__aligned_u64	features;
	__aligned_u64	cycles_khz;
	__u32		window_entries;
	__u32		reserved;
	__u8		module_version[16];
	__aligned_u64	user_limit;
	__u32		entry_shift[RUST_GUP_NR_LEVELS];
	__u32		leaf_levels;
};

/**
 * struct rust_gup_pin - take the pages of a range of the calling process
 * @addr: First byte.
 * @len_bytes: Number of bytes, not 0.
 * @flags: RUST_GUP_WRITE, _PIN, _LONGTERM or _SHORT_TERM, _FAST_ONLY, and the four flags for the slow path.
 * @engine: RUST_GUP_ENGINE_RUST or _KERNEL. The kernel exports no fast-only pin, so _KERNEL with _PIN and
 *	_FAST_ONLY is refused with EOPNOTSUPP.
 * @handle: Out: names the pages until they are released, or 0 if there are none (only with _FAST_ONLY).
 * @nr_pages: Out: pages taken, from the one that holds @addr on. A short count is no error, as long as at least one
 *	page was taken.
 * @nr_fast: Out: how many of these pages the fast walk in Rust took.
 * @nr_runs: Out: in how many physically contiguous runs they lie. Without CAP_SYS_ADMIN each page is a run, here and
 *	in the other calls.
 * @nr_by_level: Out: how many of @nr_fast were found under a leaf of each level.
 * @stop_addr: Out: address of the page at which the fast walk first stopped, if @stop is not _STOP_NONE. Both are
 *	written even if the slow path then fails and the call returns an error.
 * @stop: Out: RUST_GUP_STOP_*, the reason.
 * @reserved: Zero.
 */
struct rust_gup_pin {
	__aligned_u64	addr;
	__aligned_u64	len_bytes;
	__u32		flags;
	__u32		engine;
	__aligned_u64	handle;
	__aligned_u64	nr_pages;
	__aligned_u64	nr_fast;
	__aligned_u64	nr_runs;
	__aligned_u64	nr_by_level[RUST_GUP_NR_LEVELS];
	__aligned_u64	stop_addr;
	__u32		stop;
	__u32		reserved;
};

/**
 * struct rust_gup_unpin - release a handle
 * @handle: From struct rust_gup_pin. Never given out again for this open file.
 */
struct rust_gup_unpin {
	__aligned_u64	handle;
};

/**
 * struct rust_gup_copy - read or write memory through the pages of a handle
 * @handle: From struct rust_gup_pin.
 * @offset: First byte, counted from rust_gup_pin.addr.
 * @len_bytes: Number of bytes. The range must lie within what was taken.
 * @buf: Address of the caller's buffer.
 *
 * The copy goes through the kernel's mapping of the held pages, not through the page tables, so it shows what a device
 * with DMA into the handle would see. Writing requires a handle that was taken with RUST_GUP_PIN and RUST_GUP_WRITE,
 * and marks the pages dirty when they are released. A plain reference does not allow it: the file system takes such a
 * page for clean, and fork() shares it.
 */
struct rust_gup_copy {
	__aligned_u64	handle;
	__aligned_u64	offset;
	__aligned_u64	len_bytes;
	__aligned_u64	buf;
};

/**
 * struct rust_gup_run - physically contiguous pages
 * @pfn: Frame number of the first page, or 0 for callers without CAP_SYS_ADMIN.
 * @nr_pages: Number of pages.
 */
struct rust_gup_run {
	__aligned_u64	pfn;
	__aligned_u64	nr_pages;
};

/**
 * struct rust_gup_runs - list the runs of a handle
 * @handle: From struct rust_gup_pin.
 * @first: Index of the first run wanted.
 * @buf: Address of an array of struct rust_gup_run.
 * @capacity: Elements of that array.
 * @nr_runs: Out: elements written.
 * @nr_total: Out: runs of the handle.
 */
struct rust_gup_runs {
	__aligned_u64	handle;
	__aligned_u64	first;
	__aligned_u64	buf;
	__aligned_u64	capacity;
	__aligned_u64	nr_runs;
	__aligned_u64	nr_total;
};

/* How the two engines can differ: rust_gup_compare.differences. */
#define RUST_GUP_DIFF_RESULT		(1U << 0)	/* The error number. */
#define RUST_GUP_DIFF_NR_PAGES		(1U << 1)	/* The number of pages taken. */
#define RUST_GUP_DIFF_PAGE		(1U << 2)	/* A page: another frame at the same address. */
#define RUST_GUP_DIFF_REFCOUNT		(1U << 3)	/* Change of a folio's reference count, or leftovers. */
#define RUST_GUP_DIFF_PINCOUNT		(1U << 4)	/* The same for a large folio's pin count. */
#define RUST_GUP_DIFF_REFERENCED	(1U << 5)	/* Whether the folio's referenced flag was set. */
#define RUST_GUP_DIFF_FIRST		(1U << 6)	/* In the first step: error, number, or a page. */

/**
 * struct rust_gup_compare - let both engines take the same range, and compare
 * @addr: As in struct rust_gup_pin.
 * @len_bytes: As in struct rust_gup_pin, at most RUST_GUP_COMPARE_MAX_BYTES.
 * @flags: As in struct rust_gup_pin. RUST_GUP_FAST_ONLY together with RUST_GUP_PIN is refused with EOPNOTSUPP,
 *	because the kernel exports no such function to compare with.
 * @differences: Out: RUST_GUP_DIFF_*; 0 if the engines agree in everything.
 * @errno_rust: Out: 0, or the error number (positive) that the Rust engine ended with.
 * @errno_kernel: Out: the same for the kernel's.
 * @nr_pages_rust: Out: pages that the Rust engine took.
 * @nr_pages_kernel: Out: pages that the kernel's functions took.
 * @nr_equal: Out: how many of these pages agree in everything.
 * @nr_fast: Out: how many of @nr_pages_rust the fast walk took.
 * @nr_runs: Out: how many runs they make.
 * @nr_by_level: Out: how many of @nr_fast were found under a leaf of each level.
 * @diff_addr: Out: address of the first page that differs, if @differences is not 0.
 * @stop_addr: Out: as in struct rust_gup_pin.
 * @stop: Out: as in struct rust_gup_pin.
 * @reserved: Zero.
 * @nr_pages_first: Out: pages that the Rust engine took in the first step.
 * @nr_fast_first: Out: how many of these the fast walk took.
 * @stop_addr_first: Out: as @stop_addr, in the first step.
 * @stop_first: Out: as @stop, in the first step.
 * @errno_first: Out: as @errno_rust, in the first step.
 * @nr_retries: Out: how often the last two steps were repeated because only reference counts differed, as they do when
 *	the kernel empties a per-CPU list of pages. At most 3.
 *
 * In the first step the Rust engine takes and releases the range as it is. Then the kernel's function does, and must
 * get the same number of pages, the same pages, or the same error (RUST_GUP_DIFF_FIRST). From then on the range is
 * ready. In the last two steps the kernel's function and then the Rust engine take it, are inspected and release it.
 * Counts that others change meanwhile show as differences, so the range should be at rest. The structure reports an
 * error of an engine; the call itself does not fail with it.
 */
struct rust_gup_compare {
	__aligned_u64	addr;
	__aligned_u64	len_bytes;
	__u32		flags;
	__u32		differences;
	__s32		errno_rust;
	__s32		errno_kernel;
	__aligned_u64	nr_pages_rust;
	__aligned_u64	nr_pages_kernel;
	__aligned_u64	nr_equal;
	__aligned_u64	nr_fast;
	__aligned_u64	nr_runs;
	__aligned_u64	nr_by_level[RUST_GUP_NR_LEVELS];
	__aligned_u64	diff_addr;
	__aligned_u64	stop_addr;
	__u32		stop;
	__u32		reserved;
	__aligned_u64	nr_pages_first;
	__aligned_u64	nr_fast_first;
	__aligned_u64	stop_addr_first;
	__u32		stop_first;
	__s32		errno_first;
	__aligned_u64	nr_retries;
};

#define RUST_GUP_COMPARE_MAX_BYTES	(4ULL << 30)

/**
 * struct rust_gup_sample - one round of a measurement
 * @take_a: Cycles for engine A to take the range.
 * @take_b: Cycles for engine B to take the range.
 * @release_a: Cycles to release what A took.
 * @release_b: Cycles to release what B took.
 *
 * Cycles are those of get_cycles(), on x86 the time stamp counter. Under an emulator that counts instructions they are
 * instructions.
 */
struct rust_gup_sample {
	__aligned_u64	take_a;
	__aligned_u64	take_b;
	__aligned_u64	release_a;
	__aligned_u64	release_b;
};

/**
 * struct rust_gup_measure - time two engines on one range
 * @addr: As in struct rust_gup_pin.
 * @len_bytes: As in struct rust_gup_pin.
 * @flags: As in struct rust_gup_pin, without RUST_GUP_FAST_ONLY.
 * @rounds: Number of rounds, 1 to RUST_GUP_MEASURE_MAX_ROUNDS. Odd rounds run B before A.
 * @engine_a: RUST_GUP_ENGINE_*.
 * @engine_b: RUST_GUP_ENGINE_*.
 * @pages_per_call: Pages that each call of a round takes, 1 to RUST_GUP_MEASURE_MAX_PAGES_PER_CALL.
 * @reserved: Zero.
 * @samples: Address of an array of @rounds struct rust_gup_sample.
 * @rounds_done: Out: samples written.
 * @nr_pages: Out: pages that each engine took in each round.
 * @overhead_cycles: Out: cost of an empty measurement. Each sample contains it once a call.
 * @bookkeeping_a_bytes: Out: memory for the lists of one call with engine A: the array, the runs, or both. 0 without
 *	CAP_SYS_ADMIN, because it tells how the memory lies physically.
 * @bookkeeping_b_bytes: Out: the same for B.
 * @irqs_off_a_cycles: Out: the longest window in one more round of engine A, which is not among the samples. 0 if one
 *	entry served each call. Other users of the module at that time count, too. The kernel's functions do not tell:
 *	for RUST_GUP_ENGINE_KERNEL and _RANGES this is the longest call, an upper bound.
 * @irqs_off_b_cycles: Out: the same for B.
 *
 * The range must be resident: a round that takes fewer pages than the range has fails with EAGAIN.
 */
struct rust_gup_measure {
	__aligned_u64	addr;
	__aligned_u64	len_bytes;
	__u32		flags;
	__u32		rounds;
	__u32		engine_a;
	__u32		engine_b;
	__u32		pages_per_call;
	__u32		reserved;
	__aligned_u64	samples;
	__aligned_u64	rounds_done;
	__aligned_u64	nr_pages;
	__aligned_u64	overhead_cycles;
	__aligned_u64	bookkeeping_a_bytes;
	__aligned_u64	bookkeeping_b_bytes;
	__aligned_u64	irqs_off_a_cycles;
	__aligned_u64	irqs_off_b_cycles;
};

#define RUST_GUP_MEASURE_MAX_ROUNDS		100000U
#define RUST_GUP_MEASURE_MAX_PAGES_PER_CALL	(1U << 20)

#define RUST_GUP_NR_IRQS_OFF_BUCKETS	32

/**
 * struct rust_gup_stats - counters of the module since it was loaded
 * @nr_fast: Pages that the fast walk took.
 * @nr_slow: Pages that the kernel's slow path took because the fast walk had stopped.
 * @nr_runs: Runs that the fast walk took, with one reference operation each. 0 without CAP_SYS_ADMIN.
 * @nr_windows: Windows: sections with interrupts off, but for those that try a single entry. 0 without CAP_SYS_ADMIN,
 *	as are @irqs_off_max_cycles and @irqs_off.
 * @nr_handles: Handles that exist now.
 * @nr_held_pages: Pages that these handles hold now.
 * @irqs_off_max_cycles: The longest window.
 * @irqs_off: Windows by length: [i] counts those of 2^i up to 2^(i+1) - 1 cycles.
 * @stops: How often the fast walk stopped for each RUST_GUP_STOP_*.
 */
struct rust_gup_stats {
	__aligned_u64	nr_fast;
	__aligned_u64	nr_slow;
	__aligned_u64	nr_runs;
	__aligned_u64	nr_windows;
	__aligned_u64	nr_handles;
	__aligned_u64	nr_held_pages;
	__aligned_u64	irqs_off_max_cycles;
	__aligned_u64	irqs_off[RUST_GUP_NR_IRQS_OFF_BUCKETS];
	__aligned_u64	stops[RUST_GUP_NR_STOPS];
};

#define RUST_GUP_IOC_TYPE	'G'

#define RUST_GUP_IOC_INFO	_IOR(RUST_GUP_IOC_TYPE, 0x40, struct rust_gup_info)
#define RUST_GUP_IOC_PIN	_IOWR(RUST_GUP_IOC_TYPE, 0x41, struct rust_gup_pin)
#define RUST_GUP_IOC_UNPIN	_IOW(RUST_GUP_IOC_TYPE, 0x42, struct rust_gup_unpin)
#define RUST_GUP_IOC_READ	_IOW(RUST_GUP_IOC_TYPE, 0x43, struct rust_gup_copy)
#define RUST_GUP_IOC_WRITE	_IOW(RUST_GUP_IOC_TYPE, 0x44, struct rust_gup_copy)
#define RUST_GUP_IOC_RUNS	_IOWR(RUST_GUP_IOC_TYPE, 0x45, struct rust_gup_runs)
#define RUST_GUP_IOC_COMPARE	_IOWR(RUST_GUP_IOC_TYPE, 0x46, struct rust_gup_compare)
#define RUST_GUP_IOC_MEASURE	_IOWR(RUST_GUP_IOC_TYPE, 0x47, struct rust_gup_measure)
#define RUST_GUP_IOC_STATS	_IOR(RUST_GUP_IOC_TYPE, 0x48, struct rust_gup_stats)

#endif /* _UAPI_RUST_GUP_H */
