/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The calls of /dev/edu_dma. With them a process makes QEMU's edu device read and write its memory.
 */
#ifndef EDU_DMA_H
#define EDU_DMA_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define EDU_DMA_DEVICE_PATH	"/dev/edu_dma"

/* The device has this much memory of its own. */
#define EDU_DMA_DEVICE_BYTES	4096U
/* The most bytes of a buffer, and the most buffers of an open file. */
#define EDU_DMA_MAX_BYTES	(1ULL << 30)
#define EDU_DMA_MAX_BUFFERS	64U

/* How the pages of a buffer are taken and listed. */
#define EDU_DMA_RUNS		0U	/* rust_gup_take(); a scatter list made from its runs. */
#define EDU_DMA_PAGES		1U	/* rust_gup_take(), written out as an array of pages; a list made from that. */
#define EDU_DMA_KERNEL		2U	/* pin_user_pages_fast(), as most drivers do; a list made from its array. */

/* struct edu_dma_register.flags */
#define EDU_DMA_WRITABLE	(1U << 0)	/* The device will write to the buffer. */

/**
 * struct edu_dma_register - pin a buffer for long and map it for the device
 * @addr: First byte.
 * @len_bytes: Number of bytes, 1 to EDU_DMA_MAX_BYTES.
 * @flags: EDU_DMA_WRITABLE.
 * @method: EDU_DMA_RUNS, _PAGES or _KERNEL.
 * @handle: Out: names the buffer.
 * @nr_pages: Out: pages that are pinned.
 * @nr_fast: Out: how many of them the walk without locks took; 0 with EDU_DMA_KERNEL, which does not say.
 * @nr_entries: Out: entries of the scatter list.
 * @nr_segments: Out: pieces of the device's address space that the buffer was mapped to.
 * @list_bytes: Out: memory for the lists of the pages: the runs or the array of pages, and the
 *	scatter list.
 * @dma_addr: Out: the address at which the device sees the first byte.
 * @take_ns: Out: time for pinning.
 * @list_ns: Out: time for making the scatter list.
 * @map_ns: Out: time for mapping the list.
 * @stop_addr: Out: where the walk first stopped, if @stop is not 0.
 * @stop: Out: RUST_GUP_STOP_*, why.
 * @reserved: Zero.
 *
 * Either the whole buffer is pinned or nothing. If the call fails, @stop and @stop_addr say why and
 * where. All fields from @nr_entries to @map_ns are 0 for callers without CAP_SYS_ADMIN, because
 * they tell the physical layout of the memory.
 */
struct edu_dma_register {
	__aligned_u64	addr;
	__aligned_u64	len_bytes;
	__u32		flags;
	__u32		method;
	__aligned_u64	handle;
	__aligned_u64	nr_pages;
	__aligned_u64	nr_fast;
	__aligned_u64	nr_entries;
	__aligned_u64	nr_segments;
	__aligned_u64	list_bytes;
	__aligned_u64	dma_addr;
	__aligned_u64	take_ns;
	__aligned_u64	list_ns;
	__aligned_u64	map_ns;
	__aligned_u64	stop_addr;
	__u32		stop;
	__u32		reserved;
};

/**
 * struct edu_dma_unregister - unmap a buffer and release its pages
 * @handle: From struct edu_dma_register.
 * @unmap_ns: Out: time for unmapping, and for freeing the scatter list. 0 without CAP_SYS_ADMIN.
 *	Also 0 if a transfer still uses the buffer, which is then unmapped at the end of the
 *	transfer.
 * @release_ns: Out: time for releasing the pages. Likewise.
 *
 * Pages that the device has written to are marked dirty.
 */
struct edu_dma_unregister {
	__aligned_u64	handle;
	__aligned_u64	unmap_ns;
	__aligned_u64	release_ns;
};

/* struct edu_dma_transfer.direction */
#define EDU_DMA_TO_DEVICE	0U
#define EDU_DMA_FROM_DEVICE	1U

/**
 * struct edu_dma_transfer - make the device copy
 * @handle: From struct edu_dma_register.
 * @offset: First byte in the buffer.
 * @len_bytes: Number of bytes.
 * @device_offset: First byte in the device's memory.
 * @direction: EDU_DMA_TO_DEVICE, or EDU_DMA_FROM_DEVICE, which needs EDU_DMA_WRITABLE.
 * @done_bytes: Out: bytes that were copied, all of them if the call succeeds.
 * @transfer_ns: Out: time.
 *
 * The device copies in chunks. Each chunk lies in one page and takes the device 100 ms.
 */
struct edu_dma_transfer {
	__aligned_u64	handle;
	__aligned_u64	offset;
	__aligned_u64	len_bytes;
	__u32		device_offset;
	__u32		direction;
	__aligned_u64	done_bytes;
	__aligned_u64	transfer_ns;
};

#define EDU_DMA_IOC_TYPE	'E'

#define EDU_DMA_IOC_REGISTER	_IOWR(EDU_DMA_IOC_TYPE, 0x40, struct edu_dma_register)
#define EDU_DMA_IOC_UNREGISTER	_IOWR(EDU_DMA_IOC_TYPE, 0x41, struct edu_dma_unregister)
#define EDU_DMA_IOC_TRANSFER	_IOWR(EDU_DMA_IOC_TYPE, 0x42, struct edu_dma_transfer)

#endif /* EDU_DMA_H */
