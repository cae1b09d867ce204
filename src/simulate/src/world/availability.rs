//! Who is away because of a run, at any moment: workers within what `rollout.maxUnavailable` allows, control planes one
//! at a time. The number grows only when a step that is felt begins, when a node is cordoned, and when a program is
//! stopped, so looking at these moments is looking always.

use std::collections::{BTreeMap, BTreeSet};

use naru_agent::ApiRequest;
use naru_inventory::Role;
use naru_plan::{Action, CORDONED_ANNOTATION, Plan, Step};
use naru_resources::Disruption;
use serde_json::Value as Json;

use super::State;
use super::settle::NODE_UNIT;
use crate::kubernetes;

const PERCENT: usize = 100;

/// What one run may take away, and has taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rollout {
    /// Hosts that served when the run was planned.
    workers: BTreeSet<String>,
    control_planes: BTreeSet<String>,
    /// Workers that may be away because of the run.
    allowed: usize,
    /// Steps under way that are felt, by host.
    steps: BTreeMap<String, usize>,
    /// Hosts that were taken away, with the boot at which it happened.
    touched: BTreeMap<String, u64>,
    /// Hosts with a step that failed; how many may is for `maxFailures` to say.
    failed: BTreeSet<String>,
}

fn is_felt(step: &Step) -> bool {
    step.disruptions.iter().any(|disruption| !matches!(disruption, Disruption::StartUnit(_)))
}

impl State {
    fn node(&self, host: &str) -> Option<&Json> {
        self.clusters.values().rev().find_map(|cluster| cluster.node(host))
    }

    /// What a plan may take away of what serves now.
    pub(crate) fn rollout(&self, plan: &Plan) -> Rollout {
        let present = |role: Role| plan.inventory.present_hosts().filter(move |host| host.role == role);
        let is_ready = |host: &str| self.node(host).is_some_and(kubernetes::is_ready);
        let workers: Vec<&str> = present(Role::Worker).map(|host| host.name.as_str()).collect();
        let away = workers.iter().filter(|host| self.node(host).is_some() && !is_ready(host)).count();
        let wish = plan.inventory.spec.rollout.max_unavailable.trim();
        let wish = match wish.strip_suffix('%') {
            Some(share) => share.trim().parse::<usize>().map_or(1, |share| workers.len() * share / PERCENT),
            None => wish.parse().unwrap_or(1),
        };
        Rollout {
            workers: workers.into_iter().filter(|host| is_ready(host)).map(str::to_owned).collect(),
            control_planes: present(Role::ControlPlane)
                .filter(|host| self.api_at(&host.name).is_some())
                .map(|host| host.name.clone())
                .collect(),
            allowed: wish.saturating_sub(away).max(1),
            ..Rollout::default()
        }
    }

    pub(crate) fn step_began(&mut self, operator: usize, step: &Step) {
        if !matches!(step.action, Action::Hook { .. } | Action::Manifest { .. }) {
            self.check_hooks(operator, &step.host, &step.id);
        }
        if is_felt(step) {
            *self.operators[operator].rollout.steps.entry(step.host.clone()).or_default() += 1;
            self.disturb(operator, &step.host);
        }
    }

    pub(crate) fn step_ended(&mut self, operator: usize, step: &Step, has_failed: bool) {
        let rollout = &mut self.operators[operator].rollout;
        if is_felt(step)
            && let Some(running) = rollout.steps.get_mut(&step.host)
        {
            *running = running.saturating_sub(1);
        }
        if has_failed {
            rollout.failed.insert(step.host.clone());
        }
    }

    /// A node may be about to be closed for new pods.
    pub(crate) fn check_cordon(&mut self, session: u64, request: &ApiRequest) {
        let Some(node) = request.path.strip_prefix("/api/v1/nodes/") else { return };
        if request.method == "PATCH" && request.body.contains("\"unschedulable\":true") {
            self.disturb(self.sessions[&session].operator, node);
        }
    }

    /// A host is taken away by an operator's run.
    pub(crate) fn disturb(&mut self, operator: usize, host: &str) {
        let Some(boot) = self.machines.get(host).map(|machine| machine.boot) else { return };
        self.operators[operator].rollout.touched.insert(host.to_owned(), boot);
        let rollout = self.operators[operator].rollout.clone();
        let name = &self.operators[operator].name;
        let away = |hosts: &BTreeSet<String>| -> Vec<String> {
            hosts.iter().filter(|host| self.is_taken_away(&rollout, host)).cloned().collect()
        };
        let (workers, control_planes) = (away(&rollout.workers), away(&rollout.control_planes));
        let mut wrong = Vec::new();
        if workers.len() > rollout.allowed {
            wrong.push(format!("{name} has workers {workers:?} away at once, where {} may be", rollout.allowed));
        }
        if control_planes.len() > 1 {
            wrong.push(format!("{name} has control planes {control_planes:?} away at once"));
        }
        wrong.into_iter().for_each(|text| self.violation(text));
    }

    fn is_taken_away(&self, rollout: &Rollout, host: &str) -> bool {
        let Some(machine) = self.machines.get(host) else { return false };
        // A host that lost its power, or at which something failed, is not away because of the order of steps.
        // One that was cut off is not away because of us either, and one whose clock jumped tells old times.
        let own_skew_ms = self.own_skew.get(host).copied().unwrap_or_default();
        if self.isolated_until.contains_key(host) || machine.skew_ms != own_skew_ms {
            return false;
        }
        let is_ours = rollout.touched.get(host) == Some(&machine.boot) && !rollout.failed.contains(host);
        if !is_ours {
            return false;
        }
        let is_under_way = rollout.steps.get(host).is_some_and(|running| *running > 0);
        let is_api_away = rollout.control_planes.contains(host) && self.api_at(host).is_none();
        is_under_way || is_api_away || self.is_node_away(host)
    }

    /// Cordoned by us, or not ready by the word of the program that runs now.
    fn is_node_away(&self, host: &str) -> bool {
        let Some(node) = self.node(host) else { return false };
        let is_cordoned = !node["metadata"]["annotations"][CORDONED_ANNOTATION].is_null();
        let started_ms = self.machines[host].units.get(NODE_UNIT).map_or(0, |unit| unit.started_unix_ms);
        let condition = &node["status"]["conditions"][0];
        let said_ms = condition["lastHeartbeatTime"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let is_old = said_ms.is_none_or(|said| said.as_millisecond() <= started_ms);
        is_cordoned || !kubernetes::is_ready(node) || is_old
    }
}
