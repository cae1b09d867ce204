//! Starting one container: back-off, image, configuration, creation, log link, post-start hook.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err as fs;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::container_config::Request;
use super::view::{Record, State, View};
use super::{StepError, Worker, sandbox};
use crate::events::Kind;
use crate::pod::{PodExt, field_path, find_container};
use crate::probe_action::Target;

/// How soon a container whose description was wrong is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(5);

impl Worker {
    /// True if the container was started; false if it has to wait.
    pub(super) async fn start(&mut self, pod: &Arc<Pod>, view: &View, name: &str) -> Result<bool, StepError> {
        let Some(container) = find_container(pod, name) else { return Ok(false) };
        let Some(sandbox) = view.sandbox() else { return Ok(false) };
        if self.holds_back(pod, container, view.latest(name)) {
            return Ok(false);
        }
        let Some(image) = self.image(pod, container).await? else { return Ok(false) };
        let restart_count = self.next_attempt(pod, view.latest(name), name);
        let request = Request {
            context: &self.context,
            pod,
            container,
            image: &image,
            volumes: &self.volumes,
            pod_ips: &view.ips,
            restart_count,
        };
        let field = field_path(pod, name);
        let config = match request.build().await {
            Ok(config) => config,
            Err(error) => {
                let message = crate::error_chain(&error);
                self.context.events.container(pod, &field, Kind::Warning, "Failed", format!("Error: {message}"));
                return Ok(self.wait(name, "CreateContainerConfigError", message));
            }
        };
        fs::create_dir_all(pod.log_folder(&self.context.config).join(name))?;
        let attempt = sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        let sandbox_config = sandbox::config(&self.context, pod, attempt);
        let id = match self.context.runtime.create_container(&sandbox.id, config, sandbox_config).await {
            Ok(id) => id,
            Err(error) => {
                let message = error.message();
                self.context.events.container(pod, &field, Kind::Warning, "Failed", format!("Error: {message}"));
                return Ok(self.wait(name, "CreateContainerError", message));
            }
        };
        self.context.events.container(pod, &field, Kind::Normal, "Created", format!("Container created: {name}"));
        if let Err(error) = self.context.runtime.start_container(&id).await {
            let message = error.message();
            self.context.events.container(pod, &field, Kind::Warning, "Failed", format!("Error: {message}"));
            // The runtime keeps it as exited; the next round restarts it with back-off.
            self.wait(name, "RunContainerError", message);
            return Ok(true);
        }
        self.waiting.remove(name);
        self.context.events.container(pod, &field, Kind::Normal, "Started", format!("Container started: {name}"));
        self.link_log(pod, name, &id, restart_count);
        self.post_start(pod, container, &id, view).await?;
        Ok(true)
    }

    fn wait(&mut self, name: &str, reason: &str, message: String) -> bool {
        self.waiting.insert(name.to_owned(), (reason.to_owned(), message));
        self.look_again_in(CONFIG_RETRY);
        false
    }

    /// CrashLoopBackOff, counted from the moment the container ended.
    fn holds_back(&mut self, pod: &Pod, container: &Container, latest: Option<&Record>) -> bool {
        let Some(record) = latest.filter(|record| record.state == State::Exited) else { return false };
        let name = &container.name;
        let elapsed_ns = jiff::Timestamp::now().as_nanosecond() - i128::from(record.finished_at_ns);
        let elapsed = Duration::from_nanos(u64::try_from(elapsed_ns).unwrap_or(0));
        let backoff = self.crashes.entry(name.clone()).or_default();
        let Some(left) = backoff.remaining_after(elapsed) else {
            backoff.bump(Instant::now());
            return false;
        };
        let delay = backoff.delay().as_secs();
        let full = format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid());
        let message = format!("back-off {delay}s restarting failed container={name} pod={full}");
        let known = self.waiting.get(name).is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
        if !known {
            let text = format!("Back-off restarting failed container {name} in pod {full}");
            self.context.events.container(pod, &field_path(pod, name), Kind::Warning, "BackOff", text);
        }
        self.waiting.insert(name.clone(), ("CrashLoopBackOff".into(), message));
        self.look_again_in(left);
        true
    }

    /// The image, or `None` while it cannot be had. A deletion does not wait for a pull.
    async fn image(&mut self, pod: &Pod, container: &Container) -> Result<Option<cri::Image>, StepError> {
        let name = &container.name;
        let mut backoff = self.pulls.remove(name).unwrap_or_default();
        let mut orders = self.orders.clone();
        let result = tokio::select! {
            result = crate::images::ensure(&self.context, pod, container, &mut backoff) => Some(result),
            _ = orders.wait_for(super::Order::terminates) => None,
        };
        let left = backoff.remaining(Instant::now());
        self.pulls.insert(name.clone(), backoff);
        match result {
            None => Err(StepError::Interrupted),
            Some(Ok(image)) => Ok(Some(image)),
            Some(Err(problem)) => {
                self.wait(name, problem.reason, problem.message);
                if let Some(left) = left {
                    self.look_again_in(left);
                }
                Ok(None)
            }
        }
    }

    /// Counts on from what the runtime remembers, or, after it forgot, from what the API does.
    fn next_attempt(&self, pod: &Pod, latest: Option<&Record>, name: &str) -> i32 {
        let before = self.reporter.before(pod);
        let statuses = before.container_statuses.iter().flatten();
        let mut statuses = statuses.chain(before.init_container_statuses.iter().flatten());
        let known = statuses.find(|status| status.name == name);
        let counted = known.filter(|status| {
            let ran = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
                state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            };
            ran(status.state.as_ref()) || ran(status.last_state.as_ref())
        });
        let by_api = counted.map_or(0, |status| status.restart_count + 1);
        let by_runtime = latest.map_or(0, |record| record.restart_count + 1);
        by_runtime.max(by_api)
    }

    /// `/var/log/containers` is where log collectors look.
    fn link_log(&self, pod: &Pod, name: &str, id: &str, restart_count: i32) {
        let folder = &self.context.config.folders.container_logs;
        let target = pod.log_folder(&self.context.config).join(name).join(format!("{restart_count}.log"));
        let link = folder.join(format!("{}_{}_{name}-{id}.log", pod.name(), pod.namespace()));
        if let Err(error) = fs::create_dir_all(folder).and_then(|()| symlink(target, link)) {
            tracing::debug!(%error, "log link not made");
        }
    }

    async fn post_start(&self, pod: &Pod, container: &Container, id: &str, view: &View) -> Result<(), StepError> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
            return Ok(());
        };
        let host_ip = self.context.config.address.to_string();
        let pod_ip = view.ips.first().filter(|_| !pod.host_network()).unwrap_or(&host_ip);
        let target = Target { runtime: &self.context.runtime, container_id: id, container, pod_ip };
        let mut orders = self.orders.clone();
        let result = tokio::select! {
            result = target.hook(hook) => result,
            _ = orders.wait_for(super::Order::terminates) => return Err(StepError::Interrupted),
        };
        if let Err(output) = result {
            let field = field_path(pod, &container.name);
            let message = format!("PostStartHook failed: {output}");
            self.context.events.container(pod, &field, Kind::Warning, "FailedPostStartHook", message);
            self.context.runtime.stop_container(id, Duration::from_secs(2)).await?;
        }
        Ok(())
    }
}
