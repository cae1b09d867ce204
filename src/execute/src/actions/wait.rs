//! Waiting until what was started works.

use std::time::Duration;

use jiff::Timestamp;
use naru_agent::{ApiResponse, Request, Response, UnitState};
use naru_observe::{AgentError, node_from_json};
use naru_plan::{CONTROL_PLANE_UNIT, NODE_UNIT, Step};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use super::Lines;
use crate::world::{World, get, status_message, unexpected};

/// How often a readiness question is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long the API server and a node may take to be ready after their programs were started.
const API_DEADLINE: Duration = Duration::from_secs(120);
const NODE_DEADLINE: Duration = Duration::from_secs(180);
/// The reason should be told before the step itself is out of time.
const REASON_MARGIN: Duration = Duration::from_secs(5);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

impl World<'_> {
    pub(super) async fn wait_for_api(&self, step: &Step) -> Lines {
        let host = &step.host;
        let limit = limit(API_DEADLINE, step);
        let end = Instant::now() + limit;
        loop {
            let last = match self.api_of(host, get("/readyz")).await {
                Ok(answer) if answer.status == 200 => return Ok(Vec::new()),
                Ok(answer) => format!("/readyz answers {}: {}", answer.status, status_message(&answer.body)),
                Err(AgentError::Failed(failure)) => failure.message,
                Err(error) => return Err(error),
            };
            if Instant::now() >= end {
                let what = format!("the API server is not ready after {} s: {last}", limit.as_secs());
                return Err(self.with_log(host, CONTROL_PLANE_UNIT, what).await);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Ready alone says nothing right after a restart: it may be the word of the program that was there before.
    pub(super) async fn wait_for_node(&self, step: &Step, control_planes: &[String]) -> Lines {
        let limit = limit(NODE_DEADLINE, step);
        let end = Instant::now() + limit;
        let mut unit = self.node_unit(&step.host).await?;
        loop {
            let last = match unit.as_ref().filter(|unit| unit.active_state != "active") {
                Some(down) => {
                    let last = format!("{} is {}", down.name, down.active_state);
                    unit = self.node_unit(&step.host).await?;
                    last
                }
                None => match self.node_report(&step.host, control_planes, unit.as_ref()).await? {
                    None => return Ok(Vec::new()),
                    Some(last) => last,
                },
            };
            if Instant::now() >= end {
                let what = format!("the node is not Ready after {} s: {last}", limit.as_secs());
                return Err(self.with_log(&step.host, NODE_UNIT, what).await);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn node_unit(&self, host: &str) -> Result<Option<UnitState>, AgentError> {
        match self.call(host, Request::Facts).await? {
            Response::Facts(facts) => Ok(facts.units.into_iter().find(|unit| unit.name == NODE_UNIT)),
            _ => Err(unexpected(host, "the question for facts")),
        }
    }

    /// Nothing if the node is Ready by its present program's word, else why it is not.
    async fn node_report(
        &self,
        node: &str,
        control_planes: &[String],
        unit: Option<&UnitState>,
    ) -> Result<Option<String>, AgentError> {
        let answer = match self.api(control_planes, get(&format!("/api/v1/nodes/{node}"))).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) if answer.status == 404 => return Ok(Some("it has not registered itself".to_owned())),
            Ok(answer) => return Ok(Some(format!("the API server answers {}", answer.status))),
            Err(AgentError::Failed(failure)) => return Ok(Some(failure.message)),
            Err(error) => return Err(error),
        };
        let object: Json = serde_json::from_str(&answer.body).unwrap_or_default();
        let (_, seen) = node_from_json(&object);
        if !seen.ready {
            return Ok(Some(seen.reason));
        }
        let Some(started_ms) = unit.map(|unit| unit.started_unix_ms).filter(|started| *started > 0) else {
            return Ok(None);
        };
        if heartbeat_ms(&object).is_some_and(|reported| reported > started_ms) {
            return Ok(None);
        }
        let lease = self.api(control_planes, get(&format!("{LEASES}/{node}"))).await;
        Ok(match lease {
            Ok(lease) if renewed_ms(&lease).is_some_and(|renewed| renewed > started_ms) => None,
            _ => Some("it has not reported since its program started".to_owned()),
        })
    }
}

fn limit(longest: Duration, step: &Step) -> Duration {
    let of_step = Duration::from_secs(u64::from(step.deadline_seconds));
    longest.min(of_step.saturating_sub(REASON_MARGIN))
}

fn unix_ms(time: &Json) -> Option<i64> {
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_millisecond())
}

/// When the kubelet last said what it says about Ready.
fn heartbeat_ms(node: &Json) -> Option<i64> {
    let mut conditions = node["status"]["conditions"].as_array()?.iter();
    unix_ms(&conditions.find(|condition| condition["type"] == "Ready")?["lastHeartbeatTime"])
}

fn renewed_ms(answer: &ApiResponse) -> Option<i64> {
    let lease: Json = serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200)?;
    unix_ms(&lease["spec"]["renewTime"])
}
