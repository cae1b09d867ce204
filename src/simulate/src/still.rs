//! A fleet that stands still: it answers questions from hosts in a settled state, in real time and for many threads.
//! Benchmarks ask it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use naru_agent::{Failure, FailureKind, Request, Response};
use naru_inventory::Inventory;
use naru_observe::{ApiState, ClusterObservation, HostObservation, Observation, Reached, node_from_json};
use naru_plan::{AUTHORITY_KEY, Action, Options, Plan, Programs, desired, plan};
use naru_resources::Resource;
use parking_lot::RwLock;
use serde_json::json;

use crate::machine::Machine;
use crate::operator::known_programs;
use crate::world::CONTROL_PLANE_UNIT;
use crate::{Random, State, kubernetes};

/// Until programs that were started are ready, by the hosts' clocks.
const SETTLE_MS: u64 = 30_000;

pub struct StillFleet {
    state: RwLock<State>,
    by_address: BTreeMap<String, String>,
}

fn refused(message: String) -> Failure {
    Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }
}

impl StillFleet {
    /// Hosts on which nothing of ours is.
    #[must_use]
    pub fn bare(inventory: &Inventory) -> Self {
        let hosts = inventory.spec.hosts.iter().map(|host| (host.name.clone(), host.address.clone()));
        let hosts: Vec<(String, String)> = hosts.collect();
        let by_address = hosts.iter().map(|(name, address)| (address.clone(), name.clone())).collect();
        Self { state: RwLock::new(State::new(&hosts, &mut Random::new(0))), by_address }
    }

    /// Hosts on which everything is as the inventory wants it, and a cluster that knows them.
    ///
    /// # Errors
    /// When the inventory cannot be brought about.
    pub fn converged(inventory: &Inventory, programs: &Programs) -> Result<Self> {
        let fleet = Self::bare(inventory);
        {
            let mut state = fleet.state.write();
            (state.sizes, state.versions) = known_programs(programs);
            let first = inventory.control_planes().next().map(|host| host.name.clone()).unwrap_or_default();
            for host in inventory.control_planes().chain(inventory.present_hosts()) {
                bring_about(&mut state, inventory, &host.name, &first, programs)?;
            }
            state.control_plane_started(&first);
            state.now_ms += SETTLE_MS;
            state.settle();
        }
        // What the cluster itself has to be told, as labels that are the inventory's.
        let planned = fleet.planned(inventory, programs);
        for step in &planned.steps {
            let Action::Label { change, .. } = &step.action else {
                bail!("{} is still to be done: {:?}", step.id, step.changes);
            };
            let managed = json!(change.managed).to_string();
            let mut annotations = json!({naru_observe::MANAGED_ANNOTATION: managed});
            kubernetes::merge(&mut annotations, &json!(change.set_annotations));
            let patch = json!({"metadata": {"labels": change.set_labels, "annotations": annotations}});
            fleet.state.write().patch_node(&step.host, &patch);
        }
        let left = fleet.planned(inventory, programs);
        if let Some(step) = left.steps.first() {
            bail!("{} is still to be done: {:?}", step.id, step.changes);
        }
        Ok(fleet)
    }

    fn planned(&self, inventory: &Inventory, programs: &Programs) -> Plan {
        plan(inventory, &self.observation(inventory, programs), programs, &Options::default())
    }

    /// What an observation of this fleet says.
    #[must_use]
    pub fn observation(&self, inventory: &Inventory, programs: &Programs) -> Observation {
        let state = self.state.read();
        let hosts = inventory.spec.hosts.iter().map(|host| {
            let machine = &state.machines[&host.name];
            let facts = state.facts(&host.name);
            let wanted = desired(inventory, host, &facts, programs).map(|desired| desired.resources());
            let checked = wanted.ok().and_then(|wanted| machine.check_all(&wanted).ok()).unwrap_or_default();
            let reached = Reached {
                facts,
                changes: checked.changes,
                missing_artifacts: checked.missing_artifacts,
                manifest: checked.manifest,
                drifted: checked.drifted,
                ..Reached::default()
            };
            (host.name.clone(), HostObservation::Reached(Box::new(reached)))
        });
        let hosts = hosts.collect();
        let nodes = state
            .clusters
            .values()
            .next()
            .map(|cluster| cluster.nodes().map(|(_, node)| node_from_json(node)).collect());
        let api = if nodes.is_some() { ApiState::Ready } else { ApiState::Unknown };
        Observation {
            hosts,
            cluster: ClusterObservation { api, nodes, ..ClusterObservation::default() },
            preflight: None,
        }
    }

    #[must_use]
    pub fn host_at(&self, address: &str) -> Option<String> {
        self.by_address.get(address).cloned()
    }

    /// Answers a question; changes are refused.
    #[must_use]
    pub fn answer(&self, host: &str, request: &Request) -> Response {
        self.answered(host, request).unwrap_or_else(Response::Failed)
    }

    fn answered(&self, host: &str, request: &Request) -> Result<Response, Failure> {
        let state = self.state.read();
        let machine = state.machines.get(host).ok_or_else(|| refused(format!("no host {host}")))?;
        match request {
            Request::Facts => {
                let mut facts = state.facts(host);
                facts.unix_time_ms = jiff::Timestamp::now().as_millisecond();
                Ok(Response::Facts(Box::new(facts)))
            }
            Request::Check { resources } => machine.check_all(resources).map(Response::Checked),
            Request::MissingArtifacts { .. } => Ok(Response::MissingArtifacts { missing: Vec::new() }),
            Request::Api(request) if request.method == "GET" && machine.runs(CONTROL_PLANE_UNIT) => {
                let cluster = state.clusters.values().next().ok_or_else(|| refused("no cluster".to_owned()))?;
                Ok(Response::Api(cluster.read(request)))
            }
            _ => Err(refused("this fleet stands still".to_owned())),
        }
    }
}

/// Does at once what an apply would do.
fn bring_about(state: &mut State, inventory: &Inventory, name: &str, first: &str, programs: &Programs) -> Result<()> {
    let Some(host) = inventory.host(name) else { return Ok(()) };
    let failed =
        |failure: Failure| anyhow::anyhow!("{name}: {} {}", failure.message, failure.detail.unwrap_or_default());
    let facts = state.facts(name);
    let wanted = desired(inventory, host, &facts, programs).map_err(anyhow::Error::msg)?.resources();
    for resource in &wanted {
        if let Some(sha256) = resource.artifact() {
            let size = state.sizes.get(sha256).copied().unwrap_or_default();
            machine(state, name)?.keep_artifact(sha256, size);
        }
        if let Resource::Certificate(certificate) = resource
            && state.machines[name].certificate_reason(certificate).is_some()
        {
            let request = machine(state, name)?.signing_request(certificate);
            let signed = state.machines[first].sign(&request, certificate, AUTHORITY_KEY).map_err(failed)?;
            let files = state.machines[name].certificate_files(certificate, &signed.0, &signed.1).map_err(failed)?;
            for (path, body) in files {
                machine(state, name)?.put(&path, body, 0o644);
            }
            machine(state, name)?.record_certificate(certificate);
        }
        machine(state, name)?.apply(resource).map_err(failed)?;
    }
    Ok(())
}

fn machine<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Machine> {
    state.machines.get_mut(name).ok_or_else(|| anyhow::anyhow!("no host {name}"))
}
