// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest module that pins user memory through rust_gup.ko: it maps a buffer into the process that loads it,
 * pins the buffer as a driver would for DMA, and makes a scatter list from the runs.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/scatterlist.h>

#include "../../rust_gup/include/rust_gup_api.h"

static int make_list(const struct rust_gup_range *range, size_t nr_runs, struct sg_table *table)
{
	struct rust_gup_page_run run;
	struct scatterlist *sg;
	int ret;
	int i;

	ret = sg_alloc_table(table, nr_runs, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(table, sg, i) {
		if (rust_gup_runs(range, i, &run, 1) != 1) {
			sg_free_table(table);
			return -EINVAL;
		}
		/* The length of an entry has 32 bits; this buffer is short. */
		sg_set_page(sg, run.first, run.nr_pages << PAGE_SHIFT, 0);
	}
	return 0;
}

static int __init hello_dma_init(void)
{
	const size_t len_bytes = 1 << 20;
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

	ret = make_list(range, taken.nr_runs, &table);
	if (!ret) {
		/* Here a driver calls dma_map_sgtable(), has the device work, and calls dma_unmap_sgtable(). */
		pr_info("hello_dma: a scatter list of %u entries\n", table.orig_nents);
		sg_free_table(&table);
	}
	ret = rust_gup_release(range, RUST_GUP_WRITTEN) ?: ret;
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
