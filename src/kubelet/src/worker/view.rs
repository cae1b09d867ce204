//! What the runtime shows of one pod.

use std::collections::HashMap;

use k8s_cri::v1 as cri;

use crate::Context;
use crate::cri::{CONTAINER_NAME_LABEL, CriError};
use crate::termination_message;

pub(crate) const RESTART_COUNT_ANNOTATION: &str = "io.kubernetes.container.restartCount";
pub(crate) const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

impl State {
    fn of(state: i32) -> Self {
        match cri::ContainerState::try_from(state) {
            Ok(cri::ContainerState::ContainerCreated) => State::Created,
            Ok(cri::ContainerState::ContainerRunning) => State::Running,
            Ok(cri::ContainerState::ContainerExited) => State::Exited,
            _ => State::Unknown,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub id: String,
    pub name: String,
    pub sandbox_id: String,
    pub state: State,
    pub restart_count: i32,
    pub hash: String,
    pub image: String,
    pub image_ref: String,
    pub created_at_ns: i64,
    pub started_at_ns: i64,
    pub finished_at_ns: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: Option<String>,
    pub log_path: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Newest first.
    pub sandboxes: Vec<cri::PodSandbox>,
    /// Newest first.
    pub records: Vec<Record>,
    pub ips: Vec<String>,
}

impl View {
    /// The sandbox that containers may be started in.
    pub(crate) fn sandbox(&self) -> Option<&cri::PodSandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.state == cri::PodSandboxState::SandboxReady as i32)
    }

    pub(crate) fn latest(&self, name: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.name == name)
    }

    pub(crate) fn previous(&self, name: &str) -> Option<&Record> {
        self.records.iter().filter(|record| record.name == name).nth(1).filter(|record| record.state == State::Exited)
    }

    /// The newest container of this name in the present sandbox.
    pub(crate) fn current(&self, name: &str) -> Option<&Record> {
        let sandbox = self.sandbox()?;
        self.latest(name).filter(|record| record.sandbox_id == sandbox.id)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.state == State::Running)
    }
}

/// Remembers what cannot change any more, so that a quiet pod costs two list calls.
#[derive(Default)]
pub(crate) struct Observer {
    records: HashMap<String, Record>,
    ips: Option<(String, Vec<String>)>,
}

impl Observer {
    pub(crate) async fn observe(&mut self, context: &Context, uid: &str) -> Result<View, CriError> {
        let mut sandboxes = context.runtime.sandboxes(Some(uid)).await?;
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        let listed = context.runtime.containers(Some(uid)).await?;
        let mut records = Vec::with_capacity(listed.len());
        for container in listed {
            if let Some(record) = self.record(context, container).await? {
                records.push(record);
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.created_at_ns));
        self.records = records.iter().map(|record| (record.id.clone(), record.clone())).collect();
        let mut view = View { sandboxes, records, ips: Vec::new() };
        view.ips = self.addresses(context, &view).await?;
        Ok(view)
    }

    async fn record(&self, context: &Context, listed: cri::Container) -> Result<Option<Record>, CriError> {
        if let Some(known) = self.records.get(&listed.id)
            && known.state == State::of(listed.state)
            && matches!(known.state, State::Running | State::Exited)
        {
            return Ok(Some(known.clone()));
        }
        match context.runtime.container_status(&listed.id).await {
            Ok(status) => Ok(Some(from_status(status, listed.pod_sandbox_id))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn addresses(&mut self, context: &Context, view: &View) -> Result<Vec<String>, CriError> {
        let Some(sandbox) = view.sandbox() else { return Ok(Vec::new()) };
        if let Some((id, ips)) = &self.ips
            && *id == sandbox.id
        {
            return Ok(ips.clone());
        }
        let status = context.runtime.sandbox_status(&sandbox.id).await?;
        let mut ips = Vec::new();
        if let Some(network) = status.network.filter(|network| !network.ip.is_empty()) {
            ips.push(network.ip);
            ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip));
            self.ips = Some((sandbox.id.clone(), ips.clone()));
        }
        Ok(ips)
    }
}

fn from_status(status: cri::ContainerStatus, sandbox_id: String) -> Record {
    let state = State::of(status.state);
    let annotation = |name: &str| status.annotations.get(name).cloned().unwrap_or_default();
    Record {
        name: status.labels.get(CONTAINER_NAME_LABEL).cloned().unwrap_or_default(),
        sandbox_id,
        state,
        restart_count: annotation(RESTART_COUNT_ANNOTATION).parse().unwrap_or(0),
        hash: annotation(HASH_ANNOTATION),
        message: if state == State::Exited { termination_message::read(&status) } else { None },
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_ref: status.image_ref,
        created_at_ns: status.created_at,
        started_at_ns: status.started_at,
        finished_at_ns: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason,
        log_path: status.log_path,
        id: status.id,
    }
}

#[cfg(test)]
pub(crate) fn sample_record(name: &str, state: State, restart_count: i32, exit_code: i32) -> Record {
    Record {
        id: format!("{name}-{restart_count}"),
        name: name.into(),
        sandbox_id: "s".into(),
        state,
        restart_count,
        hash: String::new(),
        image: "i".into(),
        image_ref: "sha256:1".into(),
        created_at_ns: 1,
        started_at_ns: 2,
        finished_at_ns: 3,
        exit_code,
        reason: String::new(),
        message: None,
        log_path: String::new(),
    }
}

#[cfg(test)]
impl View {
    pub(crate) fn sample(records: Vec<Record>) -> Self {
        let sandbox = cri::PodSandbox { id: "s".into(), ..Default::default() };
        Self { sandboxes: vec![sandbox], records, ips: vec!["10.244.0.2".into()] }
    }
}
