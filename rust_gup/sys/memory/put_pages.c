// SPDX-License-Identifier: GPL-2.0
/*
 * Gives plain references back as a caller in C does. For pins the kernel exports unpin_user_pages()
 * and unpin_user_page_range_dirty_lock(). For references it exports only release_pages(), which
 * skips the huge zero page (folios_put_refs()), so that its references stay.
 */
#include "../kernel_api.h"

/* Gives back the pages of an array, one page at a time. */
void rust_gup_put_pages(struct page **pages, unsigned long nr_pages)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++)
		put_page(pages[i]);
}

/* Gives back consecutive pages, one folio at a time, like gup_folio_range_next(). */
void rust_gup_put_page_range(struct page *page, unsigned long nr_pages)
{
	unsigned long i, nr;

	for (i = 0; i < nr_pages; i += nr) {
		struct page *next = page + i;
		struct folio *folio = page_folio(next);

		nr = min(nr_pages - i, folio_nr_pages(folio) - folio_page_idx(folio, next));
		folio_put_refs(folio, nr);
	}
}
