// SPDX-License-Identifier: GPL-2.0

//! Command-line tool for `/dev/rust_gup`.

fn main() -> std::process::ExitCode {
    match rust_gup_uapi::Device::open().and_then(|device| device.info()) {
        Ok(info) => {
            println!("rust_gup {}", info.module_version());
            std::process::ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("gupctl: {err}");
            std::process::ExitCode::from(2)
        }
    }
}
