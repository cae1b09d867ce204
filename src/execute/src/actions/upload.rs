//! Files onto hosts: from a neighbour that has them, else from here, going on where an earlier attempt was cut.

use std::time::Duration;

use naru_agent::{FailureKind, MissingArtifact, Request, Response};
use naru_observe::AgentError;
use naru_plan::{Artifact, Step};
use tokio::time::timeout;

use super::Lines;
use super::exchange::Offer;
use crate::Event;
use crate::step::out_of_time;
use crate::world::{World, permanent, unexpected};

/// What a fetch from a neighbour may take besides its bytes.
const FETCH_BASE_MS: u64 = 20_000;
/// A neighbour that is slower than this is no better than the line from here.
const SLOWEST_BYTES_PER_MS: u64 = 1_000;

impl World<'_> {
    pub(super) async fn upload(&self, step: &Step, artifacts: &[Artifact], neighbours: &[String]) -> Lines {
        let total: u64 = artifacts.iter().map(|artifact| artifact.size_bytes).sum();
        // Asked even if this is the first attempt: an earlier run may have got half of them over.
        let missing = self.missing(&step.host, artifacts).await?;
        let (mut lines, mut before) = (Vec::new(), 0);
        for artifact in artifacts {
            if missing.iter().any(|missing| missing.sha256 == artifact.sha256) {
                let sent = |done: u64| {
                    let done = before + done;
                    self.sink.event(&Event::StepProgress { step: step.id.clone(), done, total });
                };
                lines.push(self.one(step, artifact, neighbours, &sent).await?);
            }
            self.exchange.has(&step.host, &artifact.sha256);
            before += artifact.size_bytes;
        }
        Ok(lines)
    }

    async fn missing(&self, host: &str, artifacts: &[Artifact]) -> Result<Vec<MissingArtifact>, AgentError> {
        let sha256 = artifacts.iter().map(|artifact| artifact.sha256.clone()).collect();
        match self.call(host, Request::MissingArtifacts { sha256 }).await? {
            Response::MissingArtifacts { missing } => Ok(missing),
            _ => Err(unexpected(host, "the question for artifacts")),
        }
    }

    async fn one(
        &self,
        step: &Step,
        artifact: &Artifact,
        neighbours: &[String],
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<String, AgentError> {
        loop {
            let source = self.exchange.source(&artifact.sha256, neighbours, &step.host).await;
            let Some(neighbour) = &source.neighbour else {
                let limit = Duration::from_secs(u64::from(step.deadline_seconds));
                let sending = timeout(limit, self.send(&step.host, artifact, sent));
                sending.await.unwrap_or_else(|_| Err(out_of_time(step)))?;
                return Ok(format!("upload {}", artifact.name));
            };
            match self.fetch(&step.host, artifact, neighbour).await? {
                None => {
                    sent(artifact.size_bytes);
                    return Ok(format!("fetch {} from {neighbour}", artifact.name));
                }
                Some(reason) => {
                    self.exchange.is_useless(neighbour);
                    self.remark(format!("{neighbour} could not give {} to {}: {reason}", artifact.name, step.host));
                }
            }
        }
    }

    /// Nothing when the host has it now; what the neighbour could not do, which is no failure of the host.
    async fn fetch(&self, host: &str, artifact: &Artifact, neighbour: &str) -> Result<Option<String>, AgentError> {
        let cell = self.exchange.offer(neighbour, &artifact.sha256);
        let offer = match cell.get_or_try_init(|| self.serve(neighbour, &artifact.sha256)).await {
            Ok(offer) => offer.clone(),
            Err(error) => {
                if error.breaks_connection() {
                    self.fleet.forget(neighbour).await;
                }
                return Ok(Some(error.to_string()));
            }
        };
        let address = &self.host(neighbour)?.address;
        let (sha256, size_bytes) = (artifact.sha256.clone(), artifact.size_bytes);
        let urls = vec![format!("http://{address}:{}{}{sha256}", offer.port, offer.path)];
        let deadline_ms = FETCH_BASE_MS + size_bytes / SLOWEST_BYTES_PER_MS;
        match self.call(host, Request::FetchArtifact { sha256, size_bytes, urls, deadline_ms }).await {
            Ok(Response::Done) => Ok(None),
            Ok(_) => Err(unexpected(host, "fetching an artifact")),
            Err(AgentError::Failed(failure))
                if matches!(failure.kind, FailureKind::Transient | FailureKind::Permanent) =>
            {
                Ok(Some(failure.message))
            }
            Err(error) => Err(error),
        }
    }

    async fn serve(&self, neighbour: &str, sha256: &str) -> Result<Offer, AgentError> {
        let sha256 = vec![sha256.to_owned()];
        match self.call(neighbour, Request::ServeArtifacts { sha256 }).await? {
            Response::Serving { port, path } => Ok(Offer { port, path }),
            _ => Err(unexpected(neighbour, "giving artifacts")),
        }
    }

    async fn send(&self, host: &str, artifact: &Artifact, sent: &(dyn Fn(u64) + Sync)) -> Result<(), AgentError> {
        let Some(path) = self.programs.path(&artifact.sha256) else {
            return Err(permanent(format!("{} is not at hand", artifact.name)));
        };
        // A neighbour that gave up half-way leaves something behind, too.
        let missing = self.missing(host, std::slice::from_ref(artifact)).await?;
        let Some(missing) = missing.first() else { return Ok(()) };
        let offset_bytes = if missing.have_bytes < artifact.size_bytes { missing.have_bytes } else { 0 };
        self.agent(host).await?.upload(&artifact.sha256, path, offset_bytes, sent).await
    }
}
