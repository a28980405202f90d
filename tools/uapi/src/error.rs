// SPDX-License-Identifier: GPL-2.0

//! Errors that say which call failed and what to do about it, and keep the error number.

use std::{
    error::Error,
    fmt,
    io, //
};

/// A failed call: its name, the system's error, and what to do about it if that is known.
#[derive(Debug)]
pub struct CallError {
    call: String,
    hint: Option<&'static str>,
    source: io::Error,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.source)?;
        if let Some(hint) = self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Adds the name of the failed call, and what to do about it, to an error of the system.
pub fn failed(call: impl Into<String>, source: io::Error, hint: Option<&'static str>) -> io::Error {
    let kind = source.kind();
    let call = call.into();
    io::Error::new(kind, CallError { call, hint, source })
}

/// Does the same as [`failed`], for the call that has just set `errno`.
pub fn last_failed(call: impl Into<String>, hint: Option<&'static str>) -> io::Error {
    let source = io::Error::last_os_error();
    failed(call, source, hint)
}

/// Returns the error number of an error that this crate returned.
///
/// [`io::Error::raw_os_error`] does not see through the context that this crate adds.
pub fn errno_of(err: &io::Error) -> Option<i32> {
    err.raw_os_error().or_else(|| {
        err.get_ref()?
            .downcast_ref::<CallError>()?
            .source
            .raw_os_error()
    })
}

/// The error numbers with which calls on the module's devices can end, including 0 for success.
pub const ERRNO_NAMES: [(i32, &str); 20] = [
    (0, "success"),
    (libc::EFAULT, "EFAULT"),
    (libc::EINVAL, "EINVAL"),
    (libc::E2BIG, "E2BIG"),
    (libc::EPERM, "EPERM"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::ENOENT, "ENOENT"),
    (libc::EACCES, "EACCES"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EINTR, "EINTR"),
    (libc::EREMOTEIO, "EREMOTEIO"),
    (libc::EHWPOISON, "EHWPOISON"),
    (libc::EBUSY, "EBUSY"),
    (libc::ETOOMANYREFS, "ETOOMANYREFS"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EBADF, "EBADF"),
    (libc::ENODEV, "ENODEV"),
    (libc::ESPIPE, "ESPIPE"),
];

/// Returns the name of an error number.
pub fn errno_name(errno: i32) -> String {
    match ERRNO_NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("error {errno}"),
    }
}
