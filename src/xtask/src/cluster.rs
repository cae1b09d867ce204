//! `up` and `down`: what README promises with one command.

use std::process::Command;

use anyhow::Result;

use crate::{packages, programs, shell};

const INVENTORY: &str = "inventories/local.yaml";

pub(crate) fn up() -> Result<()> {
    packages::for_machines()?;
    let release = programs::build()?;
    shell::run(Command::new(release.join("naru")).current_dir(shell::root()).args(["apply", INVENTORY, "--yes"]))
}

pub(crate) fn down() -> Result<()> {
    let naru = programs::target_directory().join("release/naru");
    let naru = if naru.is_file() { naru } else { programs::build()?.join("naru") };
    shell::run(Command::new(naru).current_dir(shell::root()).args(["machines", "delete", "--file", INVENTORY, "--yes"]))
}
