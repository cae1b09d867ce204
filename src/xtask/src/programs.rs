//! The three programs, static, under the target folder's `release/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{packages, shell};

const PROGRAMS: [&str; 3] = ["naru", "naru-control-plane", "naru-node"];
/// An explicit target keeps build scripts and procedural macros dynamic, which a static C library cannot serve.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";
const FLAGS: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

/// Builds and answers the folder that holds the programs.
pub(crate) fn build() -> Result<PathBuf> {
    packages::for_building()?;
    let mut cargo = shell::cargo();
    cargo.env("RUSTFLAGS", FLAGS).args(["build", "--locked", "--release", "--target", TARGET]);
    for program in PROGRAMS {
        cargo.args(["--package", program]);
    }
    shell::run(&mut cargo)?;
    let target = target_directory();
    let release = target.join("release");
    fs_err::create_dir_all(&release)?;
    for program in PROGRAMS {
        put(&target.join(TARGET).join("release").join(program), &release.join(program))?;
    }
    Ok(release)
}

/// A hard link under a temporary name, then renamed: a program that runs keeps its old file.
fn put(from: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("new");
    if temporary.exists() {
        fs_err::remove_file(&temporary)?;
    }
    fs_err::hard_link(from, &temporary)?;
    // Renaming one link of a file over another of the same file does nothing and leaves both.
    if to.exists() {
        fs_err::remove_file(to)?;
    }
    fs_err::rename(&temporary, to).with_context(|| format!("cannot put {} in place", to.display()))
}

pub(crate) fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => shell::root().join(directory),
        None => shell::root().join("target"),
    }
}
