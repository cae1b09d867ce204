//! The scheduler: takes pods without a node, filters and scores nodes, binds. It needs a `kube::Client` and nothing
//! else, so it runs inside our control plane and against any other API server alike.

mod cluster;
mod feed;
mod filter;
mod model;
mod pairing;
mod preempt;
mod quantity;
mod queue;
mod scheduler;
mod score;

use kube::Client;
use naru_controllers::runtime::{Recorder, Shutdown, Tasks};
use tokio::sync::mpsc;

/// What the scheduler must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are ours.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: model::DEFAULT_SCHEDULER.into() }
    }
}

impl Config {
    /// Schedules until shutdown.
    pub async fn run(self, client: Client, shutdown: Shutdown) {
        let mut tasks = Tasks::new();
        // The reporting component is the scheduler's name, as upstream's profiles have it.
        let recorder = Recorder::start("default-scheduler", &client, &mut tasks, &shutdown);
        let (sender, receiver) = mpsc::channel(feed::PENDING_LIMIT);
        feed::start(&client, &mut tasks, &shutdown, &sender);
        let scheduler = scheduler::Scheduler {
            client,
            name: self.scheduler_name,
            recorder,
            changes: sender,
            queue: queue::Queue::default(),
            cluster: cluster::Cluster::default(),
            pods_listed: false,
            nodes_listed: false,
        };
        scheduler.run(receiver, shutdown).await;
        tasks.shutdown().await;
    }
}
