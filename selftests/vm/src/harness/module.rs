// SPDX-License-Identifier: GPL-2.0

//! Loads and unloads modules, and rust_gup itself.

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

/// Name of the module under test.
pub(crate) const NAME: &CStr = c"rust_gup";
/// Where the init of the test machine keeps the module and its parameters.
const MODULE: &str = "/lib/rust_gup.ko";
const PARAMETERS: &str = "/etc/rust_gup/module-args";

/// Loads a module.
pub(crate) fn load(path: &Path, parameters: &CStr) -> io::Result<()> {
    Ok(finit_module(File::open(path)?, parameters, 0)?)
}

/// Tries once to unload a module.
pub(crate) fn unload(name: &CStr) -> io::Result<()> {
    Ok(delete_module(name, libc::O_NONBLOCK)?)
}

/// Returns the parameters with which rust_gup was loaded.
pub(crate) fn parameters() -> io::Result<CString> {
    let parameters = fs::read_to_string(PARAMETERS).unwrap_or_default();
    Ok(CString::new(parameters.trim())?)
}

/// Loads rust_gup.
pub(crate) fn load_with(parameters: &CStr) -> io::Result<()> {
    load(Path::new(MODULE), parameters)
}

/// Unloads rust_gup as soon as nobody uses it. A process that has just closed the device may not have finished yet.
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
