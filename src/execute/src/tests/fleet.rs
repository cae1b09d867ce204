//! Hosts in memory, and what they should do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{
    ApiRequest, ApiResponse, Checked, Facts, Failure, FailureKind, MissingArtifact, Request, Response, UnitState,
};
use naru_inventory::Host;
use naru_observe::{AgentError, Fleet, HostAgent, Problem, ProblemKind};
use naru_resources::{Change, Disruption, Resource};
use serde_json::{Value as Json, json};

/// One host: what it has, and what it should do wrong.
#[derive(Default)]
pub(super) struct State {
    pub(super) present: Vec<Resource>,
    pub(super) artifacts: BTreeSet<String>,
    /// Bytes of artifacts that are not whole.
    pub(super) partial: BTreeMap<String, u64>,
    /// Offsets at which uploads began.
    pub(super) offsets: Vec<u64>,
    /// Files got from neighbours.
    pub(super) fetched: Vec<String>,
    pub(super) fetches_at_once: usize,
    pub(super) most_fetches: usize,
    pub(super) calls: usize,
    /// Fails the n-th call, counted from one.
    pub(super) fail_at: Option<(usize, FailureKind)>,
    /// Fails every change.
    pub(super) fails: Option<FailureKind>,
    /// Cuts the next upload after so many bytes.
    pub(super) cut_upload_at: Option<u64>,
    /// Serves artifacts that nobody can get then.
    pub(super) serves_nothing: bool,
    pub(super) is_dead: bool,
    /// Only connections that are there already work.
    pub(super) refuses_new: bool,
    pub(super) holder: Option<(u64, String)>,
    pub(super) fence: u64,
    pub(super) confirmed: Vec<String>,
    /// When its node program started.
    pub(super) started_ms: i64,
    pub(super) ran: Vec<String>,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) hosts: BTreeMap<String, State>,
    /// Calls after which nothing answers any more, over all hosts.
    pub(super) budget: Option<usize>,
    pub(super) nodes: BTreeMap<String, Json>,
    /// By path.
    pub(super) objects: BTreeMap<String, Json>,
    pub(super) pods: Vec<Json>,
    /// Evictions that a disruption budget refuses from now on.
    pub(super) budget_refuses: usize,
    pub(super) requests: Vec<String>,
    connections: u64,
    open: BTreeMap<String, Arc<MemoryAgent>>,
    pub(super) fleet_fence: u64,
}

#[derive(Clone, Default)]
pub(super) struct Memory {
    world: Arc<Mutex<World>>,
}

pub(super) struct MemoryAgent {
    name: String,
    memory: Memory,
    connection: u64,
}

impl Drop for MemoryAgent {
    fn drop(&mut self) {
        let mut world = self.memory.lock();
        let state = world.hosts.entry(self.name.clone()).or_default();
        state.holder = state.holder.take().filter(|(connection, _)| *connection != self.connection);
    }
}

pub(super) fn failed(kind: FailureKind, message: &str) -> AgentError {
    AgentError::Failed(Failure { kind, message: message.to_owned(), detail: None, hint: None })
}

impl Memory {
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn change(&self, host: &str, change: impl FnOnce(&mut State)) {
        change(self.lock().hosts.entry(host.to_owned()).or_default());
    }

    pub(super) fn read<T>(&self, host: &str, read: impl FnOnce(&State) -> T) -> T {
        read(self.lock().hosts.entry(host.to_owned()).or_default())
    }

