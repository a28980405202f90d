// SPDX-License-Identifier: GPL-2.0

//! Modules, and rust_gup itself, that come and go.

use std::{
    ffi::{
        CStr,
        CString, //
    },
    fs::{
        self,
        File, //
    },
    io,
    path::Path,
    thread,
    time::{
        Duration,
        Instant, //
    }, //
};

use rustix::system::{
    delete_module,
    finit_module, //
};

use crate::harness::fixture::scaled;

/// The module that is tested.
pub(crate) const NAME: &CStr = c"rust_gup";
/// Where the init of the test machine keeps it and its parameters.
const MODULE: &str = "/lib/rust_gup.ko";
const PARAMETERS: &str = "/etc/rust_gup/module-args";

/// Loads a module.
pub(crate) fn load(path: &Path, parameters: &CStr) -> io::Result<()> {
    Ok(finit_module(File::open(path)?, parameters, 0)?)
}

/// Tries once.
pub(crate) fn unload(name: &CStr) -> io::Result<()> {
    Ok(delete_module(name, libc::O_NONBLOCK)?)
}

/// The parameters that rust_gup was loaded with.
pub(crate) fn parameters() -> io::Result<CString> {
    let parameters = fs::read_to_string(PARAMETERS).unwrap_or_default();
    Ok(CString::new(parameters.trim())?)
}

/// Loads rust_gup.
pub(crate) fn load_with(parameters: &CStr) -> io::Result<()> {
    load(Path::new(MODULE), parameters)
}

/// Unloads rust_gup once nobody uses it: whoever just closed the device may still be at it.
pub(crate) fn unload_when_idle() {
    let deadline = Instant::now() + scaled(Duration::from_secs(5));
    loop {
        match unload(NAME) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result.expect("delete_module"),
        }
    }
}
