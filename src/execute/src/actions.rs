//! What each kind of step does.

use std::time::Duration;

use naru_agent::{ApiRequest, Failure, FailureKind, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_observe::{AgentError, Fleet, HostAgent, api_call, node_from_json};
use naru_plan::{Action, Artifact, CONTROL_PLANE_UNIT, NODE_UNIT, Step};
use naru_resources::Certificate;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::{Event, ProgramFiles, Sink, labels};

/// How often a readiness question is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long the API server and a node may take to be ready after their programs were started.
const API_DEADLINE: Duration = Duration::from_secs(120);
const NODE_DEADLINE: Duration = Duration::from_secs(180);
const API_TIMEOUT_MS: u64 = 5_000;
/// Lines of a unit's journal that go with a failure.
const LOG_LINES: u32 = 20;

/// Everything that a step may need.
pub(crate) struct World<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) fleet: &'a dyn Fleet,
    pub(crate) programs: &'a ProgramFiles,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) uploads: &'a Semaphore,
}

impl World<'_> {
    /// Does a step; answers with one line per change that was really made.
    pub(crate) async fn perform(&self, step: &Step) -> Result<Vec<String>, AgentError> {
        match &step.action {
            Action::MakeMachine => Err(permanent(format!("machine {} has to be made first", step.host))),
            Action::Upload { artifacts, .. } => self.upload(step, artifacts).await,
            Action::Apply { resources, .. } => {
                let agent = self.agent(&step.host).await?;
                match agent.call(Request::Apply { resources: resources.clone(), revert_after_seconds: None }).await? {
                    Response::Changes { changes, .. } => Ok(changes.into_iter().map(|change| change.summary).collect()),
                    _ => Err(unexpected(&step.host, "apply")),
                }
            }
            Action::Certificates { certificates, authority_host, authority_key_path } => {
                let mut lines = Vec::new();
                for certificate in certificates {
                    self.certificate(&step.host, certificate, authority_host, authority_key_path).await?;
                    lines.push(format!("issue {}", certificate.certificate_path));
                }
                Ok(lines)
            }
            Action::WaitForApi => self.wait_for_api(&step.host).await,
            Action::WaitForNode { control_planes } => self.wait_for_node(&step.host, first(control_planes)?).await,
            Action::Label { control_planes, change } => {
                let control_plane = first(control_planes)?;
                let agent = self.agent(control_plane).await?;
                labels::apply(agent.as_ref(), control_plane, &step.host, change).await
            }
            _ => Err(permanent(format!("this version cannot {}", step.title))),
        }
    }

    fn host(&self, name: &str) -> Result<&Host, AgentError> {
        self.inventory.host(name).ok_or_else(|| permanent(format!("{name} is not a host of the inventory")))
    }

    pub(crate) async fn agent(&self, name: &str) -> Result<Arc<dyn HostAgent>, AgentError> {
        let host = self.host(name)?;
        let connected = self.fleet.connect(host).await;
        connected.map_err(|problem| AgentError::Connect { host: name.to_owned(), problem })
    }

    async fn upload(&self, step: &Step, artifacts: &[Artifact]) -> Result<Vec<String>, AgentError> {
        let _slot = self.uploads.acquire().await.map_err(|_| permanent("the run is over".to_owned()))?;
        let agent = self.agent(&step.host).await?;
        let sha256 = artifacts.iter().map(|artifact| artifact.sha256.clone()).collect();
        // Asked again: an earlier attempt may have got half of them over.
        let Response::MissingArtifacts { missing } = agent.call(Request::MissingArtifacts { sha256 }).await? else {
            return Err(unexpected(&step.host, "the question for artifacts"));
        };
        let total: u64 = artifacts.iter().map(|artifact| artifact.size_bytes).sum();
        let mut before = 0;
        let mut lines = Vec::new();
        for artifact in artifacts {
            if let Some(missing) = missing.iter().find(|missing| missing.sha256 == artifact.sha256) {
                let path = self
                    .programs
                    .path(&artifact.sha256)
                    .ok_or_else(|| permanent(format!("the file of {} is not at hand", artifact.name)))?;
                let tell = |sent: u64| {
                    let step = step.id.clone();
                    self.sink.event(&Event::StepProgress { step, done: before + sent, total });
                };
                agent.upload(&artifact.sha256, path, missing.have_bytes, &tell).await?;
                lines.push(format!("upload {}", artifact.name));
            }
            before += artifact.size_bytes;
        }
        Ok(lines)
    }

    async fn certificate(
        &self,
        name: &str,
        certificate: &Certificate,
        authority_host: &str,
        authority_key_path: &str,
    ) -> Result<(), AgentError> {
        let host = self.agent(name).await?;
        let authority = self.agent(authority_host).await?;
        let request = Request::SigningRequest { certificate: certificate.clone() };
        let Response::SigningRequest { pem } = host.call(request).await? else {
            return Err(unexpected(name, "a signing request"));
        };
        let request = Request::Sign {
            signing_request_pem: pem,
            certificate: certificate.clone(),
            authority_key_path: authority_key_path.to_owned(),
        };
        let Response::Signed { certificate_pem, authority_pem } = authority.call(request).await? else {
            return Err(unexpected(authority_host, "a signature"));
        };
        let certificate = certificate.clone();
        match host.call(Request::InstallCertificate { certificate, certificate_pem, authority_pem }).await? {
            Response::Done | Response::Changes { .. } => Ok(()),
            _ => Err(unexpected(name, "installing a certificate")),
        }
    }

    async fn wait_for_api(&self, host: &str) -> Result<Vec<String>, AgentError> {
        let end = Instant::now() + API_DEADLINE;
        loop {
            let agent = self.agent(host).await?;
            let last = match api_call(agent.as_ref(), host, get("/readyz")).await {
                Ok(response) if response.status == 200 => return Ok(Vec::new()),
                Ok(response) => format!("/readyz answers {}: {}", response.status, first_line(&response.body)),
                Err(AgentError::Failed(failure)) => failure.message,
                Err(error) => return Err(error),
            };
            if Instant::now() >= end {
                let what = format!("the API server is not ready after {} s: {last}", API_DEADLINE.as_secs());
                return Err(self.with_log(host, CONTROL_PLANE_UNIT, what).await);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn wait_for_node(&self, node: &str, control_plane: &str) -> Result<Vec<String>, AgentError> {
        let end = Instant::now() + NODE_DEADLINE;
        let path = format!("/api/v1/nodes/{node}");
        loop {
            let agent = self.agent(control_plane).await?;
            let last = match api_call(agent.as_ref(), control_plane, get(&path)).await {
                Ok(response) if response.status == 200 => {
                    let (_, node) = node_from_json(&serde_json::from_str(&response.body).unwrap_or_default());
                    if node.ready {
                        return Ok(Vec::new());
                    }
                    node.reason
                }
                Ok(response) if response.status == 404 => "it has not registered itself".to_owned(),
                Ok(response) => format!("the API server answers {}", response.status),
                Err(AgentError::Failed(failure)) => failure.message,
                Err(error) => return Err(error),
            };
            if Instant::now() >= end {
                let what = format!("the node is not Ready after {} s: {last}", NODE_DEADLINE.as_secs());
                return Err(self.with_log(node, NODE_UNIT, what).await);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// A failure with the last lines of the program that should have done better.
    async fn with_log(&self, host: &str, unit: &str, message: String) -> AgentError {
        let lines = match self.agent(host).await {
            Ok(agent) => match agent.call(Request::UnitLog { unit: unit.to_owned(), lines: LOG_LINES }).await {
                Ok(Response::Log { lines }) => lines,
                _ => Vec::new(),
            },
            Err(_) => Vec::new(),
        };
        AgentError::Failed(Failure {
            kind: FailureKind::Permanent,
            message,
            detail: (!lines.is_empty()).then(|| lines.join("\n")),
            hint: Some(format!("naru logs {host} --unit {unit}")),
        })
    }
}

fn get(path: &str) -> ApiRequest {
    ApiRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        content_type: String::new(),
        body: String::new(),
        timeout_ms: API_TIMEOUT_MS,
    }
}

fn first(hosts: &[String]) -> Result<&str, AgentError> {
    hosts.first().map(String::as_str).ok_or_else(|| permanent("the plan names no control plane to ask".to_owned()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn unexpected(host: &str, request: &'static str) -> AgentError {
    AgentError::Unexpected { host: host.to_owned(), request }
}

fn permanent(message: String) -> AgentError {
    AgentError::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None })
}
