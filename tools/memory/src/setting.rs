// SPDX-License-Identifier: GPL-2.0

//! Settings of the kernel that get their old values back.

use std::{
    fs,
    io,
    path::PathBuf, //
};

use crate::unavailable;

/// A value in sysfs or procfs that gets its old value back on drop.
#[derive(Debug)]
pub struct Setting {
    path: PathBuf,
    old: String,
}

impl Setting {
    /// Writes `value`, and remembers the old value.
    pub fn set(path: impl Into<PathBuf>, value: &str) -> io::Result<Self> {
        let path = path.into();
        let old = fs::read_to_string(&path)?;
        fs::write(&path, value).map_err(|err| {
            unavailable(format!(
                "cannot write {}: {err}; run this as root",
                path.display()
            ))
        })?;
        Ok(Self {
            path,
            old: selected(&old).into(),
        })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // An error is ignored: the file could be written before, and there is nobody to report it to.
        let _ = fs::write(&self.path, &self.old);
    }
}

/// Returns the selected value of a setting such as `always inherit [madvise] never`.
fn selected(values: &str) -> &str {
    values
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(values.trim(), |(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::selected;

    #[test]
    fn the_selected_value_stands_in_brackets() {
        assert_eq!(selected("always inherit [madvise] never\n"), "madvise");
        assert_eq!(selected("7\n"), "7");
    }
}
