//! Drain: evicts a node's pods and waits until they are gone. Disruption budgets are respected until the deadline,
//! and then named.

use std::collections::BTreeMap;
use std::time::Duration;

use naru_agent::{ApiResponse, FailureKind};
use naru_observe::{AgentError, PodOnNode, pod_from_json, pods_path};
use naru_plan::Step;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::Lines;
use crate::world::{World, api_request, failed, get, refused, status_message};

/// How often pods are looked at and refused evictions tried again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pages of pods of one node; a node with more is beyond what a kubelet can run.
const PAGES_MAX: usize = 20;
/// Pods that are named in a message.
const NAMED_MAX: usize = 5;

/// A pod that has to go.
struct Leaving {
    pod: PodOnNode,
    uid: String,
    is_going: bool,
}

impl World<'_> {
    pub(super) async fn drain(&self, step: &Step, control_planes: &[String], timeout_seconds: u32) -> Lines {
        let end = Instant::now() + Duration::from_secs(u64::from(timeout_seconds));
        let mut evicted: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let leaving = self.leaving(control_planes, &step.host).await?;
            if leaving.is_empty() {
                return Ok(evicted.into_values().collect());
            }
            self.unmanaged_are_planned(step, &leaving)?;
            let mut why = BTreeMap::new();
            for Leaving { pod, uid, is_going } in &leaving {
                let name = format!("{}/{}", pod.namespace, pod.name);
                if *is_going {
                    why.insert(name, "is still ending".to_owned());
                    continue;
                }
                match self.evict(control_planes, pod, uid).await? {
                    None => {
                        evicted.insert(uid.clone(), format!("evict {name}"));
                    }
                    Some(reason) => drop(why.insert(name, reason)),
                }
            }
            if Instant::now() >= end {
                return Err(out_of_time(&step.host, timeout_seconds, &leaving, &why));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn leaving(&self, control_planes: &[String], node: &str) -> Result<Vec<Leaving>, AgentError> {
        let (mut leaving, mut next) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let answer = self.api(control_planes, get(&pods_path(node, &next))).await?;
            if answer.status != 200 {
                return Err(refused(&format!("list the pods of {node}"), &answer));
            }
            let list: Json = serde_json::from_str(&answer.body).unwrap_or_default();
            leaving.extend(list["items"].as_array().into_iter().flatten().filter_map(leaves));
            next = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                break;
            }
        }
        Ok(leaving)
    }

    /// A pod that nothing makes anew is lost for good; that must have stood in the plan.
    fn unmanaged_are_planned(&self, step: &Step, leaving: &[Leaving]) -> Result<(), AgentError> {
        for Leaving { pod, is_going, .. } in leaving {
            if !pod.controller.is_empty() || *is_going {
                continue;
            }
            let name = format!("{}/{}", pod.namespace, pod.name);
            let mut lines = step.changes.iter().map(|change| &change.summary).chain(self.unavailable);
            if !lines.any(|line| names(line, &name)) {
                let message = format!("pod {name} runs on {} and nothing would make it anew", step.host);
                let detail = "it came after the plan was made, so the plan does not say that it goes".to_owned();
                return Err(failed(FailureKind::Permanent, message, Some(detail)));
            }
        }
        Ok(())
    }

    /// Nothing when the pod goes, or why it does not yet.
    async fn evict(&self, control_planes: &[String], pod: &PodOnNode, uid: &str) -> Result<Option<String>, AgentError> {
        let PodOnNode { namespace, name, .. } = pod;
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            // A pod of the same name that came in between is not meant.
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let request = api_request("POST", &path, "application/json", eviction.to_string());
        let answer = self.api(control_planes, request).await?;
        match answer.status {
            200 | 201 | 202 | 404 => Ok(None),
            429 => Ok(Some(budget(&answer))),
            409 | 500.. => Ok(Some(status_message(&answer.body))),
            _ => Err(refused(&format!("evict pod {namespace}/{name}"), &answer)),
        }
    }
}

/// Pods of DaemonSets would come back at once, and mirror pods are the kubelet's own.
fn leaves(pod: &Json) -> Option<Leaving> {
    let is_mirror = !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null();
    let is_going = !pod["metadata"]["deletionTimestamp"].is_null();
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let pod = pod_from_json(pod);
    (!is_mirror && pod.controller != "DaemonSet").then_some(Leaving { pod, uid, is_going })
}

/// Whether the line has this very name as a word.
fn names(line: &str, name: &str) -> bool {
    line.split([' ', ',', ';', ':']).any(|word| word == name)
}

/// Which budget refuses, in the API server's words.
fn budget(answer: &ApiResponse) -> String {
    let status: Json = serde_json::from_str(&answer.body).unwrap_or_default();
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let messages: Vec<&str> = causes.filter_map(|cause| cause["message"].as_str()).collect();
    if messages.is_empty() { status_message(&answer.body) } else { messages.join("; ") }
}

fn out_of_time(node: &str, seconds: u32, leaving: &[Leaving], why: &BTreeMap<String, String>) -> AgentError {
    let mut reasons: Vec<String> = why.iter().take(NAMED_MAX).map(|(pod, reason)| format!("{pod}: {reason}")).collect();
    if why.len() > NAMED_MAX {
        reasons.push(format!("and {} more", why.len() - NAMED_MAX));
    }
    let pods = if leaving.len() == 1 { "1 pod is".to_owned() } else { format!("{} pods are", leaving.len()) };
    let message = format!("{pods} still on {node} after {seconds} s");
    failed(FailureKind::Permanent, message, Some(reasons.join("\n")).filter(|reasons| !reasons.is_empty()))
}
