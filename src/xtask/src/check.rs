//! `test`: the checks in the order of their cost, so that a slip is seen early.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::{packages, programs, shell};

pub(crate) fn all() -> Result<()> {
    packages::for_building()?;
    packages::for_tests()?;
    stage("format", || shell::run(shell::cargo().args(["fmt", "--all", "--check"])))?;
    stage("lints", || {
        let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        shell::run(shell::cargo().args(clippy))
    })?;
    stage("dependencies", dependencies)?;
    stage("unit tests", || {
        shell::run(shell::cargo().args(["test", "--locked", "--workspace", "--exclude", "naru-e2e", "--no-fail-fast"]))
    })?;
    stage("end to end", || end_to_end(&[]))
}

/// Licences, bans and sources. Advisories need a database from elsewhere and are for a machine that reaches it.
fn dependencies() -> Result<()> {
    let deny = packages::cargo_deny()?;
    shell::run(Command::new(deny).current_dir(shell::root()).args(["check", "bans", "licenses", "sources"]))
}

pub(crate) fn end_to_end(suites: &[String]) -> Result<()> {
    packages::for_machines()?;
    packages::for_tests()?;
    let release = programs::build()?;
    let mut test = shell::cargo();
    test.env("NARU_PROGRAMS", release).args(["test", "--locked", "--package", "naru-e2e", "--test", "suites", "--"]);
    shell::run(test.args(suites))
}

fn stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let done = work();
    let outcome = if done.is_ok() { "ok" } else { "FAILED" };
    shell::say(&format!("== {name}: {outcome} in {:.0} s", start.elapsed().as_secs_f64()));
    done
}
