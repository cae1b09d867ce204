//! What the API server says, asked through the agent of a control-plane host.

use std::collections::{BTreeMap, BTreeSet};

use naru_agent::{ApiRequest, ApiResponse, EtcdMember, EtcdRequest, Request, Response};
use naru_inventory::{Effect, Taint};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{AgentError, Document, HostAgent};

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

/// What is asked besides readiness and nodes.
pub(crate) struct Questions<'a> {
    /// Nodes whose pods are asked for.
    pub(crate) pods_of: PodsOf<'a>,
    pub(crate) has_etcd: bool,
    pub(crate) manifests: &'a [Json],
}

pub(crate) enum PodsOf<'a> {
    All,
    These(&'a BTreeSet<String>),
}

/// Pages of a list; what is behind them is left out.
const PAGES_MAX: usize = 100;
const NODES_PER_PAGE: usize = 250;
const PODS_PER_PAGE: usize = 500;

pub(crate) async fn observe_cluster(
    agent: &dyn HostAgent,
    host: &str,
    questions: &Questions<'_>,
) -> ClusterObservation {
    let etcd = if questions.has_etcd { etcd_members(agent).await } else { None };
    let down = |etcd| ClusterObservation { api: ApiState::Down, etcd, ..ClusterObservation::default() };
    let ready = api_call(agent, host, get("/readyz")).await.is_ok_and(|response| response.status == 200);
    if !ready {
        return down(etcd);
    }
    let nodes_path = |next: &str| page("/api/v1/nodes?", NODES_PER_PAGE, next);
    let mut nodes = BTreeMap::new();
    let mut add = |node: &Json| {
        let (name, node) = node_from_json(node);
        nodes.insert(name, node);
    };
    if pages(agent, host, &nodes_path, &mut add).await.is_err() {
        return down(etcd);
    }
    for (name, node) in &mut nodes {
        if match questions.pods_of {
            PodsOf::All => true,
            PodsOf::These(names) => names.contains(name),
        } {
            node.pods = pods(agent, host, name).await;
        }
    }
    let manifests = manifests(agent, host, questions.manifests).await;
    ClusterObservation { api: ApiState::Ready, nodes: Some(nodes), etcd, manifests }
}

pub(crate) async fn etcd_members(agent: &dyn HostAgent) -> Option<Vec<EtcdMember>> {
    match agent.call(Request::Etcd(EtcdRequest::Members)).await {
        Ok(Response::EtcdMembers { mut members }) => {
            members.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
            Some(members)
        }
        _ => None,
    }
}

fn page(path: &str, limit: usize, next: &str) -> String {
    let next = if next.is_empty() { String::new() } else { format!("&continue={next}") };
    format!("{path}limit={limit}{next}")
}

/// Where the pods of a node are listed, the page after `next`.
#[must_use]
pub fn pods_path(node: &str, next: &str) -> String {
    page(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&"), PODS_PER_PAGE, next)
}

/// All elements of a list, page by page, so that none of it is ever in memory as a whole.
async fn pages(
    agent: &dyn HostAgent,
    host: &str,
    path: &(dyn Fn(&str) -> String + Sync),
    element: &mut (dyn FnMut(&Json) + Send),
) -> Result<(), String> {
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let answer = api_call(agent, host, get(&path(&next))).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("the API server answers {}", answer.status));
        }
        let list: Json = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        list["items"].as_array().into_iter().flatten().for_each(&mut *element);
        next = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
    }
    Ok(())
}

async fn pods(agent: &dyn HostAgent, host: &str, node: &str) -> Option<Vec<PodOnNode>> {
    let mut found = Vec::new();
    let path = |next: &str| pods_path(node, next);
    let mut add = |pod: &Json| {
        // What has ended runs nowhere any more.
        if !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
            found.push(pod_from_json(pod));
        }
    };
    pages(agent, host, &path, &mut add).await.ok()?;
    found.sort();
    Some(found)
}

async fn manifests(agent: &dyn HostAgent, host: &str, documents: &[Json]) -> Vec<ManifestState> {
    let mut kinds: BTreeMap<String, Result<Json, String>> = BTreeMap::new();
    let mut states = Vec::with_capacity(documents.len());
    for document in documents {
        let state = match Document::read(document) {
            Ok(document) => manifest(agent, host, &document, &mut kinds).await,
            Err(reason) => Err(reason),
        };
        states.push(state.unwrap_or_else(|reason| ManifestState::Unknown { reason }));
    }
    states
}

async fn manifest(
    agent: &dyn HostAgent,
    host: &str,
    document: &Document,
    kinds: &mut BTreeMap<String, Result<Json, String>>,
) -> Result<ManifestState, String> {
    let path = document.discovery_path();
    if !kinds.contains_key(&path) {
        let known = match api_call(agent, host, get(&path)).await {
            Ok(answer) if answer.status == 200 => serde_json::from_str(&answer.body).map_err(|error| error.to_string()),
            Ok(answer) if answer.status == 404 => Ok(Json::Null),
            Ok(answer) => Err(format!("the API server answers {} to {path}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        kinds.insert(path.clone(), known);
    }
    let known = kinds[&path].as_ref().map_err(Clone::clone)?;
    let place = document.place(known).ok_or_else(|| format!("the API server knows no kind of {document}"))?;
    let answer = api_call(agent, host, get(&place.object)).await.map_err(|error| error.to_string())?;
    match answer.status {
        404 => Ok(ManifestState::Missing),
        200 => {
            let live: Json = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
            let fields = document.differences(&live);
            Ok(if fields.is_empty() { ManifestState::AsWanted } else { ManifestState::Differs { fields } })
        }
        status => Err(format!("the API server answers {status} to {}", place.object)),
    }
}

/// A pod as far as a drain is concerned.
#[must_use]
pub fn pod_from_json(pod: &Json) -> PodOnNode {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    PodOnNode {
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        controller: controller.map(|owner| text(&owner["kind"])).unwrap_or_default(),
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
