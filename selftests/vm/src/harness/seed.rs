// SPDX-License-Identifier: GPL-2.0

//! Seeds of random numbers. A run uses one seed that is always the same, which shows at once whether something has
//! become worse, and one that nobody has tried yet. Both are printed, and each can be given on the command line.

use std::{
    collections::hash_map::RandomState,
    hash::{
        BuildHasher,
        Hasher, //
    },
    num::ParseIntError, //
};

/// The seed that is always the same.
pub(crate) const FIXED: u64 = 1;

/// Returns a seed that nobody has tried yet. It is short, because somebody has to type it again if it finds something.
pub(crate) fn new() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

/// Parses a seed.
pub(crate) fn parse(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

/// Returns all seeds of a run as text for people.
pub(crate) fn names(seeds: &[u64]) -> String {
    let names: Vec<_> = seeds.iter().map(u64::to_string).collect();
    match &names[..] {
        [one] => format!("seed {one}"),
        _ => format!("seeds {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{names, new, parse};

    #[test]
    fn what_is_printed_can_be_asked_for() {
        let seeds = [1, new()];
        let printed = names(&seeds);
        let words = printed.strip_prefix("seeds ").expect("several");
        let again: Vec<_> = words.split(", ").flat_map(parse).collect();
        assert_eq!(again, seeds);
        assert_eq!(names(&[7]), "seed 7");
        assert_eq!(parse("0x1f"), Ok(31));
        assert!(parse("any").is_err());
    }

    #[test]
    fn each_run_has_another() {
        assert_ne!([new(), new()], [new(), new()]);
    }
}
