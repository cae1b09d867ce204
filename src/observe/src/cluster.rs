//! What the API server says, asked through the agent of a control-plane host.

use std::collections::BTreeMap;

use naru_agent::{ApiRequest, ApiResponse, EtcdMember, Request, Response};
use naru_inventory::{Effect, Taint};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{AgentError, HostAgent};

/// Which labels and taints of a node come from the inventory, so that they can be taken away again.
pub const MANAGED_ANNOTATION: &str = "naru.dev/managed";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterObservation {
    pub api: ApiState,
    /// Absent when the API did not answer.
    pub nodes: Option<BTreeMap<String, NodeObservation>>,
    /// Members of etcd; absent when the cluster has none or none of them answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Vec<EtcdMember>>,
    /// How the inventory's further documents stand in the cluster, in their order; empty when the API did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<ManifestState>,
}

/// A document of the inventory compared with the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum ManifestState {
    AsWanted,
    Missing,
    /// With the fields that differ, as `spec.replicas`.
    Differs {
        fields: Vec<String>,
    },
    /// The API does not know this kind, or does not answer.
    Unknown {
        reason: String,
    },
}

/// A pod on a node, as far as a drain is concerned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodOnNode {
    pub namespace: String,
    pub name: String,
    /// Kind of its controller: `ReplicaSet`, `DaemonSet`…; empty when nothing would make it anew.
    pub controller: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ApiState {
    /// No control plane runs, or its host cannot be reached.
    #[default]
    Unknown,
    Down,
    Ready,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeObservation {
    pub ready: bool,
    /// The reason and message of the Ready condition when it is not true.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub unschedulable: bool,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Absent where nobody asked; a no-op does not need to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodOnNode>>,
    pub taints: Vec<Taint>,
    #[serde(default)]
    pub managed: Managed,
    pub version: String,
    pub internal_ip: String,
    pub os_image: String,
    pub kernel: String,
    pub runtime: String,
    pub created: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Managed {
    pub labels: Vec<String>,
    /// `key:Effect`.
    pub taints: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
}

const API_TIMEOUT_MS: u64 = 5_000;

/// # Errors
/// When the agent cannot make the call at all; any HTTP status is an answer.
pub async fn api_call(agent: &dyn HostAgent, host: &str, request: ApiRequest) -> Result<ApiResponse, AgentError> {
    match agent.call(Request::Api(request)).await? {
        Response::Api(response) => Ok(response),
        _ => Err(AgentError::Unexpected { host: host.to_owned(), request: "an API call" }),
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

pub(crate) async fn observe_cluster(agent: &dyn HostAgent, host: &str) -> ClusterObservation {
    let ready = api_call(agent, host, get("/readyz")).await.is_ok_and(|response| response.status == 200);
    if !ready {
        return ClusterObservation { api: ApiState::Down, ..ClusterObservation::default() };
    }
    match api_call(agent, host, get("/api/v1/nodes")).await {
        Ok(response) if response.status == 200 => {
            let list: Json = serde_json::from_str(&response.body).unwrap_or_default();
            let nodes = list["items"].as_array().into_iter().flatten().map(node_from_json);
            ClusterObservation { api: ApiState::Ready, nodes: Some(nodes.collect()), ..ClusterObservation::default() }
        }
        _ => ClusterObservation { api: ApiState::Down, ..ClusterObservation::default() },
    }
}

/// A Node object's name and what matters of it.
#[must_use]
pub fn node_from_json(node: &Json) -> (String, NodeObservation) {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let (metadata, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    let conditions = status["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let is_ready = ready.is_some_and(|condition| condition["status"] == "True");
    let reason = match ready {
        _ if is_ready => String::new(),
        Some(condition) => format!("{}: {}", text(&condition["reason"]), text(&condition["message"])),
        None => "it has not reported yet".to_owned(),
    };
    let managed = metadata["annotations"][MANAGED_ANNOTATION].as_str();
    let info = &status["nodeInfo"];
    let addresses = status["addresses"].as_array();
    let internal = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
    let observation = NodeObservation {
        ready: is_ready,
        reason,
        unschedulable: spec["unschedulable"] == true,
        labels: serde_json::from_value(metadata["labels"].clone()).unwrap_or_default(),
        annotations: serde_json::from_value(metadata["annotations"].clone()).unwrap_or_default(),
        pods: None,
        taints: taints(&spec["taints"]),
        managed: managed.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        version: text(&info["kubeletVersion"]),
        internal_ip: internal.map(|address| text(&address["address"])).unwrap_or_default(),
        os_image: text(&info["osImage"]),
        kernel: text(&info["kernelVersion"]),
        runtime: text(&info["containerRuntimeVersion"]),
        created: text(&metadata["creationTimestamp"]),
    };
    (text(&metadata["name"]), observation)
}

/// Taints as the inventory writes them; those with an effect that it does not know are left out.
fn taints(list: &Json) -> Vec<Taint> {
    let effect = |taint: &Json| serde_json::from_value::<Effect>(taint["effect"].clone()).ok();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let known = list.as_array().into_iter().flatten().filter_map(|taint| {
        effect(taint).map(|effect| Taint { key: text(&taint["key"]), value: text(&taint["value"]), effect })
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_node() {
        let node = serde_json::json!({
            "metadata": {"name": "w1", "labels": {"disk": "ssd"}, "annotations": {MANAGED_ANNOTATION: "{\"labels\":[\"disk\"]}"}},
            "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NoCni", "message": "no network"}],
                       "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        });
        let (name, node) = node_from_json(&node);
        assert_eq!((name.as_str(), node.ready, node.reason.as_str()), ("w1", false, "NoCni: no network"));
        assert_eq!(node.managed.labels, ["disk"]);
        assert_eq!(node.taints[0].effect, Effect::NoSchedule);
        assert_eq!(node.internal_ip, "10.0.0.1");
    }
}
