//! `bench`: builds what is measured and hands over to the measuring program, which prints a table.

use anyhow::{Result, bail};

use crate::{packages, programs, shell};

pub(crate) fn run(what: &str) -> Result<()> {
    if what != "up" {
        bail!("there is no benchmark {what:?}; known: up");
    }
    packages::for_machines()?;
    packages::for_tests()?;
    let release = programs::build()?;
    let mut command = shell::cargo();
    command.env("NARU_PROGRAMS", release);
    shell::run(command.args(["run", "--quiet", "--package", "naru-e2e", "--bin", "naru-bench", "--", what]))
}
