// SPDX-License-Identifier: GPL-2.0

//! Reads what `/proc` reports about memory.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    ops::Range,
    os::unix::fs::FileExt, //
};

use crate::size::page_bytes;

/// Bit of `/proc/PID/pagemap`: the page is present.
pub const PAGEMAP_PRESENT: u64 = 1 << 63;

/// Reads the entries of `/proc/PROCESS/pagemap` for the pages `[addr, addr + nr_pages pages)`. `process` may be `self`.
pub fn pagemap(process: &str, addr: usize, nr_pages: usize) -> io::Result<Vec<u64>> {
    read_words(
        &format!("/proc/{process}/pagemap"),
        addr / page_bytes(),
        nr_pages,
    )
}

/// Reads `nr` words of a file that consists of words, from word number `first` on.
pub fn read_words(path: &str, first: usize, nr: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; nr * size_of::<u64>()];
    let at = first * size_of::<u64>();
    File::open(path)?.read_exact_at(
        &mut bytes,
        u64::try_from(at).expect("an offset has at most 64 bits"),
    )?;
    Ok(bytes
        .chunks_exact(size_of::<u64>())
        .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
        .collect())
}

/// Returns a field of `/proc/meminfo` in bytes, if this kernel has it.
pub fn meminfo(field: &str) -> io::Result<Option<usize>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(text.lines().find_map(|line| kib(line, field)))
}

/// Sums a field of `/proc/self/smaps` over the mappings that overlap with `range`, in bytes.
pub fn smaps(range: Range<usize>, field: &str) -> io::Result<usize> {
    let text = fs::read_to_string("/proc/self/smaps")?;
    Ok(smaps_bytes(&text, range, field))
}

/// Sums a field over the mappings that overlap with `range`.
fn smaps_bytes(smaps: &str, range: Range<usize>, field: &str) -> usize {
    let mut within = false;
    let mut sum = 0;
    for line in smaps.lines() {
        if let Some(mapping) = mapping_of(line) {
            within = mapping.start < range.end && range.start < mapping.end;
        } else if within {
            sum += kib(line, field).unwrap_or(0);
        }
    }
    sum
}

/// Returns the bytes of a line such as `Rss:    8 kB`, if it has this field.
fn kib(line: &str, field: &str) -> Option<usize> {
    let value = line.strip_prefix(field)?.strip_prefix(':')?;
    let kib: usize = value.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}

/// Returns the range of a line that begins the description of a mapping.
fn mapping_of(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_fields_are_summed_over_overlapping_mappings_only() {
        let smaps = "\
1000-3000 rw-p 00000000 00:00 0 \nRss:                   8 kB\nAnonHugePages:         4 kB\n\
3000-4000 rw-p 00000000 00:00 0 \nRss:                   4 kB\n\
9000-a000 r--p 00000000 00:00 0 [x]\nRss:                  64 kB\n";
        assert_eq!(smaps_bytes(smaps, 0x2000..0x4000, "Rss"), 12 << 10);
        assert_eq!(smaps_bytes(smaps, 0x1000..0x2000, "AnonHugePages"), 4 << 10);
        assert_eq!(smaps_bytes(smaps, 0x4000..0x9000, "Rss"), 0);
    }
}
