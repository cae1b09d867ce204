//! Liveness, readiness and startup probes: one task each, results in a cell that the pod's worker reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Context;
use crate::events::Kind;
use crate::pod::field_path;
use crate::probe_action::{Action, Target};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub started: bool,
    pub ready: bool,
    /// The liveness or startup probe gave up: restart the container.
    pub failed: Option<Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub probe: &'static str,
    pub grace_seconds: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Startup,
    Liveness,
    Readiness,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Which::Startup => "Startup",
            Which::Liveness => "Liveness",
            Which::Readiness => "Readiness",
        }
    }
}

struct Watched {
    health: watch::Receiver<Health>,
    /// Aborts its tasks when dropped.
    _tasks: JoinSet<()>,
}

/// The probes of one pod, by container ID.
#[derive(Default)]
pub(crate) struct Probes(HashMap<String, Watched>);

pub(crate) struct Subject<'a> {
    pub context: &'a Arc<Context>,
    pub pod: &'a Arc<Pod>,
    pub container: &'a Container,
    pub container_id: &'a str,
    pub pod_ip: &'a str,
    pub started_at_ns: i64,
    /// What the API knows of this very container: a restart of ours must not make it unready.
    pub known: Health,
    pub wake: &'a Arc<Notify>,
}

impl Probes {
    /// A container without probes is started and ready as soon as it runs.
    pub(crate) fn health(&self, container_id: &str) -> Health {
        match self.0.get(container_id) {
            Some(watched) => watched.health.borrow().clone(),
            None => Health { started: true, ready: true, failed: None },
        }
    }

    pub(crate) fn stop_all(&mut self) {
        self.0.clear();
    }

    pub(crate) fn retain(&mut self, running: &[String]) {
        self.0.retain(|id, _| running.contains(id));
    }

    pub(crate) fn ensure(&mut self, subject: &Subject<'_>) {
        let container = subject.container;
        let all = [
            (Which::Startup, container.startup_probe.as_ref()),
            (Which::Liveness, container.liveness_probe.as_ref()),
            (Which::Readiness, container.readiness_probe.as_ref()),
        ];
        if self.0.contains_key(subject.container_id) || all.iter().all(|(_, probe)| probe.is_none()) {
            return;
        }
        let initial = Health {
            started: container.startup_probe.is_none() || subject.known.started,
            ready: container.readiness_probe.is_none() || subject.known.ready,
            failed: None,
        };
        let (sender, health) = watch::channel(initial);
        let sender = Arc::new(sender);
        let mut tasks = JoinSet::new();
        for (which, probe) in all {
            let Some(probe) = probe else { continue };
            let task = Task {
                which,
                probe: probe.clone(),
                context: subject.context.clone(),
                pod: subject.pod.clone(),
                container: container.clone(),
                container_id: subject.container_id.to_owned(),
                pod_ip: subject.pod_ip.to_owned(),
                started_at_ns: subject.started_at_ns,
                health: sender.clone(),
                wake: subject.wake.clone(),
            };
            tasks.spawn(task.run());
        }
        self.0.insert(subject.container_id.to_owned(), Watched { health, _tasks: tasks });
    }
}

struct Task {
    which: Which,
    probe: Probe,
    context: Arc<Context>,
    pod: Arc<Pod>,
    container: Container,
    container_id: String,
    pod_ip: String,
    started_at_ns: i64,
    health: Arc<watch::Sender<Health>>,
    wake: Arc<Notify>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

impl Task {
    async fn run(self) {
        let age_ns = jiff::Timestamp::now().as_nanosecond() - i128::from(self.started_at_ns);
        let age = Duration::from_nanos(u64::try_from(age_ns).unwrap_or(0));
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age)).await;
        if self.which != Which::Startup {
            let mut health = self.health.subscribe();
            if health.wait_for(|health| health.started).await.is_err() {
                return;
            }
        } else if self.health.borrow().started {
            return;
        }
        let mut ticks = tokio::time::interval(seconds(self.probe.period_seconds, 10));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut successes, mut failures) = (0_u64, 0_u64);
        let success_threshold = seconds(self.probe.success_threshold, 1).as_secs();
        let failure_threshold = seconds(self.probe.failure_threshold, 3).as_secs();
        loop {
            ticks.tick().await;
            match self.attempt().await {
                Ok(()) => (successes, failures) = (successes + 1, 0),
                Err(output) => {
                    (successes, failures) = (0, failures + 1);
                    self.event(format!("{} probe failed: {output}", self.which.name()));
                }
            }
            let done = if successes >= success_threshold {
                self.update(|health| self.good(health)) && self.which == Which::Startup
            } else if failures >= failure_threshold {
                self.update(|health| self.bad(health)) && self.which != Which::Readiness
            } else {
                false
            };
            if done {
                return;
            }
        }
    }

    async fn attempt(&self) -> Result<(), String> {
        let target = Target {
            runtime: &self.context.runtime,
            container_id: &self.container_id,
            container: &self.container,
            pod_ip: &self.pod_ip,
        };
        let action = Action {
            exec: self.probe.exec.as_ref(),
            http: self.probe.http_get.as_ref(),
            tcp: self.probe.tcp_socket.as_ref(),
            grpc: self.probe.grpc.as_ref(),
        };
        target.attempt(action, seconds(self.probe.timeout_seconds, 1)).await
    }

    fn event(&self, message: String) {
        let field = field_path(&self.pod, &self.container.name);
        self.context.events.container(&self.pod, &field, Kind::Warning, "Unhealthy", message);
    }

    fn good(&self, health: &mut Health) {
        match self.which {
            Which::Startup => health.started = true,
            Which::Readiness => health.ready = true,
            Which::Liveness => {}
        }
    }

    fn bad(&self, health: &mut Health) {
        match self.which {
            Which::Readiness => health.ready = false,
            Which::Startup | Which::Liveness => {
                let probe = if self.which == Which::Startup { "startup" } else { "liveness" };
                let grace_seconds = self.probe.termination_grace_period_seconds;
                health.failed = Some(Failure { probe, grace_seconds });
            }
        }
    }

    /// Always true: the threshold was reached. Wakes the worker only if something changed.
    fn update(&self, change: impl FnOnce(&mut Health)) -> bool {
        let changed = self.health.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
        if changed {
            self.wake.notify_one();
        }
        true
    }
}
