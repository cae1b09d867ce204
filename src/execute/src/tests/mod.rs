//! The executor against hosts in memory: everything works, everything is interrupted, everything fails once.

mod actions;
mod fleet;
mod locking;
mod runs;
mod transfers;

use std::sync::Mutex;

use naru_inventory::{Host, Inventory};
use naru_observe::{Observation, ObserveOptions};
use naru_plan::{Action, Artifact, Plan, ProgramVersion, Programs, Step, desired};
use tokio::sync::watch;

use self::fleet::Memory;
use super::*;

const ONE: &str = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  hosts:\n  - {name: cp1, role: control-plane, address: 10.0.0.11}\n  - {name: w1, role: worker, address: 10.0.0.21, labels: {disk: ssd}}\n  - {name: w2, role: worker, address: 10.0.0.22}\n";
const THREE: &str = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  controlPlane: {store: etcd}\n  hosts:\n  - {name: cp1, role: control-plane, address: 10.0.0.11}\n  - {name: cp2, role: control-plane, address: 10.0.0.12}\n  - {name: cp3, role: control-plane, address: 10.0.0.13}\n  - {name: w1, role: worker, address: 10.0.0.21}\n  - {name: w2, role: worker, address: 10.0.0.22}\n  - {name: w3, role: worker, address: 10.0.0.23}\n";

fn inventory() -> Inventory {
    naru_inventory::parse("x", ONE).unwrap()
}

fn three() -> Inventory {
    naru_inventory::parse_ahead("x", THREE).unwrap()
}

fn artifact(name: &str) -> Artifact {
    Artifact { name: name.to_owned(), sha256: name.to_owned(), size_bytes: 1_000 }
}

fn programs() -> Programs {
    let (node, control_plane) = (artifact("naru-node"), artifact("naru-control-plane"));
    Programs::of(naru_inventory::VERSION, ProgramVersion { node, control_plane })
}

async fn observe(memory: &Memory) -> Observation {
    let inventory = inventory();
    let desire = |host: &Host, facts: &naru_agent::Facts| {
        desired(&inventory, host, facts, &programs()).map(|all| all.resources())
    };
    naru_observe::observe(&inventory, memory, &desire, &ObserveOptions::default(), &|_, _| {}).await
}

async fn plan(memory: &Memory) -> Plan {
    naru_plan::plan(&inventory(), &observe(memory).await, &programs(), &naru_plan::Options::default())
}

fn step(id: &str, action: Action, needs: &[&str]) -> Step {
    let (host, name) = id.split_once('/').unwrap();
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    Step { needs, ..Step::new(host, name, format!("do {id}"), action) }
}

fn nothing() -> Action {
    Action::Apply { resources: Vec::new(), revert_after_seconds: None }
}

fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// What a run may be given besides its plan.
struct With {
    interrupt: watch::Receiver<bool>,
    owner: &'static str,
    lock_wait: Option<std::time::Duration>,
    seed: u64,
    limits: Limits,
}

impl Default for With {
    fn default() -> Self {
        Self { interrupt: never(), owner: "test", lock_wait: None, seed: 1, limits: Limits::default() }
    }
}

async fn run_with(memory: &Memory, plan: &Plan, with: With) -> (Result<Outcome, ExecuteError>, Vec<Event>) {
    let events = Mutex::new(Vec::new());
    let sink = |event: &Event| events.lock().unwrap().push(event.clone());
    let programs = ProgramFiles::new(["naru-node", "naru-control-plane"].map(|name| (name.to_owned(), name.into())));
    let executor = Executor {
        fleet: memory,
        programs: &programs,
        sink: &sink,
        commands: &Shell,
        limits: with.limits,
        interrupt: with.interrupt,
        owner: with.owner.to_owned(),
        lock_wait: with.lock_wait,
        random: Random::seeded(with.seed),
    };
    let outcome = match executor.lock(&plan.inventory).await {
        Ok(held) => Ok(executor.execute(&held, plan).await),
        Err(error) => Err(error),
    };
    drop(executor);
    (outcome, events.into_inner().unwrap())
}

async fn run(memory: &Memory, plan: &Plan) -> (Outcome, Vec<Event>) {
    let (outcome, events) = run_with(memory, plan, With::default()).await;
    (outcome.unwrap(), events)
}

/// The error of the only step that failed.
fn only_error(outcome: &Outcome) -> &StepError {
    assert_eq!(outcome.failed.len(), 1, "{:?}", outcome.failed);
    &outcome.failed[0].1
}

fn reason(events: &[Event], id: &str) -> String {
    let found = events.iter().find_map(|event| match event {
        Event::StepSkipped { step, because, .. } if step == id => Some(because.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{id} was not skipped"))
}

fn remarks(events: &[Event]) -> Vec<&str> {
    let mut texts = Vec::new();
    for event in events {
        if let Event::Remark { text } = event {
            texts.push(text.as_str());
        }
    }
    texts
}
