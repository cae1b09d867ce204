//! The planner: who does what after whom.

use std::collections::BTreeSet;

use naru_inventory::{Host, Inventory, Role};
use naru_observe::{ApiState, HostObservation, NodeObservation, Observation, Problem, Reached};
use naru_resources::{Certificate, Change, Disruption, Resource};

use crate::desired::{AUTHORITY_KEY, Desired, Programs, Stage, desired};
use crate::labels;
use crate::plan::{Action, Artifact, Note, NoteKind, PLAN_FORMAT, Plan, Step};

/// Installing packages over a slow line is the longest there is.
const STEP_SECONDS: u32 = 900;
const UPLOAD: &str = "upload";
const API: &str = "api";
const READY: &str = "ready";
const LABELS: &str = "labels";

/// What the operator says about this one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these hosts are changed; empty: all.
    pub only: BTreeSet<String>,
    /// Whether hosts that cannot be reached are left out without the run counting as incomplete.
    pub skip_unreachable: bool,
}

/// Everything to do so that the observed world becomes the inventory's.
#[must_use]
pub fn plan(inventory: &Inventory, observation: &Observation, programs: &Programs, options: &Options) -> Plan {
    let _ = options;
    let mut planner = Planner { inventory, observation, programs, steps: Vec::new(), notes: Vec::new() };
    planner.run();
    Plan {
        format: PLAN_FORMAT,
        inventory: inventory.clone(),
        fingerprint: observation.fingerprint(),
        steps: planner.steps,
        notes: planner.notes,
        findings: Vec::new(),
        unavailable: Vec::new(),
        max_failures: inventory.spec.rollout.max_failures,
    }
}

struct Planner<'a> {
    inventory: &'a Inventory,
    observation: &'a Observation,
    programs: &'a Programs,
    steps: Vec<Step>,
    notes: Vec<Note>,
}

impl<'a> Planner<'a> {
    fn run(&mut self) {
        self.machines();
        let Some(control_plane) = self.inventory.control_planes().next() else { return };
        match self.observation.hosts.get(&control_plane.name) {
            Some(HostObservation::Reached(reached)) if reached.problem.is_none() => {}
            Some(HostObservation::Reached(reached)) => {
                return self.refuse(control_plane, reached.problem.as_ref(), "cannot be used");
            }
            Some(HostObservation::Unreachable(problem)) => {
                return self.refuse(control_plane, Some(problem), "cannot be reached");
            }
            Some(HostObservation::Missing { .. }) | None => return,
        }
        let hosts = self.hosts_in_order();
        let mut hosts_of_plan = Vec::new();
        for host in hosts {
            if let Some((reached, desired)) = self.usable(host) {
                self.stages(host, control_plane, reached, &desired);
                hosts_of_plan.push(host);
            }
        }
        self.wait_for_api(control_plane);
        for host in hosts_of_plan {
            self.cluster_side(host, control_plane);
        }
        self.connect_needs(&control_plane.name);
        self.strangers();
    }

