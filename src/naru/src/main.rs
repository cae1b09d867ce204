//! `naru`: turns a list of machines into a Kubernetes cluster, and keeps it one.

mod artifacts;
mod chain;
mod cli;
mod commands;
mod drift;
mod exit;
#[cfg(test)]
mod fake;
mod fleet;
mod health;
mod hooks;
mod machines;
mod private;
mod runs;
mod screen;
mod session;
mod style;
mod table;

fn main() -> std::process::ExitCode {
    cli::main()
}
