//! Verbs and flags; what is common to all verbs: tracing, the crypto provider, the runtime.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The client of controllers warns with whole answers, secrets included, when it cannot read one.
const DEFAULT_LOG_FILTER: &str = "info,kube_client=off,kube_runtime=off";

use crate::{allocator, run, standalone};

/// Threads of the runtime unless told otherwise. More threads cost memory and win nothing on small machines.
const DEFAULT_WORKER_THREADS: usize = 2;

#[derive(Debug, Parser)]
#[command(name = "naru-control-plane", version, about = "The Kubernetes control plane of Naru")]
struct Arguments {
    /// Threads that serve requests.
    #[arg(long, global = true, default_value_t = DEFAULT_WORKER_THREADS, value_name = "N")]
    worker_threads: usize,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// API server, controllers and scheduler in one process.
    Run {
        /// ControlPlaneConfiguration in YAML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// The scheduler alone, against any API server.
    Scheduler {
        #[arg(long, value_name = "FILE")]
        kubeconfig: PathBuf,
    },
    /// The controllers alone, against any API server.
    Controllers {
        #[arg(long, value_name = "FILE")]
        kubeconfig: PathBuf,
        /// The whole cluster's pod network.
        #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
        pod_cidr: String,
        /// Certificate authority for the config map kube-root-ca.crt; without it the config map is left alone.
        #[arg(long, value_name = "FILE")]
        root_ca_file: Option<PathBuf>,
    },
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    allocator::keep_small();
    let filter = EnvFilter::try_from_env("NARU_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG_FILTER));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: Arguments) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.worker_threads.max(1))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match arguments.verb {
            Verb::Run { config } => run::run(&config).await,
            Verb::Scheduler { kubeconfig } => standalone::scheduler(&kubeconfig).await,
            Verb::Controllers { kubeconfig, pod_cidr, root_ca_file } => {
                standalone::controllers(&kubeconfig, pod_cidr, root_ca_file.as_deref()).await
            }
        }
    })
}
