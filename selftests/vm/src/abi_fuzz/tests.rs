// SPDX-License-Identifier: GPL-2.0

//! Verify that
//!
//! - the errors that the fuzzer expects of each call are those of `Documentation/uapi.rst`;
//! - a seed always makes the same script;
//! - a failing script is reduced to the operation that makes it fail.

use std::{
    collections::BTreeSet,
    time::Duration, //
};

use proptest::strategy::ValueTree;
use rust_gup_uapi::errno_name;

use super::{
    call::Call,
    maker,
    persona::Persona,
    script::{
        Argument,
        Operation, //
    }, //
};
use crate::harness::property;

/// A possible end of user space.
const LIMIT: u64 = 1 << 40;
const UAPI: &str = include_str!("../../../../Documentation/uapi.rst");

/// Returns the sections of the document that have `name` in their title.
fn sections<'a>(name: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    let is_line = |line: &str, with: char| line.len() > 2 && line.chars().all(|c| c == with);
    let mut starts = vec![];
    let lines: Vec<&str> = UAPI.lines().collect();
    for (nr, pair) in lines.windows(2).enumerate() {
        if ['=', '-'].iter().any(|&with| is_line(pair[1], with)) && !pair[0].is_empty() {
            starts.push(nr);
        }
    }
    starts.push(lines.len());
    let mut found = vec![];
    for pair in starts.windows(2) {
        let title = lines[pair[0]];
        if title.split([',', ' ']).any(|word| word == name) {
            let from = UAPI.find(title).expect("the title");
            let to = lines.get(pair[1]).and_then(|next| UAPI[from..].find(next));
            found.push(&UAPI[from..to.map_or(UAPI.len(), |to| from + to)]);
        }
    }
    found.into_iter()
}

/// Returns the error numbers that a text names.
fn errors_in(text: &str) -> BTreeSet<String> {
    let quoted = text.split("``").skip(1).step_by(2);
    let is_error = |word: &&str| {
        word.starts_with('E') && word.len() > 3 && word.chars().all(|c| c.is_ascii_alphanumeric())
    };
    quoted.filter(is_error).map(str::to_owned).collect()
}

#[test]
fn the_document_has_the_same_errors() {
    let name_of = |call: Call| format!("RUST_GUP_IOC_{}", format!("{call:?}").to_uppercase());
    for call in Call::ALL {
        let mut documented: BTreeSet<String> =
            sections(&name_of(call)).flat_map(errors_in).collect();
        assert!(
            sections(&name_of(call)).count() > 0,
            "{call:?} has a section"
        );
        // The document lists these errors once, for all calls.
        documented.extend(["EFAULT", "EINVAL"].map(str::to_owned));
        if !matches!(call, Call::Info | Call::Stats) {
            documented.insert("E2BIG".to_owned());
        }
        if call == Call::Write || call == Call::Read {
            // READ and WRITE share a section, but only WRITE returns EACCES.
            documented.insert("EACCES".to_owned());
        }
        let mut expected: BTreeSet<String> = call.documented().iter().map(errno_name).collect();
        expected.remove("success");
        if call == Call::Read {
            expected.insert("EACCES".to_owned());
        }
        if call == Call::Measure {
            // MEASURE lists as "Others" the answer of an engine for the first page of a call. These are the errors of
            // PIN.
            documented.extend(sections("RUST_GUP_IOC_PIN").flat_map(errors_in));
        }
        assert_eq!(documented, expected, "{call:?}");
    }
}

#[test]
fn a_seed_makes_a_script() {
    for persona in Persona::ALL {
        let make = |seed| {
            let mut runner = property::runner_of(seed, 0, Duration::ZERO);
            let tree = maker::script(persona.scope(), LIMIT, &mut runner);
            format!("{:?}", tree.expect("a script").current())
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}

#[test]
fn what_fails_becomes_short_and_plain() {
    for persona in Persona::ALL {
        let mut runner = property::runner_of(7, 0, Duration::from_secs(60));
        let tree = maker::script(persona.scope(), LIMIT, &mut runner).expect("a script");
        let nr_threads = tree.current().threads.len();
        let is_pin = |operation: &Operation| matches!(operation, Operation::Call(call) if call.number == Call::Pin.number());
        let mut shortest = None;
        let result = property::run(&mut runner, tree, |script| {
            if script.threads.iter().flatten().any(is_pin) {
                shortest = Some(script);
                return Err("that is wrong".to_owned());
            }
            Ok(())
        });
        assert!(result.is_err(), "{persona:?}");
        let shortest = shortest.expect("one that failed");
        assert_eq!(shortest.threads.len(), nr_threads);
        let operations: Vec<_> = shortest.threads.iter().flatten().collect();
        let [Operation::Call(call)] = operations[..] else {
            panic!("{operations:?}");
        };
        assert!(call.unknown_byte.is_none() && !call.compat && call.argument == Argument::Good(0));
    }
}
