//! The executor against hosts in memory: everything works, everything is interrupted, everything fails once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use naru_agent::{ApiResponse, Facts, Failure, FailureKind, Request, Response, UnitState};
use naru_inventory::{Host, Inventory};
use naru_observe::{AgentError, Fleet, HostAgent, Observation, Problem};
use naru_plan::{Artifact, Plan, Programs, desired};
use naru_resources::{Change, Disruption, Resource};
use tokio::sync::watch;

use super::*;

/// One host: what it has, and what it should do wrong.
#[derive(Default)]
struct State {
    present: Vec<Resource>,
    artifacts: BTreeSet<String>,
    calls: usize,
    /// Fails the n-th call, counted from one.
    fail_at: Option<(usize, FailureKind)>,
    /// Every call from the n-th on never answers: the run is cut there.
    is_locked: bool,
}

#[derive(Clone, Default)]
struct Memory {
    hosts: Arc<Mutex<BTreeMap<String, State>>>,
    /// Calls after which nothing answers any more, over all hosts.
    budget: Arc<Mutex<Option<usize>>>,
    nodes: Arc<Mutex<BTreeMap<String, serde_json::Value>>>,
}

struct MemoryAgent {
    name: String,
    memory: Memory,
}

fn failed(kind: FailureKind, message: &str) -> AgentError {
    AgentError::Failed(Failure { kind, message: message.to_owned(), detail: None, hint: None })
}

impl MemoryAgent {
    fn is_cut(&self) -> bool {
        match self.memory.budget.lock().unwrap().as_mut() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn answer(&self, request: Request) -> Result<Response, AgentError> {
        let mut hosts = self.memory.hosts.lock().unwrap();
        let state = hosts.entry(self.name.clone()).or_default();
        state.calls += 1;
        if let Some((at, kind)) = state.fail_at
            && at == state.calls
        {
            return Err(failed(kind, "as wished"));
        }
        Ok(match request {
            Request::Facts => Response::Facts(Box::new(self.facts(state))),
            Request::Check { resources } => Response::Changes { changes: check(&resources, &state.present) },
            Request::Apply { resources } => {
                for resource in &resources {
                    if let Resource::Binary { sha256, .. } = resource
                        && !state.artifacts.contains(sha256)
                    {
                        return Err(failed(FailureKind::Permanent, "the artifact is not there"));
                    }
                }
                let changes = check(&resources, &state.present);
                state.present.extend(resources);
                let has_node = state
                    .present
                    .iter()
                    .any(|r| matches!(r, Resource::Unit { name, .. } if name.contains("naru-node")));
                if has_node {
                    let mut nodes = self.memory.nodes.lock().unwrap();
                    nodes.entry(self.name.clone()).or_insert_with(|| {
                        serde_json::json!({
                            "metadata": {"name": self.name, "resourceVersion": "1"},
                            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                        })
                    });
                }
                Response::Changes { changes }
            }
            Request::MissingArtifacts { sha256 } => Response::MissingArtifacts {
                sha256: sha256.into_iter().filter(|sha256| !state.artifacts.contains(sha256)).collect(),
            },
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
            Request::Api(request) => Response::Api(self.api(&request)),
            Request::Lock { .. } if state.is_locked => return Err(failed(FailureKind::Locked, "held by somebody")),
            Request::Lock { .. } => Response::Done,
            Request::UnitLog { .. } => Response::Log { lines: vec![] },
            Request::Upload { .. } => return Err(failed(FailureKind::Permanent, "not a call")),
        })
    }

    fn facts(&self, state: &State) -> Facts {
        let runs =
            state.present.iter().any(|r| matches!(r, Resource::Unit { name, .. } if name.contains("control-plane")));
        let unit = UnitState { name: "naru-control-plane.service".to_owned(), active_state: "active".to_owned() };
        Facts {
            os_id: "debian".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            init: "systemd".to_owned(),
            units: runs.then_some(unit).into_iter().collect(),
            ..Facts::default()
        }
    }

    fn api(&self, request: &naru_agent::ApiRequest) -> ApiResponse {
        let mut nodes = self.memory.nodes.lock().unwrap();
        let answer = |status, body: serde_json::Value| ApiResponse { status, body: body.to_string() };
        match (request.method.as_str(), request.path.rsplit_once('/').unwrap().1) {
            (_, "readyz") => answer(200, "ok".into()),
            (_, "nodes") => answer(200, serde_json::json!({"items": nodes.values().collect::<Vec<_>>()})),
            ("PATCH", name) => {
                let patch: serde_json::Value = serde_json::from_str(&request.body).unwrap();
                let node = nodes.get_mut(name).unwrap();
                for field in ["labels", "annotations"] {
                    node["metadata"][field] = patch["metadata"][field].clone();
                }
                if let Some(taints) = patch.pointer("/spec/taints") {
                    node["spec"]["taints"] = taints.clone();
                }
                answer(200, node.clone())
            }
            (_, name) => nodes.get(name).map_or_else(|| answer(404, "".into()), |node| answer(200, node.clone())),
        }
    }
}

fn check(desired: &[Resource], present: &[Resource]) -> Vec<Change> {
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

impl HostAgent for MemoryAgent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.is_cut() {
                std::future::pending::<()>().await;
            }
            self.answer(request)
        })
    }

    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        _: &'a Path,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(async move {
            if self.is_cut() {
                std::future::pending::<()>().await;
            }
            sent(1);
            let mut hosts = self.memory.hosts.lock().unwrap();
            hosts.entry(self.name.clone()).or_default().artifacts.insert(sha256.to_owned());
            Ok(())
        })
    }
}

