//! The situations that are played through: what was applied before, what has happened since, what is wanted now.

use std::sync::Arc;

use naru_inventory::Inventory;
use naru_plan::{Artifact, Options, ProgramVersion, Programs};
use sha2::{Digest, Sha256};

use crate::operator::{Goal, known_programs, run};
use crate::{Random, State, Workload, World, simulation};

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// Applied whole, if anything.
    pub before: Option<Goal>,
    pub goal: Goal,
    pub workloads: Vec<Workload>,
}

const HEAD: &str = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: sim}\nspec:\n";
const PROGRAM_BYTES: u64 = 9 << 20;

/// Made-up programs of these versions.
#[must_use]
pub fn programs(versions: &[&str]) -> Programs {
    let artifact = |name: &str, version: &str| Artifact {
        name: name.to_owned(),
        sha256: hex::encode(Sha256::digest(format!("{name} {version}"))),
        size_bytes: PROGRAM_BYTES,
    };
    let version = |version: &&str| {
        let (node, control_plane) = (artifact("naru-node", version), artifact("naru-control-plane", version));
        ((*version).to_owned(), ProgramVersion { node, control_plane })
    };
    Programs { versions: versions.iter().map(version).collect() }
}

fn inventory(body: &str) -> Inventory {
    naru_inventory::parse_ahead("scenario", &format!("{HEAD}{body}")).expect("scenarios are right")
}

fn goal(body: &str) -> Goal {
    let inventory = inventory(body);
    let programs = programs(&[inventory.spec.version.as_str()]);
    Goal { inventory, programs, options: Options::default(), lock_wait: None, is_doubled: false }
}

const THREE: &str = "  hosts:\n    - {name: cp1, role: control-plane, address: 10.0.0.11}\n    \
    - {name: w1, role: worker, address: 10.0.0.21}\n    - {name: w2, role: worker, address: 10.0.0.22}\n";
const LABELLED: &str = "  hosts:\n    - {name: cp1, role: control-plane, address: 10.0.0.11}\n    \
    - {name: w1, role: worker, address: 10.0.0.21, labels: {disk: ssd}}\n    - {name: w2, role: worker, address: 10.0.0.22}\n";
const FOUR: &str = "  hosts:\n    - {name: cp1, role: control-plane, address: 10.0.0.11}\n    \
    - {name: w1, role: worker, address: 10.0.0.21}\n    - {name: w2, role: worker, address: 10.0.0.22}\n    \
    - {name: w3, role: worker, address: 10.0.0.23}\n";
const DOMAIN: &str = "  network: {domain: prod.internal}\n";

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let one = |name: &str, before: Option<&str>, now: &str| Scenario {
        name: name.to_owned(),
        before: before.map(goal),
        goal: goal(now),
        workloads: vec![Workload { name: "web".to_owned(), replicas: 2, least_ready: None }],
    };
    vec![
        one("fresh", None, THREE),
        one("grow", Some(THREE), FOUR),
        one("label", Some(THREE), LABELLED),
        one("domain", Some(THREE), &format!("{DOMAIN}{THREE}")),
    ]
}

impl Scenario {
    /// The world in which the scenario begins.
    ///
    /// # Errors
    /// When what was before cannot be applied.
    pub fn begin(&self, seed: u64) -> anyhow::Result<State> {
        let mut random = Random::new(seed);
        let goals = self.before.iter().chain([&self.goal]);
        let mut hosts: Vec<(String, String)> = goals
            .flat_map(|goal| goal.inventory.spec.hosts.iter().map(|host| (host.name.clone(), host.address.clone())))
            .collect();
        hosts.sort();
        hosts.dedup();
        let mut state = State::new(&hosts, &mut random);
        for goal in self.before.iter().chain([&self.goal]) {
            let (sizes, versions) = known_programs(&goal.programs);
            state.sizes.extend(sizes);
            state.versions.extend(versions);
        }
        let Some(before) = &self.before else { return Ok(state) };
        let (applied, mut state) = simulation(state, |world| Box::pin(apply_whole(world, before.clone())));
        anyhow::ensure!(applied.is_success(), "{}: what was before: {}", self.name, applied.summary());
        anyhow::ensure!(state.violations.is_empty(), "{}: {:?}", self.name, state.violations);
        for cluster in state.clusters.values_mut() {
            cluster.workloads.clone_from(&self.workloads);
        }
        Ok(state)
    }
}

async fn apply_whole(world: Arc<World>, goal: Goal) -> crate::operator::Run {
    let operator = world.add_operator("before", Vec::new());
    run(&world, operator, &goal).await
}
