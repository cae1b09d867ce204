//! Stopping containers with grace, ending pods, and removing all that is left of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err as fs;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use super::plan::Why;
use super::report::Reporter;
use super::view::{Record, State, View};
use super::{Order, StepError, Worker};
use crate::events::Kind;
use crate::pod::{PodExt, field_path, find_container, spec};
use crate::probe_action::Target;
use crate::qos::is_sidecar;
use crate::Context;

/// Upstream's floor: even a container whose preStop took all the time may clean up.
const MIN_GRACE: Duration = Duration::from_secs(2);
const FORCED_GRACE: Duration = Duration::from_secs(1);
/// Dead containers of each name that stay, for `logs --previous`.
const KEPT_DEAD: usize = 1;

fn grace(pod: &Pod) -> Duration {
    Duration::from_secs(u64::try_from(pod.grace_seconds()).unwrap_or(0)).max(FORCED_GRACE)
}

/// preStop, then SIGTERM, then SIGKILL when the grace has passed.
async fn stop_one(context: &Context, pod: &Pod, record: &Record, pod_ip: &str, grace: Duration) {
    let started = Instant::now();
    let container = find_container(pod, &record.name);
    let hook = container.and_then(|c| c.lifecycle.as_ref()).and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let (Some(container), Some(hook)) = (container, hook) {
        let target = Target { runtime: &context.runtime, container_id: &record.id, container, pod_ip };
        let field = field_path(pod, &record.name);
        match tokio::time::timeout(grace, target.hook(hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(output)) => {
                let message = format!("PreStopHook failed: {output}");
                context.events.container(pod, &field, Kind::Warning, "FailedPreStopHook", message);
            }
            Err(_) => {
                let message = "PreStopHook did not complete within the grace period".to_owned();
                context.events.container(pod, &field, Kind::Warning, "FailedPreStopHook", message);
            }
        }
    }
    let floor = MIN_GRACE.min(grace);
    let left = grace.saturating_sub(started.elapsed()).max(floor);
    if let Err(error) = context.runtime.stop_container(&record.id, left).await {
        tracing::warn!(container = record.name, pod = pod.name(), %error, "container not stopped");
    }
}

/// App containers together, then sidecars in reverse order, all within one grace period.
async fn stop_all(context: &Context, pod: &Pod, view: &View, grace: Duration) {
    let deadline = Instant::now() + grace;
    let host_ip = context.config.address.to_string();
    let pod_ip = view.ips.first().filter(|_| !pod.host_network()).unwrap_or(&host_ip);
    let sidecars: Vec<&str> =
        pod.init_containers().iter().filter(|c| is_sidecar(c)).map(|container| container.name.as_str()).collect();
    let is_live = |record: &&Record| matches!(record.state, State::Running | State::Unknown);
    let live: Vec<&Record> = view.records.iter().filter(is_live).collect();
    let apps = live.iter().filter(|record| !sidecars.contains(&record.name.as_str()));
    join_all(apps.map(|record| stop_one(context, pod, record, pod_ip, grace))).await;
    for name in sidecars.iter().rev() {
        for record in live.iter().filter(|record| record.name == *name) {
            let left = deadline.saturating_duration_since(Instant::now()).max(FORCED_GRACE);
            stop_one(context, pod, record, pod_ip, left).await;
        }
    }
}

