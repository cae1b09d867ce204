//! The situations that are played through: those of the planner's table, on hosts instead of made-up observations,
//! and a few larger ones.

use naru_agent::Facts;
use naru_inventory::Inventory;
use naru_plan::scenarios::{self, Applied, Outcome, Twist};
use naru_plan::{CORDONED_ANNOTATION, Options, Programs};
use serde_json::json;
use tokio::time::sleep;

use crate::machine::{Body, Machine};
use crate::operator::{Goal, known_programs, run};
use crate::{Random, State, Workload, kubernetes, simulation};

/// After what was before, so that everything has come to rest.
const REST: std::time::Duration = std::time::Duration::from_secs(60);
/// A node that is not ready is so for the time of a run's beginning.
const NOT_READY_MS: u64 = 150_000;
const SECRET: &str = "hunter2-never-to-be-seen";

#[derive(Clone)]
pub struct Scenario {
    pub name: String,
    /// Applied whole, if anything.
    pub before: Option<Goal>,
    pub goal: Goal,
    pub twists: Vec<Twist>,
    pub outcome: Outcome,
    pub workloads: Vec<Workload>,
}

/// All that can be played.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all: Vec<Scenario> = scenarios::all().into_iter().filter(is_playable).map(from_planner).collect();
    all.extend(larger());
    all
}

/// What a provider does is left to other tests: machines are made, and become hosts of the inventory, before there is a
/// plan for them (src/naru/src/machines.rs); planner and executor only ever meet hosts. So is a network between hosts
/// that stays broken.
fn is_playable(scenario: &scenarios::Scenario) -> bool {
    let inventories = || scenario.before.iter().chain([&scenario.now]).map(Applied::inventory);
    let has_machines = inventories().any(|inventory| inventory.spec.machines.is_some());
    let stays_broken = scenario.twists.iter().any(|twist| matches!(twist, Twist::Preflight(_)));
    !has_machines && !stays_broken
}

fn from_planner(scenario: scenarios::Scenario) -> Scenario {
    let before = scenario
        .before
        .as_ref()
        .map(|applied| Goal { programs: scenarios::programs(&[applied.version]), ..goal(applied.inventory()) });
    Scenario {
        name: scenario.name.to_owned(),
        before,
        goal: Goal {
            programs: scenario.programs(),
            options: scenario.options.clone(),
            ..goal(scenario.now.inventory())
        },
        twists: scenario.twists.clone(),
        outcome: scenario.outcome,
        workloads: Vec::new(),
    }
}

fn goal(inventory: Inventory) -> Goal {
    let programs: Programs = scenarios::programs(&[inventory.spec.version.as_str()]);
    Goal { inventory, programs, options: Options::default(), lock_wait: None, is_doubled: false }
}

/// A cluster of many workers that get another version in batches while pods with a disruption budget run on them.
fn larger() -> Vec<Scenario> {
    let hosts = |workers: u8| {
        let control_plane = "    - {name: cp1, role: control-plane, address: 10.0.0.11}\n".to_owned();
        let worker = |number| format!("    - {{name: w{number}, role: worker, address: 10.0.1.{number}}}\n");
        (1..=workers).map(worker).fold(control_plane, |all, one| all + &one)
    };
    let inventory = |version: &str, workers: u8| {
        let text = format!(
            "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: large}}\nspec:\n  version: {version}\n  \
             rollout: {{maxUnavailable: 2, maxFailures: 1}}\n  hosts:\n{}",
            hosts(workers)
        );
        naru_inventory::parse_ahead("larger", &text).expect("scenarios are right")
    };
    let workload = |name: &str, replicas, least_ready| Workload { name: name.to_owned(), replicas, least_ready };
    vec![
        Scenario {
            name: "rollout-under-budget".to_owned(),
            before: Some(goal(inventory("v0.1.0", 6))),
            goal: goal(inventory("v0.2.0", 6)),
            twists: Vec::new(),
            outcome: Outcome::Changes,
            workloads: vec![workload("web", 6, Some(5)), workload("batch", 3, None)],
        },
        Scenario {
            name: "many-fresh".to_owned(),
            before: None,
            goal: goal(inventory("v0.1.0", 12)),
            twists: Vec::new(),
            outcome: Outcome::Changes,
            workloads: Vec::new(),
        },
    ]
}

