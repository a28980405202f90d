// SPDX-License-Identifier: GPL-2.0

//! The walker's tests. Verify that
//!
//! - on a format that is small enough, every shape of the tables and every range gives the pages that are mapped
//!   ([`exhaustive`]);
//! - whatever happens during a walk, at whatever point, no reference is lost or left over, and the walk hands out no
//!   page that somebody else could have freed or shared ([`adversary`]);
//! - all of that holds for the formats of real machines, and so do the rules for their own bits ([`formats`]);
//! - hints about pages to come are given where the CPU has none of its own ([`hints`]);
//! - machines that differ from x86-64 are served, too ([`machines`]);
//! - a page that is refused is refused for the right reason, and leaves nothing behind ([`reasons`]);
//! - threads that reorder loads and stores find no way around the barriers ([`threads`]);
//! - windows, runs and room do not change which pages are taken ([`windows`]).

mod adversary;
mod exhaustive;
mod formats;
mod hints;
mod machines;
mod reasons;
mod threads;
mod windows;
