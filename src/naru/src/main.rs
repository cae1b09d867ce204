//! `naru`: turns a list of machines into a Kubernetes cluster, and keeps it one.

mod artifacts;
mod ask;
mod chain;
mod cli;
mod commands;
mod drift;
mod edit;
mod exit;
#[cfg(test)]
mod fake;
mod fleet;
mod flow;
mod health;
mod hooks;
mod interrupt;
mod machines;
mod owner;
mod private;
mod reference;
mod report;
mod runs;
mod saved;
mod screen;
mod session;
mod style;
mod table;

fn main() -> std::process::ExitCode {
    cli::main()
}
