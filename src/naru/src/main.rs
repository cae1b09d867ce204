//! `naru`: turns a list of machines into a Kubernetes cluster, and keeps it one.

mod artifacts;
mod cli;
mod commands;
mod exit;
mod fleet;
mod machines;
mod private;
mod screen;
mod session;
mod table;

fn main() -> std::process::ExitCode {
    cli::main()
}
