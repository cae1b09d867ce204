//! One cluster's state behind its API: objects as JSON by their path, and what the control plane itself does with
//! them: conflicts by resource version, evictions against disruption budgets, pods that are made anew elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use naru_agent::{ApiRequest, ApiResponse};
use serde_json::{Value as Json, json};

use crate::kubernetes::{self, Workload};

pub(crate) const NODES: &str = "/api/v1/nodes";
/// A pod is ready so long after it was bound.
const POD_START_MS: i64 = 2_000;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// By path, as `/api/v1/nodes/w1`.
    pub objects: BTreeMap<String, Json>,
    pub workloads: Vec<Workload>,
    /// The authority whose certificates the API server believes: its key.
    pub authority: String,
    version: u64,
    pods_made: u64,
}

impl Cluster {
    #[must_use]
    pub fn new(authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..Self::default() }
    }

    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Json> {
        self.objects.get(&format!("{NODES}/{name}"))
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Json)> {
        let inside = self.objects.range(format!("{NODES}/")..);
        inside.map_while(|(path, node)| Some((path.strip_prefix(NODES)?.strip_prefix('/')?, node)))
    }

    /// Writes an object and gives it the next version.
    pub(crate) fn put(&mut self, path: &str, mut object: Json) -> Json {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// Answers a question.
    #[must_use]
    pub fn read(&self, request: &ApiRequest) -> ApiResponse {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/readyz" {
            return text(200, "ok");
        }
        match self.get(path.trim_end_matches('/'), query) {
            Ok((status, body)) => text(status, &body.to_string()),
            Err((status, reason)) => text(status, reason),
        }
    }

    /// Answers a call.
    pub fn answer(&mut self, request: &ApiRequest, now_ms: i64) -> ApiResponse {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.trim_end_matches('/');
        let answer = match request.method.as_str() {
            _ if matches!(path, "/readyz" | "/healthz" | "/livez") => return text(200, "ok"),
            "GET" => self.get(path, query),
            "POST" if path.ends_with("/eviction") => self.evict(path.trim_end_matches("/eviction"), now_ms),
            "POST" => self.create(path, &request.body, now_ms),
            "PUT" => self.replace(path, &request.body),
            "PATCH" => self.patch(path, &request.body),
            "DELETE" => self.delete(path),
            _ => Err((405, "MethodNotAllowed")),
        };
        match answer {
            Ok((status, body)) => text(status, &body.to_string()),
            Err((status, reason)) => {
                let message = format!("{} {path}: {reason}", request.method);
                let status_object = json!({"kind": "Status", "status": "Failure", "reason": reason,
                    "message": message, "code": status});
                text(status, &status_object.to_string())
            }
        }
    }

    fn get(&self, path: &str, query: &str) -> Answer {
        if let Some(list) = kubernetes::discovery(path) {
            return Ok((200, list));
        }
        if let Some(object) = self.objects.get(path) {
            return Ok((200, object.clone()));
        }
        let Some(kind) = kubernetes::kind_of_collection(path) else { return Err((404, "NotFound")) };
        let suffix = format!("/{}/", path.rsplit('/').next().unwrap_or_default());
        let selected = self.objects.iter().filter(|(name, _)| {
            let own = name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            let is_direct = own.is_some_and(|rest| !rest.contains('/'));
            is_direct || (!path.contains("/namespaces/") && name.contains("/namespaces/") && name.contains(&suffix))
        });
        let items: Vec<&Json> =
            selected.map(|(_, object)| object).filter(|object| kubernetes::is_selected(object, query)).collect();
        Ok((200, json!({"kind": format!("{kind}List"), "metadata": {}, "items": items})))
    }

    fn create(&mut self, path: &str, body: &str, now_ms: i64) -> Answer {
        let mut object: Json = serde_json::from_str(body).map_err(|_| (400, "BadRequest"))?;
        let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
            return Err((422, "Invalid"));
        };
        if kubernetes::kind_of_collection(path).is_none() {
            return Err((404, "NotFound"));
        }
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return Err((409, "AlreadyExists"));
        }
        object["metadata"]["creationTimestamp"] = json!(kubernetes::time(now_ms));
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version + 1));
        Ok((201, self.put(&path, object)))
    }

    fn replace(&mut self, path: &str, body: &str) -> Answer {
        let object: Json = serde_json::from_str(body).map_err(|_| (400, "BadRequest"))?;
        let present = self.objects.get(path).ok_or((404, "NotFound"))?;
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != present["metadata"]["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        Ok((200, self.put(path, object)))
    }

    fn patch(&mut self, path: &str, body: &str) -> Answer {
        let patch: Json = serde_json::from_str(body).map_err(|_| (400, "BadRequest"))?;
        let present = self.objects.get(path).ok_or((404, "NotFound"))?;
        let version = &patch["metadata"]["resourceVersion"];
        if !version.is_null() && *version != present["metadata"]["resourceVersion"] {
            return Err((409, "Conflict"));
        }
        let mut object = present.clone();
        kubernetes::merge(&mut object, &patch);
        if object == *present {
            return Ok((200, object));
        }
        Ok((200, self.put(path, object)))
    }

    fn delete(&mut self, path: &str) -> Answer {
        let object = self.objects.remove(path).ok_or((404, "NotFound"))?;
        if let Some(node) = path.strip_prefix(NODES).and_then(|rest| rest.strip_prefix('/')) {
            self.objects.retain(|path, object| !is_pod(path) || object["spec"]["nodeName"] != node);
        }
        Ok((200, object))
    }

    fn evict(&mut self, path: &str, now_ms: i64) -> Answer {
        let pod = self.objects.get(path).ok_or((404, "NotFound"))?;
        let workload = pod["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
        if let Some(least) = self.workloads.iter().find(|one| one.name == workload).and_then(|one| one.least_ready) {
            let is_ready = self.is_pod_ready(pod, now_ms);
            if is_ready && self.ready_pods(&workload, now_ms) <= least as usize {
                return Err((429, "TooManyRequests"));
            }
        }
        self.objects.remove(path);
        Ok((201, json!({"kind": "Status", "status": "Success"})))
    }

    fn is_pod_ready(&self, pod: &Json, now_ms: i64) -> bool {
        let bound_ms = pod["boundMs"].as_i64();
        let node = pod["spec"]["nodeName"].as_str().and_then(|node| self.node(node));
        bound_ms.is_some_and(|bound| now_ms >= bound + POD_START_MS) && node.is_some_and(kubernetes::is_ready)
    }

    /// How many pods of a workload serve now.
    #[must_use]
    pub fn ready_pods(&self, workload: &str, now_ms: i64) -> usize {
        let of_workload = |pod: &&Json| pod["metadata"]["labels"]["app"] == *workload;
        self.pods().filter(of_workload).filter(|pod| self.is_pod_ready(pod, now_ms)).count()
    }

    pub fn pods(&self) -> impl Iterator<Item = &Json> {
        self.objects.iter().filter(|(path, _)| is_pod(path)).map(|(_, pod)| pod)
    }

    /// What controllers and scheduler do until now: missing pods are made, pods without a node get one.
    pub(crate) fn settle_pods(&mut self, now_ms: i64) {
        for workload in self.workloads.clone() {
            let have = self.pods().filter(|pod| pod["metadata"]["labels"]["app"] == *workload.name).count();
            for _ in have..workload.replicas as usize {
                self.pods_made += 1;
                let name = format!("{}-{}", workload.name, self.pods_made);
                let pod = kubernetes::pod(&workload.name, &name);
                self.put(&format!("/api/v1/namespaces/default/pods/{name}"), pod);
            }
        }
        let waiting: Vec<String> = self
            .objects
            .iter()
            .filter(|(path, pod)| is_pod(path) && pod["spec"]["nodeName"].is_null())
            .map(|(path, _)| path.clone())
            .collect();
        for path in waiting {
            let Some(node) = self.emptiest_node() else { return };
            let mut pod = self.objects[&path].clone();
            pod["spec"]["nodeName"] = json!(node);
            pod["boundMs"] = json!(now_ms);
            self.put(&path, pod);
        }
    }

    fn emptiest_node(&self) -> Option<String> {
        let mut load: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in self.pods() {
            *load.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default()).or_default() += 1;
        }
        let open = self.nodes().filter(|(_, node)| kubernetes::takes_pods(node));
        open.min_by_key(|(name, _)| (load.get(name).copied().unwrap_or_default(), *name))
            .map(|(name, _)| name.to_owned())
    }

    /// Nodes that take no new pods.
    #[must_use]
    pub fn cordoned(&self) -> BTreeSet<&str> {
        self.nodes().filter(|(_, node)| node["spec"]["unschedulable"] == true).map(|(name, _)| name).collect()
    }
}

type Answer = Result<(u16, Json), (u16, &'static str)>;

fn is_pod(path: &str) -> bool {
    path.starts_with("/api/v1/namespaces/") && path.contains("/pods/")
}

fn text(status: u16, body: &str) -> ApiResponse {
    ApiResponse { status, body: body.to_owned() }
}