impl Scenario {
    /// The world in which the scenario begins.
    ///
    /// # Errors
    /// When what was before cannot be applied.
    pub fn begin(&self, seed: u64) -> anyhow::Result<State> {
        let mut random = Random::new(seed);
        let goals = || self.before.iter().chain([&self.goal]);
        let hosts = goals().flat_map(|goal| &goal.inventory.spec.hosts);
        let mut hosts: Vec<(String, String)> = hosts.map(|host| (host.name.clone(), host.address.clone())).collect();
        hosts.sort();
        hosts.dedup_by(|one, other| one.0 == other.0);
        let mut state = State::new(&hosts, &mut random);
        for goal in goals() {
            let (sizes, versions) = known_programs(&goal.programs);
            state.sizes.extend(sizes);
            state.versions.extend(versions);
            let registries = goal.inventory.spec.runtime.registries.iter();
            let passwords = registries.filter_map(|registry| registry.password.as_ref());
            state.secrets.extend(passwords.map(|secret| (secret.0.clone(), SECRET.to_owned())));
        }
        if let Some(before) = &self.before {
            state = self.apply_before(state, before.clone())?;
        }
        for twist in &self.twists {
            apply_twist(&mut state, twist, &mut random);
        }
        let ((), mut state) = simulation(state, |_| Box::pin(sleep(REST)));
        state.hooks.clear();
        Ok(state)
    }

    fn apply_before(&self, mut state: State, mut before: Goal) -> anyhow::Result<State> {
        // Who is on the way out had been in.
        let hosts: Vec<_> = before.inventory.present_hosts().cloned().collect();
        before.inventory.spec.hosts = hosts;
        for _ in 0..2 {
            let goal = before.clone();
            let (applied, after) = simulation(state, move |world| {
                Box::pin(async move {
                    let operator = world.add_operator("before", Vec::new());
                    run(&world, operator, &goal).await
                })
            });
            anyhow::ensure!(applied.is_success(), "{}: what was before: {}", self.name, applied.summary());
            anyhow::ensure!(after.violations.is_empty(), "{}: {:?}", self.name, after.violations);
            state = after;
        }
        for cluster in state.clusters.values_mut() {
            cluster.workloads.clone_from(&self.workloads);
        }
        Ok(state)
    }
}

fn apply_twist(state: &mut State, twist: &Twist, random: &mut Random) {
    match twist {
        Twist::Unreachable(host) => {
            state.power_off(host);
            state.dead.insert((*host).to_owned());
        }
        Twist::Facts(host, change) => {
            let twists: &mut Vec<fn(&mut Facts)> = state.facts_twists.entry((*host).to_owned()).or_default();
            twists.push(*change);
        }
        Twist::ClockSkew(host, seconds) => {
            state.own_skew.insert((*host).to_owned(), seconds * 1_000);
            if let Some(machine) = state.machines.get_mut(*host) {
                machine.skew_ms = seconds * 1_000;
            }
        }
        Twist::Drifted(host, path) => {
            if let Some(machine) = state.machines.get_mut(*host) {
                let edited = format!("{}# edited by hand\n", machine.text(path));
                machine.clock_unix_ms += 1;
                machine.put(path, Body::text(&edited), 0o644);
            }
        }
        Twist::Gone(host) => {
            if let Some(old) = state.machines.get(*host) {
                // Its keys are others than those that it had made before.
                let new = Machine { keys_made: old.keys_made, ..Machine::new(host, &old.address.clone(), random) };
                state.machines.insert((*host).to_owned(), new);
            }
        }
        Twist::Cordoned(host) => state.patch_node(host, &json!({"spec": {"unschedulable": true}})),
        Twist::CordonedByUs(host) => {
            let annotations = json!({CORDONED_ANNOTATION: "true"});
            state.patch_node(host, &json!({"spec": {"unschedulable": true}, "metadata": {"annotations": annotations}}));
        }
        Twist::Pods(host, pods) => {
            for pod in pods {
                let mut object = kubernetes::pod("", &pod.name);
                object["metadata"]["namespace"] = json!(pod.namespace);
                object["spec"]["nodeName"] = json!(host);
                object["metadata"]["ownerReferences"] = match pod.controller.as_str() {
                    "" => json!([]),
                    kind => json!([{"kind": kind, "name": "owner", "controller": true}]),
                };
                let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
                each_cluster(state, |cluster| drop(cluster.put(&path, object.clone())));
            }
        }
        Twist::Stranger(name) => {
            let node = json!({"kind": "Node", "metadata": {"name": name}, "spec": {}, "status": {}});
            each_cluster(state, |cluster| drop(cluster.put(&format!("/api/v1/nodes/{name}"), node.clone())));
        }
        Twist::Learner(host) => state.add_learner(host),
        Twist::NotReady(host) => {
            let until = state.now_ms + NOT_READY_MS;
            state.not_ready_until.insert((*host).to_owned(), until);
        }
        Twist::Preflight(_) => {}
    }
}

fn each_cluster(state: &mut State, change: impl Fn(&mut crate::Cluster)) {
    state.clusters.values_mut().for_each(change);
}
