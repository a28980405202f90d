// SPDX-License-Identifier: GPL-2.0

//! Fast GUP in Rust.
//!
//! `walk/` is the walk and its protocol, `gup/` serves requests, `sys/` is the running kernel, `kapi/` is the API for
//! other modules and the device, `device/` is the device, `uapi/` is its ABI, and `gup_test/` is the interface of the
//! kernel's selftests. `Documentation/design.rst` is the guide.

use core::{
    borrow::Borrow,
    sync::atomic::Ordering::Relaxed, //
};

use kernel::prelude::*;

#[cfg(BENCH_HOST)]
mod bench_host;
mod device;
mod gup;
mod gup_test;
mod kapi;
mod sys;
mod uapi;
pub mod walk;

use self::{
    device::OpenFile,
    sys::files::chardev::Registration, //
};

/// Version of the module.
const VERSION: &str = "0.1.0";

module! {
    type: RustGup,
    name: "rust_gup",
    authors: ["The rust_gup authors"],
    description: "Fast GUP in Rust: a lockless page-table walk, and a device to compare it with the kernel's",
    license: "GPL",
    params: {
        window_entries: u32 {
            default: 512,
            description: "Page-table entries taken at most with interrupts off, 1 to 65536",
        },
        gup_test: u32 {
            default: 0,
            description: "1: make /sys/kernel/debug/gup_test for the kernel's selftests; 2: call it rust_gup_test",
        },
    },
}

/// The loaded module.
#[pin_data]
struct RustGup {
    gup_test: Option<Pin<KBox<gup_test::File>>>,
    #[pin]
    device: Registration<OpenFile>,
}

impl kernel::InPlaceModule for RustGup {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                sys::check::layout::check()?;
                sys::machine::init();
                sys::counters::init();
                let window_entries = plain(module_parameters::window_entries.value());
                if !(1..=65536).contains(&window_entries) {
                    return Err(EINVAL);
                }
                gup::WINDOW_ENTRIES.store(window_entries, Relaxed);
            },
            // The debugfs file can fail for other reasons than lack of memory. So it comes first, when nobody can have
            // opened anything yet.
            gup_test: gup_test::file(module, plain(module_parameters::gup_test.value()))?,
            device <- Registration::new(module, c"rust_gup", 0o600),
        })
    }
}

/// Returns the value of a parameter: `value()` returns a reference in Linux 7.2, and the value itself since 7.3.
fn plain(value: impl Borrow<u32>) -> u32 {
    *value.borrow()
}
