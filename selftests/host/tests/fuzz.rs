// SPDX-License-Identifier: GPL-2.0

//! The fuzz targets, without a fuzzer: the saved inputs, random inputs from a fixed seed, and as many from SEED, for
//! which `scripts/cargo test` chooses a new value each time. Verify that none of them finds something wrong.

use std::{env, fs, path::Path};

use rust_gup_host::fuzz::{Target, TARGETS};

/// Returns the saved inputs of a target.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("corpus/{name}.hex"));
    let text = fs::read_to_string(&path).expect("the corpus");
    let inputs = text.lines().filter(|line| !line.starts_with('#'));
    inputs.map(bytes).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    assert!(line.len() % 2 == 0, "half a byte: {line}");
    (0..line.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn bytes(&mut self, nr: usize) -> Vec<u8> {
        (0..nr).map(|_| self.next() as u8).collect()
    }
}

/// Prints the input, if the test fails.
struct Report<'a>(&'a [u8]);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("the input was ");
            self.0.iter().for_each(|byte| eprint!("{byte:02x}"));
            eprintln!();
        }
    }
}

fn run(target: Target, input: &[u8]) {
    let report = Report(input);
    target(input);
    drop(report);
}

fn fuzz(name: &str, nr_random: usize, max_len: u64) {
    let (_, target) = TARGETS
        .into_iter()
        .find(|(other, _)| *other == name)
        .expect("a target");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "nothing is saved");
    for input in &corpus {
        run(target, input);
    }
    let given = env::var("SEED").ok().filter(|seed| !seed.is_empty());
    let given = given.map(|seed| seed.parse().expect("SEED is a number"));
    for seed in [1].into_iter().chain(given) {
        fuzz_from(seed, target, &corpus, nr_random, max_len);
    }
}

fn fuzz_from(seed: u64, target: Target, corpus: &[Vec<u8>], nr_random: usize, max_len: u64) {
    let mut random = Random(seed);
    for _ in 0..nr_random {
        // Half of the inputs are saved inputs with some bytes changed.
        let input = if random.next() % 2 == 0 {
            let nr = random.next() % max_len;
            random.bytes(nr as usize)
        } else {
            let mut input = corpus[random.next() as usize % corpus.len()].clone();
            for _ in 0..random.next() % 4 {
                if !input.is_empty() {
                    let at = random.next() as usize % input.len();
                    input[at] = random.next() as u8;
                }
            }
            input
        };
        run(target, &input);
    }
}

#[test]
fn decode() {
    fuzz("decode", 1_000_000, 24);
}

#[test]
fn walk() {
    fuzz("walk", 150_000, 160);
}
