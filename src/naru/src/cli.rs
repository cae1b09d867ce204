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
    /// Why a host is no Ready node: the first broken link, what shows it, and the fix.
    Explain(commands::explain::Explain),
    /// What on the hosts is not as it should be.
    Diff(commands::diff::Diff),
    /// What earlier runs did.
    Journal(commands::journal::Journal),
    /// Set the version of Naru's programs in the inventory, and apply it.
    Upgrade(commands::upgrade::Upgrade),
    /// Add, remove, empty and open nodes.
    #[command(subcommand)]
    Node(commands::node::Node),
    /// Remove from hosts what Naru put there.
    Reset(commands::reset::Reset),
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
    /// Print a reference page, for `cargo xtask docs`.
    #[command(hide = true)]
    Reference { page: Page },
    /// Completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// The version of this program.
    Version,
}

/// Pages that are written from the code.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    Cli,
    Inventory,
}

impl Page {
    fn text(self) -> String {
        match self {
            Self::Cli => crate::reference::page(<Cli as clap::CommandFactory>::command()),
            Self::Inventory => naru_inventory::reference(),
        }
    }
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
        Command::Explain(explain) => explain.run(terminal).await,
        Command::Diff(diff) => diff.run(terminal).await,
        Command::Journal(journal) => journal.run(terminal),
        Command::Upgrade(upgrade) => upgrade.run(terminal).await,
        Command::Node(node) => node.run(terminal).await,
        Command::Reset(reset) => reset.run(terminal).await,
        Command::Kubeconfig(kubeconfig) => kubeconfig.run().await,
        Command::Image(image) => image.run(terminal).await,
        Command::Machines(machines) => machines.run(terminal).await,
        Command::Ssh(ssh) => ssh.run().await,
        Command::Logs(logs) => logs.run().await,
        Command::ExplainField(explain) => explain.run(),
        Command::Schema => commands::print(&format!("{:#}\n", naru_inventory::schema())),
        Command::Reference { page } => commands::print(&page.text()),
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
        for page in ["README.md", "docs/guide/first-cluster.md", "docs/operations/troubleshooting.md"] {
            for line in commands(&fs_err::read_to_string(root.join(page)).unwrap()) {
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{page}: {line}: {}", parsed.err().unwrap());
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} commands were found");
    }

    #[test]
    fn the_reference_pages_are_of_this_program() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (page, path) in [(Page::Cli, "docs/reference/cli.md"), (Page::Inventory, "docs/reference/inventory.md")] {
            let written = fs_err::read_to_string(root.join(path)).unwrap_or_default();
            assert!(written == page.text(), "{path} is out of date: run `cargo xtask docs`");
        }
    }

    #[test]
    fn every_finding_has_its_place_in_the_troubleshooting_page() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs_err::read_to_string(root.join("docs/operations/troubleshooting.md")).unwrap();
        let source = fs_err::read_to_string(root.join("src/plan/src/plan.rs")).unwrap();
        let codes = source.split("pub enum FindingCode {").nth(1).unwrap().split('}').next().unwrap();
        let codes = codes.lines().map(str::trim).filter(|line| !line.starts_with("//") && line.ends_with(','));
        let mut seen = 0;
        for code in codes.map(|line| line.trim_end_matches(',')) {
            let word = code[..1].to_lowercase() + &code[1..];
            assert!(page.contains(&format!("`{word}`")), "the page says nothing about {word}");
            seen += 1;
        }
        assert!(seen > 20, "only {seen} codes were found");
    }
}
