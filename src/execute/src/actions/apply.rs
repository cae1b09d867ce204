//! Resources of a host. A change that could cut the host off is confirmed over a new connection, or the agent puts
//! everything back by itself.

use std::time::Duration;

use naru_agent::{FailureKind, Request, Response};
use naru_observe::AgentError;
use naru_plan::Step;
use naru_resources::Resource;
use tokio::time::{Instant, sleep, timeout};

use super::Lines;
use crate::world::{World, failed, unexpected};

/// Confirming ends this long before the agent would put things back, so that both never happen.
const CONFIRM_MARGIN: Duration = Duration::from_secs(2);
/// How long putting back itself may take.
const REVERT_MARGIN: Duration = Duration::from_secs(5);
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

impl World<'_> {
    pub(super) async fn apply(&self, step: &Step, resources: &[Resource], revert_after_seconds: Option<u32>) -> Lines {
        let request = Request::Apply { resources: resources.to_vec(), revert_after_seconds };
        let answer = self.call(&step.host, request).await;
        let revert_after = revert_after_seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        let (changes, confirmation) = match (answer, revert_after) {
            (Ok(Response::Changes { changes, confirmation }), _) => (changes, confirmation),
            (Ok(_), _) => return Err(unexpected(&step.host, "apply")),
            // The answer is lost, and with it the word that confirms.
            (Err(error), Some(revert_after)) if error.breaks_connection() => {
                self.fleet.forget(&step.host).await;
                return Err(self.wait_for_revert(&step.host, Instant::now() + revert_after, &error).await);
            }
            (Err(error), _) => return Err(error),
        };
        if let (Some(confirmation), Some(revert_after)) = (confirmation, revert_after) {
            // The agent began to count when it was done, which is a little earlier.
            self.confirm(&step.host, confirmation, Instant::now() + revert_after).await?;
        }
        Ok(changes.into_iter().map(|change| change.summary).collect())
    }

    async fn confirm(&self, name: &str, confirmation: String, end: Instant) -> Result<(), AgentError> {
        let last_moment = end - CONFIRM_MARGIN;
        loop {
            let left = last_moment.saturating_duration_since(Instant::now());
            let once = timeout(left, self.confirm_once(name, confirmation.clone()));
            let error = match once.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => AgentError::Deadline {
                    host: name.to_owned(),
                    what: "a new connection".to_owned(),
                    seconds: left.as_secs(),
                },
            };
            if Instant::now() + CONFIRM_PAUSE >= last_moment {
                // What there is of connections leads to a host that may not be reached any more.
                self.fleet.forget(name).await;
                return Err(self.wait_for_revert(name, end, &error).await);
            }
            sleep(CONFIRM_PAUSE).await;
        }
    }

    async fn confirm_once(&self, name: &str, confirmation: String) -> Result<(), AgentError> {
        let connected = self.fleet.connect_anew(self.host(name)?).await;
        let agent = connected.map_err(|problem| AgentError::Connect { host: name.to_owned(), problem })?;
        match agent.call(Request::Confirm { confirmation }).await? {
            Response::Done => Ok(()),
            _ => Err(unexpected(name, "a confirmation")),
        }
    }

    /// Waits until the agent has put things back, and says whether the host can be reached again.
    async fn wait_for_revert(&self, name: &str, end: Instant, error: &AgentError) -> AgentError {
        tokio::time::sleep_until(end + REVERT_MARGIN).await;
        let detail = match error.detail() {
            Some(detail) => format!("{error}: {detail}"),
            None => error.to_string(),
        };
        let after = match self.agent(name).await {
            Ok(_) => "it was put back, and the host can be reached again",
            Err(_) => "it should have been put back, but the host still cannot be reached",
        };
        let message = format!("after the change the host could not be reached over a new connection; {after}");
        failed(FailureKind::Permanent, message, Some(detail))
    }
}
