//! The project's own chores: `cargo xtask up | down | test | e2e | bench | docs`. Everything that a fresh Debian
//! machine with Rust lacks is installed by these, so that README needs no list of prerequisites.

mod benchmark;
mod check;
mod cluster;
mod docs;
mod packages;
mod programs;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Naru's development chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build, make three machines and the cluster of inventories/local.yaml on them
    Up,
    /// Remove the machines of inventories/local.yaml and all that belongs to them
    Down,
    /// Everything CI runs: format, lints, dependencies, unit tests, end-to-end tests
    Test,
    /// The end-to-end tests only
    E2e {
        /// Names of the suites to run; all of them when none is given
        suites: Vec<String>,
    },
    /// Measure and print a table
    Bench {
        /// What to measure: `up` or `provision`
        what: String,
    },
    /// Play what can go wrong on a fleet in memory; without a seed, many of them
    Simulate {
        /// Given to the simulator: `--seed N`, `--seeds N`, `--scenario NAME`, `--list`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the three static programs into the target folder's `release/`
    Build,
    /// Write the reference pages anew from the code
    Docs,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Up => cluster::up(),
        Chore::Down => cluster::down(),
        Chore::Test => check::all(),
        Chore::E2e { suites } => check::end_to_end(&suites),
        Chore::Bench { what } => benchmark::run(&what),
        Chore::Simulate { arguments } => {
            let mut cargo = shell::cargo();
            cargo.args(["run", "--quiet", "--locked", "--package", "naru-simulate", "--"]);
            shell::run(cargo.args(arguments))
        }
        Chore::Build => programs::build().map(drop),
        Chore::Docs => docs::write(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