impl Worker {
    /// Kills one container; the pod lives on.
    pub(super) async fn kill(&mut self, pod: &Pod, view: &View, id: &str, why: &Why) -> Result<(), StepError> {
        let Some(record) = view.records.iter().find(|record| record.id == id) else { return Ok(()) };
        let name = &record.name;
        let message = match why {
            Why::Unhealthy(failure) => format!("Container {name} failed {} probe, will be restarted", failure.probe),
            Why::Changed => format!("Container {name} definition changed, will be restarted"),
            Why::PodDone => format!("Stopping container {name}"),
        };
        self.context.events.container(pod, &field_path(pod, name), Kind::Normal, "Killing", message);
        let seconds = match why {
            Why::Unhealthy(failure) => failure.grace_seconds,
            _ => None,
        };
        let seconds = seconds.or(spec(pod).termination_grace_period_seconds).unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(1)).max(FORCED_GRACE);
        let host_ip = self.context.config.address.to_string();
        let pod_ip = view.ips.first().filter(|_| !pod.host_network()).unwrap_or(&host_ip);
        let mut orders = self.orders.clone();
        tokio::select! {
            () = stop_one(&self.context, pod, record, pod_ip, grace) => Ok(()),
            _ = orders.wait_for(Order::terminates) => Err(StepError::Interrupted),
        }
    }

    /// The pod has ended by itself: nothing of it runs, its logs stay until it is deleted.
    pub(super) async fn settle(&mut self, pod: &Pod, view: &View) -> Result<(), StepError> {
        if self.settled {
            return Ok(());
        }
        self.probes.stop_all();
        if view.running().next().is_some() {
            let mut orders = self.orders.clone();
            tokio::select! {
                () = stop_all(&self.context, pod, view, grace(pod)) => {}
                _ = orders.wait_for(Order::terminates) => return Err(StepError::Interrupted),
            }
        }
        for sandbox in &view.sandboxes {
            self.context.runtime.stop_sandbox(&sandbox.id).await?;
        }
        self.settled = true;
        Ok(())
    }

    /// Deletion: stop, report, remove everything, and last tell the API.
    pub(super) async fn terminate(&mut self, order: &Order) -> Result<(), StepError> {
        let pod: &Arc<Pod> = &order.pod;
        self.probes.stop_all();
        self.waiting.clear();
        let view = self.observe(pod).await?;
        if !order.removed {
            self.report(pod, &view, true).await?;
        }
        for record in view.running() {
            let message = format!("Stopping container {}", record.name);
            self.context.events.container(pod, &field_path(pod, &record.name), Kind::Normal, "Killing", message);
        }
        self.stop_with_grace(order, &view).await?;
        let view = self.observe(pod).await?;
        if !order.removed {
            self.report(pod, &view, true).await?;
        }
        for sandbox in &view.sandboxes {
            self.context.runtime.stop_sandbox(&sandbox.id).await?;
        }
        for record in &view.records {
            self.context.runtime.remove_container(&record.id).await?;
        }
        for sandbox in &view.sandboxes {
            self.context.runtime.remove_sandbox(&sandbox.id).await?;
        }
        crate::volumes::tear_down(&pod.folder(&self.context.config))?;
        self.context.cgroups.remove_pod(pod.uid()).await?;
        if !order.removed
            && let Err(error) = Reporter::delete(&self.context.client, pod).await
        {
            tracing::debug!(error = crate::error_chain(&error), "pod not deleted from the API yet");
            self.look_again_in(super::report::RETRY);
            return Err(StepError::Interrupted).inspect_err(|_| self.failures = 0);
        }
        remove_logs(&self.context, pod.namespace(), pod.name(), &pod.log_folder(&self.context.config));
        Ok(())
    }

    /// A later order with less time (`delete --force`) cuts the stop short.
    async fn stop_with_grace(&mut self, order: &Order, view: &View) -> Result<(), StepError> {
        let given = grace(&order.pod);
        let mut orders = self.orders.clone();
        let removed = order.removed;
        tokio::select! {
            () = stop_all(&self.context, &order.pod, view, given) => Ok(()),
            _ = orders.wait_for(|later| grace(&later.pod) < given || (later.removed && !removed)) => {
                Err(StepError::Interrupted)
            }
        }
    }

    /// Keeps the newest container of each name and one dead one before it.
    pub(super) async fn remove_old_containers(&mut self, pod: &Pod, view: &View) {
        let containers = pod.init_containers().iter().chain(pod.app_containers());
        for container in containers {
            let of_name = view.records.iter().filter(|record| record.name == container.name);
            for record in of_name.skip(1 + KEPT_DEAD).filter(|record| record.state != State::Running) {
                if let Err(error) = self.context.runtime.remove_container(&record.id).await {
                    tracing::debug!(%error, "dead container not removed");
                    continue;
                }
                let link = format!("{}_{}_{}-{}.log", pod.name(), pod.namespace(), record.name, record.id);
                for path in [Path::new(&record.log_path), &self.context.config.folders.container_logs.join(link)] {
                    if path.symlink_metadata().is_ok()
                        && let Err(error) = fs::remove_file(path)
                    {
                        tracing::debug!(%error, "old log not removed");
                    }
                }
                let message = pod.folder(&self.context.config).join("containers").join(&record.name);
                let message = message.join(record.restart_count.to_string());
                if message.exists()
                    && let Err(error) = fs::remove_file(message)
                {
                    tracing::debug!(%error, "old termination message not removed");
                }
            }
        }
        // Sandboxes before the present one hold nothing once their containers are gone.
        for sandbox in view.sandboxes.iter().skip(1) {
            let used = view.records.iter().any(|record| record.sandbox_id == sandbox.id);
            if !used && let Err(error) = self.context.runtime.remove_sandbox(&sandbox.id).await {
                tracing::debug!(%error, "old sandbox not removed");
            }
        }
    }
}

pub(crate) fn remove_logs(context: &Context, namespace: &str, name: &str, folder: &Path) {
    if folder.exists()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        tracing::debug!(%error, "pod logs not removed");
    }
    let prefix = format!("{name}_{namespace}_");
    for entry in fs::read_dir(&context.config.folders.container_logs).into_iter().flatten().flatten() {
        // Only links that lead nowhere: a new pod may have the same name already.
        let ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        if ours
            && !entry.path().exists()
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(%error, "log link not removed");
        }
    }
}
