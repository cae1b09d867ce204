//! The measuring program of `cargo xtask bench`: what is asked for is measured and printed as a table. Numbers are
//! reported, never judged: the machine below is shared and small.

mod delay;
mod machines;
mod measure;
mod planner;
mod provision;
mod servers;
mod up;

use std::process::ExitCode;

use naru_e2e::say;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let measured = match what.as_str() {
        "up" => up::run(),
        "provision" => provision::run(),
        // The part that needs a network of its own; `provision` starts it there.
        "fleet" => provision::fleet(),
        _ => Err(anyhow::anyhow!("nothing is known to measure about {what:?}; known: up, provision")),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
