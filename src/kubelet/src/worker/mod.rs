//! One worker per pod UID. Its mailbox holds only the latest order; probes, runtime events and timers wake it.

mod backoff;
mod container_config;
mod report;
mod sandbox;
mod start;
mod stop;
pub(crate) mod plan;
pub(crate) mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};

use crate::Context;
use crate::cri::CriError;
use crate::events::Kind;
use crate::pod::{PodExt, spec};
use crate::probes::{Health, Probes, Subject};
use crate::status::{self, End, Waiting};
use crate::volumes::{TokenCache, Volumes};
pub(crate) use backoff::Backoff;
pub(crate) use stop::remove_logs;
use view::{Observer, State, View};

/// A quiet pod is looked at this often even if nothing wakes its worker.
const RESYNC: Duration = Duration::from_secs(60);
/// Volumes that follow API objects are refreshed this often.
const VOLUME_REFRESH: Duration = Duration::from_secs(30);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Changes in one go; more wait for the next round.
const MAX_STEPS: usize = 16;

/// What the manager wants of a worker.
#[derive(Clone)]
pub(crate) struct Order {
    pub pod: Arc<Pod>,
    /// The API has it no more.
    pub removed: bool,
}

impl Order {
    fn terminates(&self) -> bool {
        self.removed || self.pod.is_deleted()
    }
}

pub(crate) struct Worker {
    context: Arc<Context>,
    orders: watch::Receiver<Order>,
    wake: Arc<Notify>,
    observer: Observer,
    probes: Probes,
    tokens: TokenCache,
    volumes: Volumes,
    volumes_at: Option<Instant>,
    crashes: HashMap<String, Backoff>,
    pulls: HashMap<String, Backoff>,
    waiting: Waiting,
    end: Option<End>,
    settled: bool,
    failures: u32,
    reporter: report::Reporter,
    next: Instant,
}

