// SPDX-License-Identifier: GPL-2.0

//! Generates the Rust types of the ABI from its C header, with the options that the module's own build uses.

use std::{
    env,
    fs,
    io,
    path::{
        Path,
        PathBuf, //
    },
    process::{
        exit,
        Command, //
    }, //
};

fn main() {
    println!("cargo::rerun-if-env-changed=BINDGEN");

    generate("../../rust_gup/uapi", "rust_gup");
    generate("../../samples/edu_dma", "edu_dma");
}

/// Generates `NAME.rs` from `FOLDER/bindgen.h`, which includes `NAME.h`.
fn generate(folder: &str, name: &str) {
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join(folder);
    let header = folder.join("bindgen.h");
    let parameters = folder.join("bindgen_parameters");
    for path in [&header, &parameters, &folder.join(format!("{name}.h"))] {
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let bindgen = env::var("BINDGEN").unwrap_or_else(|_| "bindgen".into());
    let output = Command::new(&bindgen)
        .arg(&header)
        .args(options(&parameters))
        // The structures are plain data without padding, which the derives verify.
        .arg("--with-derive-custom-struct=.*=zerocopy::FromBytes,zerocopy::IntoBytes,zerocopy::Immutable")
        .output()
        .unwrap_or_else(|err| {
            let hint = if err.kind() == io::ErrorKind::NotFound {
                "; install it (apt-get install bindgen), or name another one in the variable BINDGEN"
            } else {
                ""
            };
            fail(&format!("cannot run `{bindgen}`: {err}{hint}"))
        });
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        fail(&format!(
            "`{bindgen}` could not read {}; it needs libclang and the kernel's user-space headers \
             (apt-get install libclang-dev linux-libc-dev)",
            header.display()
        ));
    }

    // See bindgen.h: the prefix exists only because C cannot have a constant and a macro with the same name.
    let prefix = name.to_uppercase();
    let generated = String::from_utf8_lossy(&output.stdout)
        .replace(&format!("CONST_{prefix}_"), &format!("{prefix}_"));
    let destination = PathBuf::from(variable("OUT_DIR")).join(format!("{name}.rs"));
    if let Err(err) = fs::write(&destination, generated) {
        fail(&format!("cannot write {}: {err}", destination.display()));
    }
}

/// Reads the options of bindgen, one on each line, and skips comments.
fn options(parameters: &Path) -> Vec<String> {
    fs::read_to_string(parameters)
        .unwrap_or_else(|err| fail(&format!("cannot read {}: {err}", parameters.display())))
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
