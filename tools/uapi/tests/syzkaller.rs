// SPDX-License-Identifier: GPL-2.0

//! Verify that `Documentation/syzkaller/rust_gup.txt` agrees with the header:
//!
//! - it has each call, with its structure and its direction;
//! - each structure has the header's fields, in the same order and with the same sizes;
//! - it uses each constant of the header, and no other constant with our prefix.

use std::collections::{
    BTreeMap,
    BTreeSet, //
};

use rust_gup_uapi::raw;

const DESCRIPTION: &str = include_str!("../../../Documentation/syzkaller/rust_gup.txt");
const HEADER: &str = include_str!("../../../rust_gup/uapi/rust_gup.h");

/// Constants for which a description has no use.
const NOT_DESCRIBED: [&str; 4] = [
    // The description has their values instead.
    "RUST_GUP_DEVICE_PATH",
    "RUST_GUP_IOC_TYPE",
    // Limits of valid values. If a limit is small, syzkaller tries values on both sides of it.
    "RUST_GUP_COMPARE_MAX_BYTES",
    "RUST_GUP_MEASURE_MAX_ROUNDS",
];

/// Names and sizes of the fields of a structure.
type Fields = Vec<(String, usize)>;

/// Parses the structures of the header.
fn header_structures() -> BTreeMap<String, Fields> {
    let mut structures = BTreeMap::new();
    let mut lines = HEADER.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line
            .strip_prefix("struct ")
            .and_then(|l| l.strip_suffix(" {"))
        else {
            continue;
        };
        let fields = lines
            .by_ref()
            .take_while(|line| *line != "};")
            .map(|line| {
                let line = line.trim().trim_end_matches(';');
                let (kind, field) = line.split_once(char::is_whitespace).expect("a field");
                let size = match kind {
                    "__u8" => 1,
                    "__u32" | "__s32" => 4,
                    "__aligned_u64" => 8,
                    _ => panic!("a field of type {kind}"),
                };
                match field.trim().split_once('[') {
                    None => (field.trim().to_owned(), size),
                    Some((field, nr)) => {
                        (field.to_owned(), size * number(nr.trim_end_matches(']')))
                    }
                }
            })
            .collect();
        structures.insert(name.to_owned(), fields);
    }
    structures
}

/// Parses the structures of the description. A structure with several forms is listed under the name of each form.
fn described_structures() -> BTreeMap<String, Fields> {
    let mut structures = BTreeMap::new();
    let mut lines = DESCRIPTION.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_suffix(" {") else {
            continue;
        };
        let fields = lines
            .by_ref()
            .take_while(|line| *line != "}")
            .map(|line| {
                let (field, kind) = line.trim().split_once('\t').expect("a field");
                let kind = kind.trim().trim_end_matches("(out)").trim();
                (field.to_owned(), size_of_type(kind))
            })
            .collect();
        structures.insert(name.to_owned(), fields);
    }
    structures
}

/// Returns the size of a type of the description.
fn size_of_type(kind: &str) -> usize {
    let (name, options) = match kind.split_once('[') {
        None => (kind, ""),
        Some((name, options)) => (name, options.strip_suffix(']').expect("a bracket")),
    };
    let last = options.rsplit(", ").next().expect("an option");
    match name {
        "int8" => 1,
        "int32" => 4,
        "int64" | "vma64" | "ptr64" | "rust_gup_handle" => 8,
        "const" | "flags" | "len" | "bytesize" => size_of_type(last),
        "array" => {
            let (of, nr) = options.split_once(", ").expect("a size");
            size_of_type(of) * number(nr)
        }
        _ => panic!("a field of type {kind}"),
    }
}

/// Parses a number, or one of the constants that are sizes.
fn number(text: &str) -> usize {
    let number = match text {
        "RUST_GUP_NR_LEVELS" => raw::RUST_GUP_NR_LEVELS,
        "RUST_GUP_NR_STOPS" => raw::RUST_GUP_NR_STOPS,
        "RUST_GUP_NR_IRQS_OFF_BUCKETS" => raw::RUST_GUP_NR_IRQS_OFF_BUCKETS,
        _ => text.parse().expect("a number"),
    };
    number as usize
}

/// Returns all whole words of a text that begin with RUST_GUP_, without those in comments.
fn constants(text: &str) -> BTreeSet<&str> {
    let code = text.lines().filter(|line| !line.starts_with('#'));
    code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("RUST_GUP_"))
        .collect()
}

#[test]
fn structures() {
    let header = header_structures();
    assert_eq!(header.len(), 10, "structures of the header");
    let described = described_structures();
    for (name, fields) in &described {
        let base = name.split('$').next().expect("a name");
        assert_eq!(Some(fields), header.get(base), "{name}");
    }
    for name in header.keys() {
        let is_described = described.keys().any(|d| d.split('$').next() == Some(name));
        assert!(is_described, "{name} is not described");
    }
}

#[test]
fn calls() {
    let described = described_structures();
    let mut seen = BTreeSet::new();
    for line in DESCRIPTION.lines().filter(|l| l.starts_with("ioctl$")) {
        let name = line[6..].split(['(', '$']).next().expect("a name");
        let (_, argument) = line.split_once("arg ptr[").expect("an argument");
        let (direction, structure) = argument.split_once(", ").expect("a direction");
        let structure = structure.trim_end_matches("])");
        assert!(
            line.contains(&format!("(fd fd_rust_gup, cmd const[{name}], ")),
            "{line}"
        );
        assert!(described.contains_key(structure), "{line}: no {structure}");
        let base = structure.split('$').next().expect("a name");
        let macro_name = match direction {
            "in" => "_IOW",
            "out" => "_IOR",
            "inout" => "_IOWR",
            _ => panic!("{line}: direction {direction}"),
        };
        let is_defined = HEADER.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("#define")
                && words.next() == Some(name)
                && line.contains(&format!("{macro_name}(RUST_GUP_IOC_TYPE"))
                && line.ends_with(&format!("struct {base})"))
        });
        assert!(is_defined, "{name} is not as in the header: {line}");
        seen.insert(name);
    }
    let calls = HEADER
        .lines()
        .filter(|line| line.contains("_IO") && line.contains("struct "));
    assert_eq!(
        calls.count(),
        seen.len(),
        "calls of the header, and described"
    );
}

#[test]
fn all_constants() {
    let defined: BTreeSet<&str> = HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("RUST_GUP_"))
        .collect();
    let used = constants(DESCRIPTION);
    let described: BTreeSet<&str> = defined
        .iter()
        .copied()
        .filter(|name| !NOT_DESCRIBED.contains(name))
        .collect();
    assert_eq!(used, described);
}

#[test]
fn what_is_declared_is_used() {
    let uses = |name: &str| {
        let words = DESCRIPTION.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$');
        words.filter(|word| *word == name).count() > 1
    };
    let flags = DESCRIPTION.lines().filter_map(|l| l.split_once(" = "));
    let structures = described_structures();
    let names = flags
        .map(|(name, _)| name)
        .chain(structures.keys().map(String::as_str))
        .chain(["fd_rust_gup", "rust_gup_handle"]);
    for name in names {
        assert!(uses(name), "{name} is declared and not used");
    }
}
