// SPDX-License-Identifier: GPL-2.0

//! Sizes of pages on this machine, as the kernel reports them.

use std::{
    fs,
    sync::OnceLock, //
};

/// What a table of base pages maps on s390.
const SEGMENT_BYTES: usize = 1 << 20;

/// Returns the size of a base page.
pub fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Returns the size of a transparent huge page, which one entry of the second level maps: `HPAGE_PMD_SIZE`.
///
/// A kernel without huge pages does not report it. Then this is the size of a base page. On s390 it is that of a segment,
/// because there it depends on the machine whether such a kernel has huge pages.
pub fn pmd_bytes() -> usize {
    static PMD_BYTES: OnceLock<usize> = OnceLock::new();
    *PMD_BYTES.get_or_init(|| {
        fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .or_else(|| crate::proc::meminfo("Hugepagesize").ok().flatten())
            .unwrap_or_else(if cfg!(target_arch = "s390x") {
                || SEGMENT_BYTES
            } else {
                page_bytes
            })
    })
}

/// Returns how much one entry of the third level maps: the size of the largest huge pages for which the kernel has a
/// pool.
///
/// If there is no such pool, this is [`pmd_table_bytes()`].
pub fn pud_bytes() -> usize {
    static PUD_BYTES: OnceLock<usize> = OnceLock::new();
    *PUD_BYTES.get_or_init(|| {
        fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| bytes_of_folder(entry.file_name().to_str()?))
            .max()
            .filter(|&bytes| bytes > pmd_bytes())
            .unwrap_or_else(pmd_table_bytes)
    })
}

/// Returns how much a table of the second level maps, with all its entries: as many as a table of base pages has, except
/// on s390.
pub fn pmd_table_bytes() -> usize {
    let nr_entries = if cfg!(target_arch = "s390x") {
        2048
    } else {
        pmd_bytes() / page_bytes()
    };
    pmd_bytes() * nr_entries
}

/// Returns the name of the sysfs folder for huge pages of this size.
pub fn folder_name(bytes: usize) -> String {
    format!("hugepages-{}kB", bytes >> 10)
}

/// Returns the size of huge pages that such a folder is for.
pub fn bytes_of_folder(name: &str) -> Option<usize> {
    let kib: usize = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(kib << 10)
}

/// Formats a size in the largest unit that divides it, for people: `2 MiB`.
pub fn text(bytes: usize) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    units
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || format!("{bytes} bytes"),
            |(shift, unit)| format!("{} {unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_and_sizes_belong_together() {
        for bytes in [64 << 10, 2 << 20, 1 << 30] {
            assert_eq!(bytes_of_folder(&folder_name(bytes)), Some(bytes));
        }
        assert_eq!(bytes_of_folder("hugepages-kB"), None);
        assert_eq!(
            [
                text(64 << 10),
                text(2 << 20),
                text(3 << 30),
                text(0),
                text(1025)
            ],
            ["64 KiB", "2 MiB", "3 GiB", "0 bytes", "1025 bytes"]
        );
    }

    #[test]
    fn a_huge_page_is_made_of_base_pages() {
        assert_eq!(pmd_bytes() % page_bytes(), 0);
        assert_eq!(pud_bytes() % pmd_bytes(), 0);
    }
}