    pub(super) fn add_node(&self, name: &str) {
        let node = json!({
            "metadata": {"name": name, "resourceVersion": "1"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.lock().nodes.insert(name.to_owned(), node);
    }

    pub(super) fn add_pod(&self, node: &str, name: &str, controller: &str) {
        let owners = if controller.is_empty() { json!([]) } else { json!([{"kind": controller, "controller": true}]) };
        self.lock().pods.push(json!({
            "metadata": {"namespace": "default", "name": name, "uid": name, "ownerReferences": owners},
            "spec": {"nodeName": node},
        }));
    }

    fn reach(&self, host: &str, is_new: bool) -> Result<Arc<MemoryAgent>, Problem> {
        let mut world = self.lock();
        let state = world.hosts.entry(host.to_owned()).or_default();
        if state.is_dead || (is_new && state.refuses_new) {
            let primary = "no route to host".to_owned();
            return Err(Problem { kind: ProblemKind::Unreachable, primary, detail: None, hint: None });
        }
        world.connections += 1;
        let connection = world.connections;
        Ok(Arc::new(MemoryAgent { name: host.to_owned(), memory: self.clone(), connection }))
    }
}

impl MemoryAgent {
    /// Whether nothing answers any more.
    fn is_cut(&self) -> bool {
        match self.memory.lock().budget.as_mut() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn broken(&self) -> AgentError {
        AgentError::Connection { host: self.name.clone(), reason: "cut".to_owned() }
    }

    fn answer(&self, request: Request) -> Result<Response, AgentError> {
        let mut guard = self.memory.lock();
        let world = &mut *guard;
        let fence = world.fleet_fence;
        let state = world.hosts.entry(self.name.clone()).or_default();
        if state.is_dead {
            return Err(self.broken());
        }
        state.calls += 1;
        if let Some((at, kind)) = state.fail_at
            && at == state.calls
        {
            return Err(failed(kind, "as wished"));
        }
        if matches!(request, Request::Apply { .. } | Request::InstallCertificate { .. }) {
            if fence < state.fence {
                return Err(failed(FailureKind::Fenced, "a later run has been here"));
            }
            state.fence = fence;
            if let Some(kind) = state.fails {
                return Err(failed(kind, "as wished"));
            }
        }
        Ok(match request {
            Request::Facts => Response::Facts(Box::new(facts(state))),
            Request::Check { resources } => check(&resources, state),
            Request::Apply { resources, revert_after_seconds } => {
                let changes = apply(&resources, state)?;
                if has_unit(state, "naru-node") && !world.nodes.contains_key(&self.name) {
                    drop(guard);
                    self.memory.add_node(&self.name);
                }
                Response::Changes { changes, confirmation: revert_after_seconds.map(|_| "word".to_owned()) }
            }
            Request::Confirm { confirmation } => {
                state.confirmed.push(confirmation);
                Response::Done
            }
            Request::MissingArtifacts { sha256 } => {
                let missing = sha256.into_iter().filter(|sha256| !state.artifacts.contains(sha256));
                let have = |sha256: &String| state.partial.get(sha256).copied().unwrap_or(0);
                let missing = missing.map(|sha256| MissingArtifact { have_bytes: have(&sha256), sha256 });
                Response::MissingArtifacts { missing: missing.collect() }
            }
            Request::ServeArtifacts { sha256 } if sha256.iter().all(|one| state.artifacts.contains(one)) => {
                Response::Serving { port: 4000, path: format!("/{}/", self.name) }
            }
            Request::ServeArtifacts { .. } => return Err(failed(FailureKind::Permanent, "it is not here")),
            Request::SigningRequest { .. } => Response::SigningRequest { pem: "request".to_owned() },
            Request::Sign { .. } if !state.present.iter().any(|r| matches!(r, Resource::Authority(_))) => {
                return Err(failed(FailureKind::Permanent, "there is no authority here"));
            }
            Request::Sign { .. } => {
                Response::Signed { certificate_pem: "certificate".to_owned(), authority_pem: "authority".to_owned() }
            }
            Request::InstallCertificate { certificate, .. } => {
                state.present.push(Resource::Certificate(certificate));
                Response::Done
            }
            Request::Api(request) => Response::Api(world.api(&request)),
            Request::Lock { owner } => {
                match &state.holder {
                    Some((connection, holder)) if *connection != self.connection => {
                        return Err(failed(FailureKind::Locked, &format!("held by {holder}")));
                    }
                    _ => state.holder = Some((self.connection, owner)),
                }
                Response::Locked { fence: state.fence }
            }
            Request::Fence { fence } if fence < state.fence => {
                return Err(failed(FailureKind::Fenced, "a later run has been here"));
            }
            Request::Fence { fence } => {
                state.fence = fence;
                Response::Done
            }
            Request::Run { command, environment, .. } => {
                state.ran.push(format!("{command} for {}", environment["NARU_HOST"]));
                Response::Ran { status: i32::from(command == "false"), output: "out\n".to_owned() }
            }
            Request::Listen { ports } => Response::Listening { opened: ports, occupied: Vec::new() },
            Request::Probe { reach, resolve, .. } => {
                Response::Probed { reach: vec![None; reach.len()], resolve: vec![None; resolve.len()] }
            }
            Request::UnitLog { .. } => Response::Log { lines: vec!["its last words".to_owned()] },
            _ => return Err(failed(FailureKind::Permanent, "not a call")),
        })
    }

    /// Takes a second, so that several are under way at once.
    async fn fetch(&self, sha256: &str, urls: &[String]) -> Result<Response, AgentError> {
        let neighbour = urls[0].rsplit('/').nth(1).unwrap().to_owned();
        self.memory.change(&neighbour, |state| {
            state.fetches_at_once += 1;
            state.most_fetches = state.most_fetches.max(state.fetches_at_once);
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.memory.change(&neighbour, |state| state.fetches_at_once -= 1);
        if self.memory.read(&neighbour, |state| state.serves_nothing || state.is_dead) {
            self.memory.change(&self.name, |state| state.partial.extend([(sha256.to_owned(), 400)]));
            return Err(failed(FailureKind::Transient, "the neighbour broke off"));
        }
        self.memory.change(&self.name, |state| {
            state.artifacts.insert(sha256.to_owned());
            state.fetched.push(format!("{sha256} from {neighbour}"));
        });
        Ok(Response::Done)
    }
}

fn has_unit(state: &State, name: &str) -> bool {
    state.present.iter().any(|resource| matches!(resource, Resource::Unit { name: unit, .. } if unit.contains(name)))
}

fn facts(state: &State) -> Facts {
    let unit = |name: &str| UnitState {
        name: format!("{name}.service"),
        active_state: "active".to_owned(),
        started_unix_ms: state.started_ms,
    };
    let units = ["naru-control-plane", "naru-node"].into_iter().filter(|name| has_unit(state, name)).map(unit);
    Facts {
        os_id: "debian".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        init: "systemd".to_owned(),
        units: units.collect(),
        ..Facts::default()
    }
}

fn check(desired: &[Resource], state: &State) -> Response {
    let needed = desired.iter().filter_map(Resource::artifact).filter(|one| !state.artifacts.contains(*one));
    let missing_artifacts: BTreeSet<String> = needed.map(str::to_owned).collect();
    Response::Checked(Checked {
        changes: changes(desired, &state.present),
        missing_artifacts: missing_artifacts.into_iter().collect(),
        ..Checked::default()
    })
}

fn apply(resources: &[Resource], state: &mut State) -> Result<Vec<Change>, AgentError> {
    for resource in resources {
        if let Resource::Binary { sha256, .. } = resource
            && !state.artifacts.contains(sha256)
        {
            return Err(failed(FailureKind::Permanent, "the artifact is not there"));
        }
    }
    let changes = changes(resources, &state.present);
    state.present.extend(resources.iter().cloned());
    Ok(changes)
}

fn changes(desired: &[Resource], present: &[Resource]) -> Vec<Change> {
    let missing = desired.iter().enumerate().filter(|(_, resource)| !present.contains(resource));
    missing
        .map(|(resource, wanted)| {
            let disruption = match wanted {
                Resource::Unit { name, .. } => Some(Disruption::StartUnit(name.clone())),
                _ => None,
            };
            Change { resource, summary: format!("make number {resource}"), diff: None, disruption }
        })
        .collect()
}

impl World {
    fn api(&mut self, request: &ApiRequest) -> ApiResponse {
        let answer = |status, body: Json| ApiResponse { status, body: body.to_string() };
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        self.requests.push(format!("{} {path}", request.method));
        if path == "/readyz" {
            return answer(200, "ok".into());
        }
        if path == "/api/v1/pods" {
            let of_node = |pod: &&Json| query.contains(pod["spec"]["nodeName"].as_str().unwrap());
            return answer(200, json!({"items": self.pods.iter().filter(of_node).collect::<Vec<_>>()}));
        }
        if let Some(pod) = path.strip_suffix("/eviction").and_then(|path| path.rsplit('/').next()) {
            if self.budget_refuses > 0 {
                self.budget_refuses -= 1;
                let cause = json!({"message": "The disruption budget web needs 2 healthy pods and has 2 currently"});
                return answer(429, json!({"message": "no", "details": {"causes": [cause]}}));
            }
            self.pods.retain(|known| known["metadata"]["name"] != pod);
            return answer(201, json!({}));
        }
        if path.starts_with("/api/v1/nodes") {
            return self.node(request, path);
        }
        match (request.method.as_str(), self.objects.get_mut(path)) {
            ("GET", Some(object)) => answer(200, object.clone()),
            ("POST", _) => {
                let object: Json = serde_json::from_str(&request.body).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                self.objects.insert(format!("{path}/{name}"), object.clone());
                answer(201, object)
            }
            ("PATCH", Some(object)) => {
                merge(object, &serde_json::from_str(&request.body).unwrap());
                answer(200, object.clone())
            }
            _ => answer(404, json!({"message": "not found"})),
        }
    }

    fn node(&mut self, request: &ApiRequest, path: &str) -> ApiResponse {
        let answer = |status, body: Json| ApiResponse { status, body: body.to_string() };
        let name = path.rsplit('/').next().unwrap();
        match request.method.as_str() {
            _ if name == "nodes" => answer(200, json!({"items": self.nodes.values().collect::<Vec<_>>()})),
            "PATCH" => match self.nodes.get_mut(name) {
                Some(node) => {
                    merge(node, &serde_json::from_str(&request.body).unwrap());
                    answer(200, node.clone())
                }
                None => answer(404, json!({})),
            },
            "DELETE" => answer(if self.nodes.remove(name).is_some() { 200 } else { 404 }, json!({})),
            _ => self.nodes.get(name).map_or_else(|| answer(404, "".into()), |node| answer(200, node.clone())),
        }
    }
}

fn merge(object: &mut Json, patch: &Json) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key.as_str()], value);
        }
    }
}

impl HostAgent for MemoryAgent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.is_cut() {
                std::future::pending::<()>().await;
            }
            match request {
                Request::FetchArtifact { sha256, urls, .. } => self.fetch(&sha256, &urls).await,
                request => self.answer(request),
            }
        })
    }

    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        _: &'a Path,
        offset_bytes: u64,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.is_cut() {
                std::future::pending::<()>().await;
            }
            let mut world = self.memory.lock();
            let state = world.hosts.entry(self.name.clone()).or_default();
            state.offsets.push(offset_bytes);
            if let Some(bytes) = state.cut_upload_at.take() {
                state.partial.insert(sha256.to_owned(), bytes);
                return Err(self.broken());
            }
            state.artifacts.insert(sha256.to_owned());
            sent(1_000);
            Ok(())
        })
    }
}

impl Fleet for Memory {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            let known = self.lock().open.get(&host.name).cloned();
            if let Some(agent) = known {
                return Ok(agent as Arc<dyn HostAgent>);
            }
            let agent = self.reach(&host.name, true)?;
            self.lock().open.insert(host.name.clone(), agent.clone());
            Ok(agent as Arc<dyn HostAgent>)
        })
    }

    fn forget<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let known = self.lock().open.remove(host);
            drop(known);
        })
    }

    fn set_fence(&self, fence: u64) {
        self.lock().fleet_fence = fence;
    }

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move { Ok(self.reach(&host.name, true)? as Arc<dyn HostAgent>) })
    }
}