    /// Control planes first: their steps are what others wait for.
    fn hosts_in_order(&self) -> Vec<&'a Host> {
        let (mut first, rest): (Vec<_>, Vec<_>) =
            self.inventory.spec.hosts.iter().partition(|host| host.role == Role::ControlPlane);
        first.extend(rest);
        first
    }

    fn machines(&mut self) {
        for name in self.inventory.host_names() {
            let Some(HostObservation::Missing { is_off }) = self.observation.hosts.get(&name) else { continue };
            let verb = if *is_off { "start" } else { "create" };
            let summary = format!("{verb} machine {name}");
            let change = Change { resource: 0, summary, diff: None, disruption: None };
            self.add(&name, "machine", "bring up the machine", Action::MakeMachine, vec![change]);
        }
        let names: Vec<&str> = self.steps.iter().map(|step| step.host.as_str()).collect();
        if !names.is_empty() {
            let text = format!("what is to do on {} is planned as soon as machines run", names.join(", "));
            self.notes.push(Note { kind: NoteKind::Later, host: None, text, detail: None, hint: None });
        }
    }

    fn refuse(&mut self, control_plane: &Host, problem: Option<&Problem>, what: &str) {
        self.steps.clear();
        let reason = problem.map_or("unknown", |problem| problem.primary.as_str());
        self.notes.push(Note {
            kind: NoteKind::Refused,
            host: Some(control_plane.name.clone()),
            text: format!("the control plane {what}, so no host is changed: {reason}"),
            detail: problem.and_then(|problem| problem.detail.clone()),
            hint: problem.and_then(|problem| problem.hint.clone()),
        });
        let others: Vec<Note> = self.inventory.spec.hosts.iter().filter_map(|host| self.unusable(host)).collect();
        let new = others.into_iter().filter(|note| note.host.as_deref() != Some(control_plane.name.as_str()));
        self.notes.extend(new);
    }

    /// Why a host is left out, if it is.
    fn unusable(&self, host: &Host) -> Option<Note> {
        let (problem, what) = match self.observation.hosts.get(&host.name)? {
            HostObservation::Unreachable(problem) => (problem, "it cannot be reached"),
            HostObservation::Reached(reached) => (reached.problem.as_ref()?, "it cannot be used"),
            HostObservation::Missing { .. } => return None,
        };
        Some(Note {
            kind: NoteKind::Skipped,
            host: Some(host.name.clone()),
            text: format!("{what}: {}", problem.primary),
            detail: problem.detail.clone(),
            hint: problem.hint.clone(),
        })
    }

    fn usable(&mut self, host: &Host) -> Option<(&'a Reached, Desired)> {
        if let Some(note) = self.unusable(host) {
            self.notes.push(note);
            return None;
        }
        let reached = self.observation.reached(&host.name)?;
        // The observation asked the same function, so a refusal is already its `problem`.
        let desired = desired(self.inventory, host, &reached.facts, self.programs).ok()?;
        Some((reached, desired))
    }

    fn stages(&mut self, host: &Host, control_plane: &Host, reached: &Reached, desired: &Desired) {
        self.upload(host, reached, desired);
        let mut changes = reached.changes.clone();
        if self.believes_another(control_plane, reached) {
            renew_certificates(&mut changes, desired);
        }
        let changes = with_restarts(&changes, desired);
        for stage in Stage::ALL {
            let of_stage = |change: &&Change| desired.wanted.get(change.resource).is_some_and(|w| w.stage == stage);
            let changes: Vec<Change> = changes.iter().filter(of_stage).cloned().collect();
            if changes.is_empty() {
                continue;
            }
            let action = if stage == Stage::Certificates {
                Action::Certificates {
                    certificates: changed_certificates(&changes, desired),
                    authority_host: control_plane.name.clone(),
                    authority_key_path: AUTHORITY_KEY.to_owned(),
                }
            } else {
                let of_stage = desired.wanted.iter().filter(|wanted| wanted.stage == stage);
                {
                    let of_stage = of_stage.map(|wanted| wanted.resource.clone());
                    Action::Apply { resources: of_stage.collect(), revert_after_seconds: None }
                }
            };
            self.add(&host.name, stage.name(), stage.title(), action, changes);
        }
    }

    /// A host can only tell whether its certificates and its own copy of the authority fit together. That the control
    /// plane has another authority, because it was made anew, shows in nothing but this.
    fn believes_another(&self, control_plane: &Host, reached: &Reached) -> bool {
        let theirs = self.observation.reached(&control_plane.name).and_then(|seen| seen.facts.authority.as_deref());
        match (theirs, reached.facts.authority.as_deref()) {
            (Some(theirs), Some(ours)) => theirs.is_empty() || theirs != ours,
            _ => false,
        }
    }

    fn upload(&mut self, host: &Host, reached: &Reached, desired: &Desired) {
        let needed: BTreeSet<&str> = reached
            .changes
            .iter()
            .filter_map(|change| match &desired.wanted.get(change.resource)?.resource {
                Resource::Binary { sha256, .. } | Resource::Image { sha256, .. } => Some(sha256.as_str()),
                _ => None,
            })
            .collect();
        let known = self.programs.versions.values().flat_map(|programs| [&programs.control_plane, &programs.node]);
        let artifacts: Vec<Artifact> = known
            .filter(|artifact| needed.contains(artifact.sha256.as_str()))
            .filter(|artifact| reached.missing_artifacts.contains(&artifact.sha256))
            .cloned()
            .collect();
        if artifacts.is_empty() {
            return;
        }
        let change = |artifact: &Artifact| {
            let summary = format!("upload {} ({})", artifact.name, megabytes(artifact.size_bytes));
            Change { resource: 0, summary, diff: None, disruption: None }
        };
        let changes = artifacts.iter().map(change).collect();
        self.add(&host.name, UPLOAD, "upload programs", Action::Upload { artifacts, neighbours: Vec::new() }, changes);
    }

    fn wait_for_api(&mut self, control_plane: &Host) {
        let starts = self.disturbs(&control_plane.name, Stage::ControlPlane);
        if starts || self.observation.cluster.api != ApiState::Ready {
            self.add(&control_plane.name, API, "wait for the API server", Action::WaitForApi, Vec::new());
        }
    }

    fn node(&self, host: &Host) -> Option<&'a NodeObservation> {
        self.observation.cluster.nodes.as_ref()?.get(&host.name)
    }

    fn cluster_side(&mut self, host: &Host, control_plane: &Host) {
        let node = self.node(host);
        let starts = self.disturbs(&host.name, Stage::Node) || self.disturbs(&host.name, Stage::Runtime);
        if starts || !node.is_some_and(|node| node.ready) {
            let action = Action::WaitForNode { control_planes: vec![control_plane.name.clone()] };
            self.add(&host.name, READY, "wait until the node is Ready", action, Vec::new());
        }
        if let Some(change) = labels::change(host, node) {
            let line = |summary| Change { resource: 0, summary, diff: None, disruption: None };
            let changes = change.lines().into_iter().map(line).collect();
            let action = Action::Label { control_planes: vec![control_plane.name.clone()], change };
            self.add(&host.name, LABELS, "label the node", action, changes);
        }
    }

    /// Whether the host's step of this stage starts or restarts something.
    fn disturbs(&self, host: &str, stage: Stage) -> bool {
        let id = id(host, stage.name());
        self.steps.iter().any(|step| step.id == id && !step.disruptions.is_empty())
    }

    fn add(&mut self, host: &str, name: &str, title: &str, action: Action, changes: Vec<Change>) {
        let disruptions = changes.iter().filter_map(|change| change.disruption.clone()).collect();
        self.steps.push(Step {
            id: id(host, name),
            host: host.to_owned(),
            title: title.to_owned(),
            action,
            needs: Vec::new(),
            changes,
            disruptions,
            deadline_seconds: STEP_SECONDS,
            batch: None,
        });
    }

    /// Fills in what each step waits for: of everything that it would have to wait for, the steps that there are.
    fn connect_needs(&mut self, control_plane: &str) {
        let existing: BTreeSet<String> = self.steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut self.steps {
            let name = step.id.rsplit_once('/').map_or("", |(_, name)| name).to_owned();
            let wanted = needs(&name).iter().map(|(place, name)| match place {
                Place::SameHost => id(&step.host, name),
                Place::ControlPlane => id(control_plane, name),
            });
            step.needs = wanted.filter(|id| *id != step.id && existing.contains(id)).collect();
            step.needs.sort();
            step.needs.dedup();
        }
        self.steps.sort_by_key(|step| rank(&step.id));
    }

    fn strangers(&mut self) {
        for name in self.observation.cluster.nodes.iter().flat_map(|nodes| nodes.keys()) {
            if self.inventory.host(name).is_none() {
                self.notes.push(Note {
                    kind: NoteKind::Remark,
                    host: Some(name.clone()),
                    text: "is a node of the cluster but not in the inventory; it is left alone".to_owned(),
                    detail: None,
                    hint: None,
                });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    SameHost,
    ControlPlane,
}

/// The order of things: what a step of this name has to wait for.
fn needs(name: &str) -> &'static [(Place, &'static str)] {
    use Place::{ControlPlane, SameHost};
    match name {
        "runtime" | "identity" => &[(SameHost, "prepare")],
        "programs" => &[(SameHost, "prepare"), (SameHost, UPLOAD)],
        "certificates" => &[(SameHost, "prepare"), (SameHost, "identity"), (ControlPlane, "identity")],
        "control-plane" => {
            &[(SameHost, "prepare"), (SameHost, "programs"), (SameHost, "identity"), (SameHost, "certificates")]
        }
        API => &[(SameHost, "control-plane")],
        "node" => &[
            (SameHost, "prepare"),
            (SameHost, "runtime"),
            (SameHost, "programs"),
            (SameHost, "certificates"),
            (ControlPlane, API),
        ],
        READY => &[(SameHost, "node"), (SameHost, "runtime"), (ControlPlane, API)],
        LABELS => &[(SameHost, READY), (SameHost, "node"), (ControlPlane, API)],
        _ => &[],
    }
}

