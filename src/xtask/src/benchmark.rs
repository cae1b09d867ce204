//! `bench`: builds what is measured and hands over to the measuring program, which prints a table.

use anyhow::{Result, bail};

use crate::{packages, programs, shell};

const KNOWN: [&str; 2] = ["up", "provision"];

pub(crate) fn run(what: &str) -> Result<()> {
    if !KNOWN.contains(&what) {
        bail!("there is no benchmark {what:?}; known: {}", KNOWN.join(", "));
    }
    packages::for_machines()?;
    packages::for_tests()?;
    let release = programs::build()?;
    let mut command = shell::cargo();
    command.env("NARU_PROGRAMS", release).args(["run", "--quiet"]);
    if what == "provision" {
        // Its servers must not be what is measured.
        command.arg("--release");
    }
    shell::run(command.args(["--package", "naru-e2e", "--bin", "naru-bench", "--", what]))
}
