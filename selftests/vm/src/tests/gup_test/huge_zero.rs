// SPDX-License-Identifier: GPL-2.0

//! Verify that each command releases all references that it takes on the huge zero page.

use rust_gup_memory::size::pmd_bytes;

use super::*;
use crate::tests::huge_zero::come_and_go;

pub(super) fn tests() -> Vec<Test> {
    let test = Test::new("gup_test", "huge_zero::goes", goes)
        .expect_log(&["gup_test", "---- page"])
        .expect_dump(&[DUMP]);
    vec![test]
}

fn goes() {
    drop(GupFile::ours());
    for command in COMMANDS.into_iter().chain([DUMP_USER_PAGES_TEST]) {
        if command == PIN_LONGTERM_BENCHMARK {
            // A long-term pin takes pages of its own instead of the huge zero page.
            continue;
        }
        come_and_go(&format!("{command:#x}"), |map| {
            let file = GupFile::ours();
            for nr_per_call in [1, 100, map.nr_pages()] {
                let mut asked = GupTest::of(map, nr_per_call, 0);
                // Dump only in the last round. More dumps would not fit into the kernel's log.
                asked.which_pages[0] = u32::from(nr_per_call == map.nr_pages());
                for test_flags in [0, 1] {
                    asked.test_flags = test_flags;
                    assert_eq!(file.run(command, asked).size, pmd_bytes() as u64);
                }
            }
        });
    }
}
