//! `naru-control-plane`: API server, controllers and scheduler in one process; each of the latter also alone.

mod allocator;
mod cli;
mod config;
mod in_process;
mod notify;
mod run;
mod signals;
mod standalone;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
