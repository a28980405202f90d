// SPDX-License-Identifier: GPL-2.0

//! Sizes in the form in which people write them.

/// Parses `4096`, `64K`, `2M`, `1G` (also `2MiB`): powers of 1024, no fractions, not 0.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("`{unit}` is not a unit of size, use K, M, G or T")),
    };
    digits
        .parse::<usize>()
        .ok()
        .filter(|&number| number > 0)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is not a size, write 4096, 64K, 2M or 1G"))
}

/// A list of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes(pub(crate) Vec<usize>);

/// Parses one size, or a range such as `4K..1G`: the first size, eight times as much each time, and the last size.
pub(crate) fn parse_range(text: &str) -> Result<Sizes, String> {
    let Some((first, last)) = text.split_once("..") else {
        return Ok(Sizes(vec![parse(text)?]));
    };
    let (first, last) = (parse(first)?, parse(last)?);
    if first > last {
        return Err(format!("`{text}` ends before it begins"));
    }
    let sizes = std::iter::successors(Some(first), |size: &usize| size.checked_mul(8));
    let mut sizes: Vec<_> = sizes.take_while(|size| *size < last).collect();
    sizes.push(last);
    Ok(Sizes(sizes))
}

/// Formats a size exactly, in the largest unit that needs no fraction.
pub(crate) fn format(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    units
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes % (1 << shift) == 0)
        .map_or_else(
            || format!("{bytes}"),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_as_they_went_in() {
        for (text, bytes) in [
            ("1", 1),
            ("4097", 4097),
            ("4K", 4096),
            ("2M", 2 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes));
            assert_eq!(format(bytes as u64), text);
        }
        assert_eq!(parse("2MiB"), parse("2048k"));
    }

    #[test]
    fn ranges_hold_their_ends() {
        let sizes = |text| parse_range(text).map(|sizes| sizes.0);
        assert_eq!(sizes("4K"), Ok(vec![4096]));
        assert_eq!(sizes("4K..2M"), Ok(vec![4096, 32768, 262_144, 2 << 20]));
        assert_eq!(sizes("4K..5K"), Ok(vec![4096, 5120]));
        assert_eq!(sizes("4K..4K"), Ok(vec![4096]));
        for text in ["..", "4K..", "..4K", "2M..4K", "4K..2M..1G"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "M", "-1", "1.5G", "2X", "99999999999T"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
