// SPDX-License-Identifier: GPL-2.0

//! The walker's tests. Verify that
//!
//! - on a format small enough, every shape of the tables and every range gives the pages that are mapped
//!   ([`exhaustive`]);
//! - whatever happens under a walk, at whatever point, no reference is lost or left over, and no page is handed out
//!   that somebody else could have freed or shared ([`adversary`]);
//! - all of that, and their own bits, hold for the formats of real machines ([`formats`]);
//! - what other machines do in another way is served, too ([`machines`]);
//! - a page that is refused is refused for the right reason, and leaves nothing behind ([`reasons`]);
//! - threads that reorder loads and stores find no way around the barriers ([`threads`]);
//! - windows, runs and room change nothing about what is taken ([`windows`]).

mod adversary;
mod exhaustive;
mod formats;
mod machines;
mod reasons;
mod threads;
mod windows;
