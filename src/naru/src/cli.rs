//! The command line: flags that all verbs share, dispatch, and how an error is printed.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use naru_plan::Colour;

use crate::commands;
use crate::exit::{Exit, Failure};

/// Turns a list of machines into a Kubernetes cluster, and keeps it one.
#[derive(Debug, Parser)]
#[command(name = "naru", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Args)]
struct Shared {
    /// Colours.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto)]
    color: When,
    /// Also tell what goes on inside (repeat for more).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write an inventory that apply takes as it is.
    Init(commands::init::Init),
    /// Show what apply would do; changes nothing.
    Plan(commands::plan::Plan),
    /// Make it so.
    Apply(commands::apply::Apply),
    /// Hosts and nodes, and how they are.
    Status(commands::status::Status),
    /// Print a kubeconfig for this cluster.
    Kubeconfig(commands::kubeconfig::Kubeconfig),
    /// Container images on the hosts.
    #[command(subcommand)]
    Image(commands::image::Image),
    /// Machines of the inventory's provider.
    #[command(subcommand)]
    Machines(commands::machines::Machines),
    /// A shell on a host, or a command there.
    Ssh(commands::ssh::Ssh),
    /// Last lines of a host's service journal.
    Logs(commands::logs::Logs),
    /// What a field of the inventory means; without a name all of them.
    ExplainField(commands::explain_field::ExplainField),
    /// The JSON schema of inventories.
    Schema,
    /// Completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// The version of this program.
    Version,
}

/// What verbs need to know about the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Colour on standard output.
    pub(crate) stdout: Colour,
    /// Colour on standard error.
    pub(crate) stderr: Colour,
    /// Whether a person can be asked.
    pub(crate) can_ask: bool,
    /// Whether standard error can be redrawn.
    pub(crate) is_live: bool,
}

impl Terminal {
    fn detect(color: When) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let of = |is_terminal: bool| match color {
            When::Always => Colour::Always,
            When::Auto if is_terminal && !plain => Colour::Always,
            When::Auto | When::Never => Colour::Never,
        };
        let stderr = std::io::stderr().is_terminal();
        Self {
            stdout: of(std::io::stdout().is_terminal()),
            stderr: of(stderr),
            can_ask: std::io::stdin().is_terminal() && stderr,
            is_live: stderr && !plain,
        }
    }
}

pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::UserMistake.into() } else { Exit::Done.into() };
        }
    };
    let terminal = Terminal::detect(cli.shared.color);
    start_logging(cli.shared.verbose);
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::ours(format!("threads cannot be started: {error}")), terminal),
    };
    let result = runtime.block_on(dispatch(cli.command, terminal));
    // A blocking call that was given up (a machine being made) must not keep the program alive.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => report(&failure, terminal),
    }
}

async fn dispatch(command: Command, terminal: Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Init(init) => init.run(terminal).await,
        Command::Plan(plan) => plan.run(terminal).await,
        Command::Apply(apply) => apply.run(terminal).await,
        Command::Status(status) => status.run(terminal).await,
        Command::Kubeconfig(kubeconfig) => kubeconfig.run().await,
        Command::Image(image) => image.run(terminal).await,
        Command::Machines(machines) => machines.run(terminal).await,
        Command::Ssh(ssh) => ssh.run().await,
        Command::Logs(logs) => logs.run().await,
        Command::ExplainField(explain) => explain.run(),
        Command::Schema => commands::print(&format!("{:#}\n", naru_inventory::schema())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "naru", &mut script);
            commands::print(&String::from_utf8_lossy(&script))
        }
        Command::Version => commands::print(&format!("naru {}\n", naru_inventory::VERSION)),
    }
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,naru=info,naru_hosts=info,naru_execute=info,naru_machines=info",
        2 => "info,naru=debug,naru_hosts=debug,naru_execute=debug,naru_machines=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("NARU_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let started = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    debug_assert!(started.is_ok(), "logging is started once");
}

#[expect(clippy::print_stderr, reason = "errors go to the operator's terminal")]
fn report(failure: &Failure, terminal: Terminal) -> ExitCode {
    eprint!("{}", failure.render(terminal.stderr));
    failure.exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the documents that a reader would type.
    fn commands(text: &str) -> Vec<String> {
        let typed = text.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?.trim_start_matches("$ ");
            line.starts_with("naru ").then(|| line.split(" > ").next().unwrap_or(line).trim().to_owned())
        });
        typed.collect()
    }

    #[test]
    fn every_command_in_the_documents_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut seen = 0;
        for page in ["README.md", "docs/guide/first-cluster.md"] {
            for line in commands(&fs_err::read_to_string(root.join(page)).unwrap()) {
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{page}: {line}: {}", parsed.err().unwrap());
                seen += 1;
            }
        }
        assert!(seen > 8, "only {seen} commands were found");
    }
}
