// SPDX-License-Identifier: GPL-2.0

//! Takes the pages of a buffer, reads through them, and releases them.

use std::{
    io,
    process::ExitCode, //
};

use rust_gup_uapi::{
    Device,
    Engine,
    How,
    Request, //
};

fn main() -> ExitCode {
    match hello() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("hello_pin: {err}");
            ExitCode::FAILURE
        }
    }
}

fn hello() -> io::Result<()> {
    let buffer = b"hello, pin".repeat(10_000);

    let device = Device::open()?;
    // For long, because this program decides when the pages are released.
    let request = Request::new(buffer.as_ptr().addr(), buffer.len()).how(How::LongTerm);
    let pinned = device.pin(&request, Engine::Rust)?;
    println!(
        "holding {} pages in {} runs, {} of them taken without a lock",
        pinned.nr_pages(),
        pinned.nr_runs(),
        pinned.nr_fast(),
    );

    // Reads through the held pages, as a device with DMA would see them.
    let mut copy = [0; 10];
    pinned.read(50_000, &mut copy)?;
    println!("read through them: {}", String::from_utf8_lossy(&copy));

    pinned.release()
}
