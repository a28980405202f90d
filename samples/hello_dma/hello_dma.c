// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest module that pins user memory through rust_gup.ko: it maps a buffer into the process that loads it,
 * pins the buffer as a driver would for DMA, and makes a scatter list from the runs.
 */
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "../../rust_gup/include/rust_gup_api.h"

/*
 * Makes one entry for each run. Asks for all runs at once, because each call searches for its first
 * run from the beginning.
 */
static int make_list(const struct rust_gup_range *range, size_t nr_runs, struct sg_table *table)
{
	struct rust_gup_page_run *runs __free(kvfree) = kvmalloc_array(nr_runs, sizeof(*runs), GFP_KERNEL);
	struct scatterlist *sg;
	int ret;
	int i;

	if (!runs)
		return -ENOMEM;
	if (rust_gup_runs(range, 0, runs, nr_runs) != nr_runs)
		return -EINVAL;
	ret = sg_alloc_table(table, nr_runs, GFP_KERNEL);
	if (ret)
		return ret;
	/* A device may limit the length of an entry. This buffer is short enough. */
	for_each_sgtable_sg(table, sg, i)
		sg_set_page(sg, runs[i].first, runs[i].nr_pages << PAGE_SHIFT, 0);
	return 0;
}

static int __init hello_dma_init(void)
{
	const size_t len_bytes = 1 << 20;
	enum rust_gup_contents contents = RUST_GUP_UNCHANGED;
	struct rust_gup_range *range;
	struct rust_gup_taken taken;
	struct sg_table table;
	unsigned long addr;
	int ret;

	addr = vm_mmap(NULL, 0, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, 0);
	if (IS_ERR_VALUE(addr))
		return addr;
	range = rust_gup_take(addr, len_bytes, RUST_GUP_PIN | RUST_GUP_LONGTERM | RUST_GUP_WRITE, &taken);
	if (IS_ERR(range)) {
		ret = PTR_ERR(range);
		goto unmap;
	}
	pr_info("hello_dma: %zu pages in %zu runs, %zu of them taken without a lock\n",
		taken.nr_pages, taken.nr_runs, taken.nr_fast);

	/* A short count is no error of the call, but a device needs the whole buffer. */
	ret = -EFAULT;
	if (taken.nr_pages != len_bytes >> PAGE_SHIFT)
		goto release;

	ret = make_list(range, taken.nr_runs, &table);
	if (ret)
		goto release;
	pr_info("hello_dma: a scatter list of %u entries\n", table.orig_nents);
	/*
	 * Here a driver calls dma_map_sgtable(), lets the device work, and calls
	 * dma_unmap_sgtable(). Once the device was told to write, it may have written, whether or
	 * not it has finished.
	 */
	contents = RUST_GUP_WRITTEN;
	sg_free_table(&table);
release:
	ret = rust_gup_release(range, contents) ?: ret;
unmap:
	vm_munmap(addr, len_bytes);
	return ret;
}

static void __exit hello_dma_exit(void)
{
}

module_init(hello_dma_init);
module_exit(hello_dma_exit);
MODULE_AUTHOR("The rust_gup authors");
MODULE_DESCRIPTION("The smallest module that pins user memory through rust_gup");
MODULE_LICENSE("GPL");
