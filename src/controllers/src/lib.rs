//! The controllers: one module each, on one runtime of shared informers and keyed work queues. They need a
//! `kube::Client` and nothing else, so they run inside our control plane and against any other API server alike.

mod accounts;
mod context;
mod deployment;
mod discovery;
mod endpoints;
mod garbage;
mod namespace;
mod node;
mod replicaset;
pub mod runtime;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use context::Context;
use runtime::{Error, Recorder, Result, Shutdown, Tasks, stopped, synced};

/// What the controllers must know about the cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// The whole cluster's pod network, IPv4 in CIDR notation.
    pub pod_cidr: String,
    /// Size of each node's part of it.
    pub node_cidr_prefix: u8,
    /// PEM for the config map kube-root-ca.crt; none: the config map is not written.
    pub root_ca_pem: Option<String>,
    /// A node that was silent for this long is unknown.
    pub node_monitor_grace: Duration,
    /// The same for a node that has not said anything yet.
    pub node_startup_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pod_cidr: "10.244.0.0/16".into(),
            node_cidr_prefix: 24,
            root_ca_pem: None,
            node_monitor_grace: Duration::from_secs(40),
            node_startup_grace: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Runs all controllers until shutdown. Fails only if the configuration is wrong.
    pub async fn run(self, client: Client, shutdown: Shutdown) -> Result<(), Error> {
        let mut tasks = Tasks::new();
        let recorder = Recorder::start("naru-controllers", &client, &mut tasks, &shutdown);
        let context = Context::new(client, Arc::new(self), recorder);
        let deployments = deployment::Controller::new(&context);
        let replica_sets = replicaset::Controller::new(&context);
        let endpoints = endpoints::Controller::new(&context);
        let namespaces = namespace::Controller::new(&context);
        let accounts = accounts::Controller::new(&context);
        let lifecycle = node::lifecycle::Controller::new(&context);
        let eviction = node::eviction::Controller::new(&context);
        let networks = node::network::Controller::new(&context)?;
        let sweep = node::sweep::Controller::new(&context);
        let garbage = garbage::Collector::new(&context);
        context.start(&mut tasks, &shutdown);
        let mut stop = shutdown.clone();
        let waits = context.waits();
        tokio::select! {
            () = synced(&waits) => {}
            () = stopped(&mut stop) => {}
        }
        deployments.run(&mut tasks, &shutdown);
        replica_sets.run(&mut tasks, &shutdown);
        endpoints.run(&mut tasks, &shutdown);
        namespaces.run(&mut tasks, &shutdown);
        accounts.run(&mut tasks, &shutdown);
        lifecycle.run(&mut tasks, &shutdown);
        eviction.run(&mut tasks, &shutdown);
        networks.run(&mut tasks, &shutdown);
        sweep.run(&mut tasks, &shutdown);
        garbage.run(&mut tasks, &shutdown);
        tracing::info!("controllers run");
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}
