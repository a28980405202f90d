// SPDX-License-Identifier: GPL-2.0

//! The smallest useful program for `/dev/edu_dma`: it hands the driver a buffer, sends a text from the beginning of the
//! buffer to the device, and makes the device write the text to the end of the buffer.

use std::{
    io,
    process::ExitCode, //
};

use rust_gup_memory::Kind;
use rust_gup_uapi::edu::{
    Edu,
    Method,
    Use, //
};

const TEXT: &[u8] = b"hello, device";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("that is not what was sent");
            ExitCode::FAILURE
        }
        Err(err) => {
            eprintln!("edu_copy: {err}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<bool> {
    // This memory lends no references, because the device writes to it.
    let mut memory = Kind::Thp2m.map(2 << 20)?;
    let end = memory.len_bytes() - TEXT.len();
    memory.write(0, TEXT)?;

    let edu = Edu::open()?;
    let buffer = edu.register(
        memory.addr(),
        memory.len_bytes(),
        Use::ReadWrite,
        Method::Runs,
    )?;
    let raw = buffer.raw();
    println!(
        "pinned {} pages for long, {} of them without a lock; {} in the scatter list",
        raw.nr_pages,
        raw.nr_fast,
        if raw.nr_entries == 1 {
            "1 entry".into()
        } else {
            format!("{} entries", raw.nr_entries)
        },
    );
    println!("the device sees them at {:#x}", raw.dma_addr);

    let there_ns = buffer.copy_to_device(0, TEXT.len(), 0)?;
    // SAFETY: Nobody has a reference to this memory.
    let back_ns = unsafe { buffer.copy_from_device(end, TEXT.len(), 0) }?;
    println!(
        "{} bytes went to the device in {} ms and came back in {} ms",
        TEXT.len(),
        there_ns / 1_000_000,
        back_ns / 1_000_000
    );
    buffer.unregister()?;

    let mut received = [0; TEXT.len()];
    memory.read(end, &mut received)?;
    println!(
        "at the end of the buffer: {}",
        String::from_utf8_lossy(&received)
    );
    Ok(received == TEXT)
}
