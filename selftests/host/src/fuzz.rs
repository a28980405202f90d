// SPDX-License-Identifier: GPL-2.0

//! What is fuzzed. Each function takes bytes, makes of them whatever it needs, and panics if something is wrong.
