// SPDX-License-Identifier: GPL-2.0
/*
 * How a caller in C gives plain references back. For pins there are unpin_user_pages() and
 * unpin_user_page_range_dirty_lock(); for references the kernel exports nothing of the kind but release_pages(), which
 * passes over the huge zero page (folios_put_refs()), so that its references stay.
 */
#include "../kernel_api.h"

/* Of an array: a step a page. */
void rust_gup_put_pages(struct page **pages, unsigned long nr_pages)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++)
		put_page(pages[i]);
}

/* Of pages in a row: a step a folio, as gup_folio_range_next() goes. */
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
