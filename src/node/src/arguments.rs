//! The command line of `naru-node`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::NodeConfiguration;
use crate::run;

/// Every failed request is logged by whoever made it, with what it was for; the client library only repeats that.
const DEFAULT_LOG_FILTER: &str = "info,kube_client=off,kube_runtime=off";
/// The node spends its time waiting; two threads keep its memory small.
const WORKER_THREADS: usize = 2;

#[derive(Parser)]
#[command(name = "naru-node", about = "The Naru node: pods, network and host agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run this host as a node of the cluster.
    Run {
        #[arg(long, default_value = "/etc/naru/node.yaml")]
        config: PathBuf,
    },
    /// Serve `naru` over standard input and output.
    Agent {
        #[command(subcommand)]
        task: Option<AgentTask>,
    },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum AgentTask {
    /// Put a change back unless it is confirmed in time; agents start this themselves.
    Revert {
        /// The change, or `all` for those whose time has come.
        id: String,
    },
}

pub(crate) fn dispatch() -> ExitCode {
    let arguments = Arguments::parse();
    // Standard output belongs to the agent protocol and to `version`.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(EnvFilter::try_from_env("NARU_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_FILTER)))
        .init();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let result = match arguments.command {
        Command::Version => writeln!(std::io::stdout(), "{}", naru_kubelet::KUBELET_VERSION).map_err(Into::into),
        Command::Agent { task: None } => runtime().and_then(|runtime| runtime.block_on(run::agent())),
        Command::Agent { task: Some(AgentTask::Revert { id }) } => {
            naru_agent::run_watcher(&naru_agent::Host::local(), &id).map_err(Into::into)
        }
        Command::Run { config } => start(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?)
}

fn start(path: &std::path::Path) -> anyhow::Result<()> {
    let config = NodeConfiguration::read(path)?;
    runtime()?.block_on(run::node(config))
}