/// A step failed for a reason that may pass; the worker tries again later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Runtime(#[from] CriError),
    #[error(transparent)]
    Volume(#[from] crate::volumes::SetupError),
    #[error(transparent)]
    VolumeState(#[from] crate::volumes::VolumeError),
    #[error(transparent)]
    Cgroup(#[from] crate::CgroupError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("network is not ready: container runtime network not ready")]
    NetworkNotReady,
    #[error("the pod changed meanwhile")]
    Interrupted,
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, orders: watch::Receiver<Order>, wake: Arc<Notify>) -> Self {
        Self {
            context,
            orders,
            wake,
            observer: Observer::default(),
            probes: Probes::default(),
            tokens: TokenCache::default(),
            volumes: Volumes::new(),
            volumes_at: None,
            crashes: HashMap::new(),
            pulls: HashMap::new(),
            waiting: Waiting::new(),
            end: None,
            settled: false,
            failures: 0,
            reporter: report::Reporter::default(),
            next: Instant::now(),
        }
    }

    /// Ends when the pod is gone from this host and from the API.
    pub(crate) async fn run(mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            self.next = Instant::now() + RESYNC;
            let result = if order.terminates() {
                match self.terminate(&order).await {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            } else {
                self.sync(&order.pod).await
            };
            self.settle_result(&order.pod, result);
            let deadline = tokio::time::Instant::from_std(self.next);
            tokio::select! {
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn settle_result(&mut self, pod: &Pod, result: Result<(), StepError>) {
        match result {
            Ok(()) => self.failures = 0,
            Err(StepError::Interrupted) => self.look_again_in(Duration::ZERO),
            Err(error) => {
                let text = crate::error_chain(&error);
                tracing::warn!(pod = pod.name(), namespace = pod.namespace(), error = text, "pod not synced");
                let delay = Duration::from_millis(500) * 2_u32.saturating_pow(self.failures.min(8));
                self.failures += 1;
                self.look_again_in(delay.min(MAX_RETRY));
            }
        }
    }

    fn look_again_in(&mut self, delay: Duration) {
        self.next = self.next.min(Instant::now() + delay);
    }

    async fn sync(&mut self, pod: &Arc<Pod>) -> Result<(), StepError> {
        if self.end.is_none() {
            self.end = status::ended(pod).or_else(|| self.past_deadline(pod));
        }
        let mut view = self.observe(pod).await?;
        if self.end.is_some() {
            self.settle(pod, &view).await?;
            view = self.observe(pod).await?;
            return self.report(pod, &view, false).await;
        }
        self.watch_containers(pod, &view);
        self.report(pod, &view, false).await?;
        let result = self.advance(pod, &mut view).await;
        // Whatever happened, what the API shows must be what is there.
        view = self.observe(pod).await?;
        self.watch_containers(pod, &view);
        self.report(pod, &view, false).await?;
        result?;
        if status::may_end(pod)
            && let Some(end) = self.reporter.ended()
        {
            self.end = Some(end);
            self.look_again_in(Duration::ZERO);
        }
        self.remove_old_containers(pod, &view).await;
        Ok(())
    }

    /// Brings the pod forward step by step until nothing more can be done now.
    async fn advance(&mut self, pod: &Arc<Pod>, view: &mut View) -> Result<(), StepError> {
        for _ in 0..MAX_STEPS {
            if self.orders.has_changed().unwrap_or(true) {
                return Err(StepError::Interrupted);
            }
            if view.sandbox().is_none() {
                if !plan::wants_sandbox(pod, view) {
                    return Ok(());
                }
                self.make_sandbox(pod, view).await?;
                *view = self.observe(pod).await?;
                self.report(pod, view, false).await?;
            }
            self.refresh_volumes(pod, &view.ips).await?;
            let plan = plan::next(pod, view, &|id| self.probes.health(id));
            let mut changed = false;
            for (id, why) in &plan.kill {
                self.kill(pod, view, id, why).await?;
                changed = true;
            }
            for name in &plan.start {
                changed |= self.start(pod, view, name).await?;
            }
            if !changed {
                return Ok(());
            }
            *view = self.observe(pod).await?;
            self.watch_containers(pod, view);
        }
        self.look_again_in(Duration::ZERO);
        Ok(())
    }

    async fn observe(&mut self, pod: &Pod) -> Result<View, StepError> {
        Ok(self.observer.observe(&self.context, pod.uid()).await?)
    }

    async fn refresh_volumes(&mut self, pod: &Pod, ips: &[String]) -> Result<(), StepError> {
        let live = crate::volumes::has_live_content(pod);
        let due = self.volumes_at.is_none_or(|at| live && at.elapsed() >= VOLUME_REFRESH);
        if due {
            let result = crate::volumes::set_up(&self.context, pod, ips, &mut self.tokens).await;
            match result {
                Ok(volumes) => self.volumes = volumes,
                // A pod that runs goes on with what it has.
                Err(error) if self.volumes_at.is_some() => tracing::debug!(%error, "volumes not refreshed"),
                Err(error) => {
                    self.context.events.pod(pod, Kind::Warning, "FailedMount", error.to_string());
                    return Err(error.into());
                }
            }
            self.volumes_at = Some(Instant::now());
        }
        if live && let Some(at) = self.volumes_at {
            self.look_again_in(VOLUME_REFRESH.saturating_sub(at.elapsed()));
        }
        Ok(())
    }

    fn watch_containers(&mut self, pod: &Arc<Pod>, view: &View) {
        let running: Vec<String> = view.running().map(|record| record.id.clone()).collect();
        self.probes.retain(&running);
        let pod_ip = if pod.host_network() {
            self.context.config.address.to_string()
        } else {
            view.ips.first().cloned().unwrap_or_default()
        };
        let init = pod.init_containers().iter().filter(|container| crate::qos::is_sidecar(container));
        for container in init.chain(pod.app_containers()) {
            let Some(record) = view.current(&container.name).filter(|record| record.state == State::Running) else {
                continue;
            };
            self.waiting.remove(&container.name);
            self.probes.ensure(&Subject {
                context: &self.context,
                pod,
                container,
                container_id: &record.id,
                pod_ip: &pod_ip,
                started_at_ns: record.started_at_ns,
                known: known_health(pod, &record.id),
                wake: &self.wake,
            });
        }
    }

    fn past_deadline(&mut self, pod: &Pod) -> Option<End> {
        let seconds = spec(pod).active_deadline_seconds?;
        let started = self.reporter.before(pod).start_time?.0;
        let age = jiff::Timestamp::now().as_second() - started.as_second();
        if age >= seconds {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.context.events.pod(pod, Kind::Normal, "DeadlineExceeded", message.clone());
            return Some(End {
                phase: "Failed".into(),
                reason: Some("DeadlineExceeded".into()),
                message: Some(message),
            });
        }
        self.look_again_in(Duration::from_secs(u64::try_from(seconds - age).unwrap_or(1)));
        None
    }

    async fn report(&mut self, pod: &Pod, view: &View, terminating: bool) -> Result<(), StepError> {
        let before = self.reporter.before(pod);
        let status = status::generate(&status::Inputs {
            pod,
            view,
            waiting: &self.waiting,
            health: &|id| self.probes.health(id),
            terminating,
            end: self.end.as_ref(),
            host_ip: &self.context.config.address.to_string(),
            before: &before,
            now: jiff::Timestamp::now(),
        });
        if let Err(error) = self.reporter.send(&self.context.client, pod, status).await {
            tracing::debug!(pod = pod.name(), error = crate::error_chain(&error), "status not reported");
            self.look_again_in(report::RETRY);
        }
        Ok(())
    }
}

fn known_health(pod: &Pod, container_id: &str) -> Health {
    let status = pod.status.as_ref();
    let statuses = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let id = format!("containerd://{container_id}");
    let known = statuses.into_iter().find(|status| status.container_id.as_deref() == Some(id.as_str()));
    known.map_or_else(Health::default, |status| Health {
        started: status.started.unwrap_or(false),
        ready: status.ready,
        failed: None,
    })
}