/// Position of a step's name in an order in which all could run one by one.
fn rank(id: &str) -> usize {
    const ORDER: [&str; 12] = [
        "machine",
        "prepare",
        UPLOAD,
        "runtime",
        "programs",
        "identity",
        "certificates",
        "control-plane",
        API,
        "node",
        READY,
        LABELS,
    ];
    let name = id.rsplit_once('/').map_or("", |(_, name)| name);
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

fn id(host: &str, name: &str) -> String {
    format!("{host}/{name}")
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

fn changed_certificates(changes: &[Change], desired: &Desired) -> Vec<Certificate> {
    let indices: BTreeSet<usize> = changes.iter().map(|change| change.resource).collect();
    indices
        .into_iter()
        .filter_map(|index| match &desired.wanted[index].resource {
            Resource::Certificate(certificate) => Some(certificate.clone()),
            _ => None,
        })
        .collect()
}

fn renew_certificates(changes: &mut Vec<Change>, desired: &Desired) {
    for (index, wanted) in desired.wanted.iter().enumerate() {
        let Resource::Certificate(certificate) = &wanted.resource else { continue };
        if changes.iter().all(|change| change.resource != index) {
            let path = &certificate.certificate_path;
            let summary = format!("renew {path}: the control plane has another authority");
            changes.push(Change { resource: index, summary, diff: None, disruption: None });
        }
    }
    changes.sort_by_key(|change| change.resource);
}

/// A check sees the present; it cannot know that a file which is about to change will make a unit restart. So the
/// planner adds the restart of every running unit that looks at something that changes.
fn with_restarts(changes: &[Change], desired: &Desired) -> Vec<Change> {
    let mut all = changes.to_vec();
    let changed: BTreeSet<&str> =
        changes.iter().filter_map(|change| path(&desired.wanted.get(change.resource)?.resource)).collect();
    for (index, wanted) in desired.wanted.iter().enumerate() {
        let Resource::Unit { name, restart_on, .. } = &wanted.resource else { continue };
        let told = changes.iter().any(|change| change.resource == index && change.disruption.is_some());
        if !told && restart_on.iter().any(|path| changed.contains(path.as_str())) {
            all.push(Change {
                resource: index,
                summary: format!("restart {name}"),
                diff: None,
                disruption: Some(Disruption::RestartUnit(name.clone())),
            });
        }
    }
    all.sort_by_key(|change| change.resource);
    all
}

/// The path that a unit may look at.
fn path(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::File { path, .. } | Resource::Binary { path, .. } => Some(path),
        Resource::Certificate(certificate) => Some(&certificate.certificate_path),
        Resource::Authority(authority) => Some(&authority.certificate_path),
        Resource::KeyPair { public_path, .. } => Some(public_path),
        _ => None,
    }
}