impl Fleet for Memory {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        let agent: Arc<dyn HostAgent> = Arc::new(MemoryAgent { name: host.name.clone(), memory: self.clone() });
        Box::pin(async move { Ok(agent) })
    }

    fn forget<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

fn inventory() -> Inventory {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  hosts:\n  - {name: cp1, role: control-plane, address: 10.0.0.11}\n  - {name: w1, role: worker, address: 10.0.0.21, labels: {disk: ssd}}\n  - {name: w2, role: worker, address: 10.0.0.22}\n";
    naru_inventory::parse("x", text).unwrap()
}

fn programs() -> Programs {
    let artifact = |name: &str| Artifact { name: name.to_owned(), sha256: name.to_owned(), size_bytes: 9 };
    Programs { node: artifact("naru-node"), control_plane: artifact("naru-control-plane") }
}

async fn observe(memory: &Memory) -> Observation {
    let inventory = inventory();
    let desire = |host: &Host, facts: &Facts| desired(&inventory, host, facts, &programs()).map(|all| all.resources());
    naru_observe::observe(&inventory, memory, &desire, &|_, _| {}).await
}

async fn plan(memory: &Memory) -> Plan {
    naru_plan::plan(&inventory(), &observe(memory).await, &programs(), &naru_plan::Options::default())
}

async fn run(
    memory: &Memory,
    plan: &Plan,
    interrupt: watch::Receiver<bool>,
) -> (Result<Outcome, ExecuteError>, Vec<Event>) {
    let events = Mutex::new(Vec::new());
    let sink = |event: &Event| events.lock().unwrap().push(event.clone());
    let programs = ProgramFiles::new(["naru-node", "naru-control-plane"].map(|name| (name.to_owned(), name.into())));
    let limits = Limits::default();
    let owner = "test".to_owned();
    let executor = Executor { fleet: memory, programs: &programs, sink: &sink, limits, interrupt, owner };
    let outcome = executor.execute(plan).await;
    (outcome, events.into_inner().unwrap())
}

fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[tokio::test(start_paused = true)]
async fn a_second_run_finds_nothing_to_do() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    let (outcome, events) = run(&memory, &first, never()).await;
    let outcome = outcome.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(outcome.finish.succeeded, first.steps.len());
    // Nothing begins before what it needs has ended.
    let mut ended = BTreeSet::new();
    for event in &events {
        match event {
            Event::StepStarted { step, .. } => {
                let step = first.steps.iter().find(|known| known.id == *step).unwrap();
                assert!(step.needs.iter().all(|need| ended.contains(need)), "{} began too early", step.id);
            }
            Event::StepSucceeded { step, .. } => {
                ended.insert(step.clone());
            }
            _ => {}
        }
    }
    let second = plan(&memory).await;
    assert!(second.is_empty(), "{:?}", second.steps.iter().map(|step| &step.id).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn cut_at_any_call_and_run_again_it_converges() {
    let whole = Memory::default();
    let (outcome, _) = run(&whole, &plan(&whole).await, never()).await;
    outcome.unwrap();
    let calls: usize = whole.hosts.lock().unwrap().values().map(|state| state.calls).sum();
    assert!(calls > 30, "{calls} calls");
    for budget in 0..calls {
        let memory = Memory::default();
        let first = plan(&memory).await;
        *memory.budget.lock().unwrap() = Some(budget);
        let cut = tokio::time::timeout(std::time::Duration::from_secs(30), run(&memory, &first, never())).await;
        drop(cut);
        *memory.budget.lock().unwrap() = None;
        let (outcome, _) = run(&memory, &plan(&memory).await, never()).await;
        assert!(outcome.unwrap().is_success(), "cut after {budget} calls");
        assert!(plan(&memory).await.is_empty(), "cut after {budget} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_worker_stops_only_itself() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    let calls = memory.hosts.lock().unwrap()["w1"].calls;
    memory.hosts.lock().unwrap().get_mut("w1").unwrap().fail_at = Some((calls + 1, FailureKind::Permanent));
    let (outcome, _) = run(&memory, &first, never()).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.finish.failed, 1);
    assert!(!outcome.skipped.is_empty() && outcome.skipped.iter().all(|step| step.starts_with("w1/")));
    assert!(memory.nodes.lock().unwrap().contains_key("w2"));
    assert!(plan(&memory).await.steps.iter().all(|step| step.host == "w1"));
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    let calls = memory.hosts.lock().unwrap()["w2"].calls;
    memory.hosts.lock().unwrap().get_mut("w2").unwrap().fail_at = Some((calls + 1, FailureKind::Transient));
    let (outcome, events) = run(&memory, &first, never()).await;
    assert!(outcome.unwrap().is_success());
    assert!(events.iter().any(|event| matches!(event, Event::StepRetried { attempt: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_taken_lock_changes_nothing() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    memory.hosts.lock().unwrap().get_mut("cp1").unwrap().is_locked = true;
    let (outcome, events) = run(&memory, &first, never()).await;
    assert!(matches!(outcome, Err(ExecuteError::Locked { host, .. }) if host == "cp1"));
    assert!(events.is_empty());
    assert!(memory.hosts.lock().unwrap().values().all(|state| state.present.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_says_what_is_left() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    let (sender, receiver) = watch::channel(true);
    let (outcome, _) = run(&memory, &first, receiver).await;
    let outcome = outcome.unwrap();
    drop(sender);
    assert!(outcome.finish.interrupted && !outcome.is_success());
    assert_eq!(outcome.skipped.len(), first.steps.len());
}

#[test]
fn journal_lines_are_events() {
    let folder = std::env::temp_dir().join(format!("naru-journal-{}", std::process::id()));
    let mut journal = Journal::create_in(&folder, "a.ndjson").unwrap();
    let event = Event::StepStarted { step: "w1/node".into(), host: "w1".into(), title: "run".into() };
    journal.append(&event).unwrap();
    journal.append(&Event::Finished(Finish::default())).unwrap();
    let text = fs_err::read_to_string(journal.path()).unwrap();
    fs_err::remove_dir_all(&folder).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["time"].is_string());
    assert_eq!(serde_json::from_value::<Event>(lines[0].clone()).unwrap(), event);
}
