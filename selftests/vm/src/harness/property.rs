// SPDX-License-Identifier: GPL-2.0

//! Functions for tests with random values. A value depends on nothing but a seed and its number. A value that fails is
//! made shorter as long as it fails.

use std::{
    cell::RefCell,
    fmt::Debug,
    time::Duration, //
};

use proptest::{
    strategy::ValueTree,
    test_runner::{
        Config,
        Reason,
        RngAlgorithm,
        TestCaseError,
        TestError,
        TestRng,
        TestRunner, //
    }, //
};

/// Returns the runner that makes the value for a seed and a number. It makes a failing value shorter for at most
/// `shrink_for`.
pub(crate) fn runner_of(seed: u64, number: u64, shrink_for: Duration) -> TestRunner {
    const SHRINK_ITERATIONS: u32 = 5_000;
    let config = Config {
        failure_persistence: None,
        max_shrink_time: shrink_for.as_millis() as u32,
        max_shrink_iters: SHRINK_ITERATIONS,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(config, rng)
}

/// Runs `play` on a value, and on shorter values if it fails. The error shows the shortest value that fails, the reason
/// of that failure, and the reason of the first one.
pub(crate) fn run<T: ValueTree<Value: Debug>>(
    runner: &mut TestRunner,
    tree: T,
    play: impl FnMut(T::Value) -> Result<(), String>,
) -> Result<(), String> {
    let state = RefCell::new((play, None, 0));
    let result = runner.run_one(tree, |value| {
        let (play, first_failure, nr_played) = &mut *state.borrow_mut();
        *nr_played += 1;
        play(value).map_err(|why| {
            first_failure.get_or_insert_with(|| why.clone());
            TestCaseError::Fail(Reason::from(why))
        })
    });
    let (_, first_failure, nr_played) = state.into_inner();
    let (why, value) = match result {
        Ok(_) => return Ok(()),
        Err(TestError::Fail(why, value)) => (why, value),
        Err(TestError::Abort(why)) => return Err(format!("proptest: {why}")),
    };
    let first_failure = first_failure.unwrap_or_default();
    Err(format!(
        "at first:\n{first_failure}\nThe shortest of {nr_played} that were played:\n{value:?}\n{why}"
    ))
}
