//! `naru-node`: the program on every host. `run` is the node itself; `agent` serves `naru` over stdin and stdout.

mod arguments;
mod config;
mod notify;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    arguments::dispatch()
}
