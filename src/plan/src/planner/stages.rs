//! The stages of one host: what differs from its desired state, what follows from that, as steps.

use std::collections::BTreeSet;

use naru_observe::Reached;
use naru_resources::{Certificate, Change, Disruption, Resource};

use super::draft::{Draft, line};
use super::versions::Climb;
use super::world::{Part, World};
use crate::desired::{
    AUTHORITY_KEY, CONTAINERD_UNIT, CONTROL_PLANE_UNIT, Desired, ETCD_AUTHORITY_KEY, NODE_UNIT, Stage, cuts_ssh,
    is_read_at_each_pull, shared_files,
};
use crate::plan::{Action, Step};

/// Seconds in which a new connection must confirm a change that could have cut the host off.
const REVERT_AFTER_SECONDS: u32 = 60;
/// Kinds of what a plan puts on a host and takes away again; never keys, authorities, certificates or programs.
const REMOVABLE: [&str; 3] = ["file", "unit", "directory"];
/// Where a file belonged that is wanted no more, by the beginning of its path.
const STAGES_OF_GONE: [(&str, Stage); 4] = [
    ("/etc/containerd/", Stage::Runtime),
    ("/etc/systemd/system/containerd.service.d", Stage::Runtime),
    ("/etc/cni/", Stage::Runtime),
    ("/etc/apt/", Stage::Prepare),
];
const UNIT_FOLDER: &str = "/etc/systemd/system/";

/// The numbers of changes from here on are those of things that are wanted no more, in the order of `gone`.
fn first_gone(desired: &Desired) -> usize {
    desired.wanted.len()
}

/// What an earlier plan put there and nobody wants any more; what lies in a folder before the folder.
pub(super) fn gone(reached: &Reached, desired: &Desired) -> Vec<String> {
    if reached.manifest.is_empty() {
        return Vec::new();
    }
    let wanted: BTreeSet<String> = desired.wanted.iter().filter_map(|wanted| place(&wanted.resource)).collect();
    let removable = reached.manifest.iter().filter(|(_, entry)| REMOVABLE.contains(&entry.kind.as_str()));
    let mut gone: Vec<String> = removable
        .map(|(path, _)| path.trim_end_matches('/').to_owned())
        .filter(|path| !wanted.contains(path))
        .collect();
    gone.reverse();
    gone
}

/// Under which name a resource stands in the host's manifest.
fn place(resource: &Resource) -> Option<String> {
    match resource {
        Resource::File { path, .. } | Resource::Directory { path, .. } | Resource::Absent { path } => {
            Some(path.trim_end_matches('/').to_owned())
        }
        Resource::Unit { name, .. } => Some(format!("{UNIT_FOLDER}{name}")),
        _ => None,
    }
}

fn stage_of_gone(path: &str) -> Stage {
    if cuts_ssh(path) {
        return Stage::Network;
    }
    STAGES_OF_GONE.iter().find(|(start, _)| path.starts_with(start)).map_or(Stage::Files, |(_, stage)| *stage)
}

/// Everything that differs: what the check found, what is wanted no more, and the restarts that follow from both.
pub(super) fn all_changes(reached: &Reached, desired: &Desired) -> Vec<Change> {
    let mut changes = reached.changes.clone();
    for (index, path) in gone(reached, desired).into_iter().enumerate() {
        changes.push(Change { resource: first_gone(desired) + index, ..line(format!("remove {path}")) });
    }
    changes
}

pub(super) fn add(world: &World<'_>, part: &Part<'_>, lead: &Part<'_>, climb: &Climb, draft: &mut Draft) {
    let gone = gone(part.reached, &part.desired);
    let mut changes = part.changes.clone();
    if believes_another(part, lead) {
        renew_certificates(&mut changes, &part.desired);
    }
    if changes.is_empty() {
        return;
    }
    add_restarts(&mut changes, &part.desired, &gone);
    for stage in Stage::ALL {
        let of_stage: Vec<Change> =
            changes.iter().filter(|change| stage_of(change, &part.desired, &gone) == Some(stage)).cloned().collect();
        if of_stage.is_empty() {
            continue;
        }
        let action = action(world, part, lead, stage, &of_stage, &gone);
        let (title, of_stage) = match &action {
            Action::CopyIdentity { from, paths } => {
                let copy = |path: &String| line(format!("copy {path} from {from}"));
                ("copy the cluster's authority and keys", paths.iter().map(copy).collect())
            }
            _ => (stage.title(), of_stage),
        };
        let rung = climb.rung_of(&part.host.name, stage);
        let number = draft.add_as(&part.host.name, rung, stage.name(), stage.name(), title, action, of_stage);
        for reason in reasons(part, lead, stage, climb, &draft.steps[number].step) {
            draft.reason(number, reason);
        }
    }
}

fn stage_of(change: &Change, desired: &Desired, gone: &[String]) -> Option<Stage> {
    match desired.wanted.get(change.resource) {
        Some(wanted) => Some(wanted.stage),
        None => gone.get(change.resource - first_gone(desired)).map(|path| stage_of_gone(path)),
    }
}

fn action(
    world: &World<'_>,
    part: &Part<'_>,
    lead: &Part<'_>,
    stage: Stage,
    changes: &[Change],
    gone: &[String],
) -> Action {
    let is_lead = part.host.name == lead.host.name;
    match stage {
        Stage::Certificates | Stage::EtcdCertificates => Action::Certificates {
            certificates: changed_certificates(changes, &part.desired),
            authority_host: lead.host.name.clone(),
            authority_key_path: if stage == Stage::Certificates { AUTHORITY_KEY } else { ETCD_AUTHORITY_KEY }
                .to_owned(),
        },
        Stage::Identity if !is_lead => {
            Action::CopyIdentity { from: lead.host.name.clone(), paths: shared_files(world.blueprint.has_etcd()) }
        }
        _ => {
            let absent = gone.iter().filter(|path| stage_of_gone(path) == stage);
            let absent = absent.map(|path| Resource::Absent { path: path.clone() });
            let wanted = part.desired.wanted.iter().filter(|wanted| wanted.stage == stage);
            Action::Apply {
                resources: absent.chain(wanted.map(|wanted| wanted.resource.clone())).collect(),
                revert_after_seconds: (stage == Stage::Network).then_some(REVERT_AFTER_SECONDS),
            }
        }
    }
}

fn reasons(part: &Part<'_>, lead: &Part<'_>, stage: Stage, climb: &Climb, step: &Step) -> Vec<String> {
    let mut reasons = Vec::new();
    let restarts = |unit: &str| step.disruptions.contains(&Disruption::RestartUnit(unit.to_owned()));
    match stage {
        Stage::Network => {
            reasons.push(format!("put back after {REVERT_AFTER_SECONDS} s unless a new connection confirms it"));
        }
        Stage::Identity if part.host.name != lead.host.name => {
            reasons.push(format!("every control plane has the same authority; {} has it", lead.host.name));
        }
        Stage::Runtime if restarts(CONTAINERD_UNIT) => {
            reasons.push("only containerd restarts; running containers and the node program go on".to_owned());
        }
        Stage::Runtime
            if step.changes.iter().any(|change| is_of_registry(change, part)) && step.disruptions.is_empty() =>
        {
            reasons.push("takes effect at the next pull; nothing restarts".to_owned());
        }
        Stage::ControlPlane if restarts(CONTROL_PLANE_UNIT) => {
            reasons.push("pods go on; the API of this host is away for some seconds".to_owned());
        }
        Stage::Node if restarts(NODE_UNIT) && climb.crosses_minor(&part.host.name) => {
            reasons.push("another minor version: pods are moved away first".to_owned());
        }
        Stage::Node if restarts(NODE_UNIT) => {
            reasons.push("only naru-node restarts; running containers go on".to_owned());
        }
        _ => {}
    }
    reasons
}

fn is_of_registry(change: &Change, part: &Part<'_>) -> bool {
    let wanted = part.desired.wanted.get(change.resource).and_then(|wanted| place(&wanted.resource));
    wanted.map_or_else(|| change.summary.contains("/certs.d"), |path| is_read_at_each_pull(&path))
}

/// A host can only tell whether its certificates and its own copy of the authority fit together. That the control
/// plane has another authority, because it was made anew, shows in nothing but this.
fn believes_another(part: &Part<'_>, lead: &Part<'_>) -> bool {
    match (lead.reached.facts.authority.as_deref(), part.reached.facts.authority.as_deref()) {
        (Some(theirs), Some(ours)) => !ours.is_empty() && (theirs.is_empty() || theirs != ours),
        _ => false,
    }
}

fn changed_certificates(changes: &[Change], desired: &Desired) -> Vec<Certificate> {
    let indices: BTreeSet<usize> = changes.iter().map(|change| change.resource).collect();
    indices
        .into_iter()
        .filter_map(|index| match &desired.wanted.get(index)?.resource {
            Resource::Certificate(certificate) => Some(certificate.clone()),
            _ => None,
        })
        .collect()
}

fn renew_certificates(changes: &mut Vec<Change>, desired: &Desired) {
    let told: BTreeSet<usize> = changes.iter().map(|change| change.resource).collect();
    for (index, wanted) in desired.wanted.iter().enumerate() {
        let Resource::Certificate(certificate) = &wanted.resource else { continue };
        if wanted.stage == Stage::Certificates && !told.contains(&index) {
            let path = &certificate.certificate_path;
            let summary = format!("renew {path}: the control plane has another authority");
            changes.push(Change { resource: index, ..line(summary) });
        }
    }
    changes.sort_by_key(|change| change.resource);
}

/// A check sees the present; it cannot know that a file which is about to change will make a unit restart. So the
/// planner adds the restart of every running unit that looks at something that changes.
fn add_restarts(changes: &mut Vec<Change>, desired: &Desired, gone: &[String]) {
    let changed: BTreeSet<&str> = changes
        .iter()
        .filter_map(|change| match desired.wanted.get(change.resource) {
            Some(wanted) => watched(&wanted.resource),
            None => gone.get(change.resource - first_gone(desired)).map(String::as_str),
        })
        .collect();
    let mut restarts = Vec::new();
    for (index, wanted) in desired.wanted.iter().enumerate() {
        let Resource::Unit { name, restart_on, .. } = &wanted.resource else { continue };
        let told = changes.iter().any(|change| change.resource == index && change.disruption.is_some());
        let drop_ins = format!("{UNIT_FOLDER}{name}.d/");
        let because = restart_on.iter().map(String::as_str).find(|path| changed.contains(path));
        let because = because.or_else(|| changed.iter().copied().find(|path| path.starts_with(&drop_ins)));
        if let Some(path) = because.filter(|_| !told) {
            restarts.push(Change {
                resource: index,
                disruption: Some(Disruption::RestartUnit(name.clone())),
                ..line(format!("restart {name} ({path} changed)"))
            });
        }
    }
    changes.append(&mut restarts);
    let removals = first_gone(desired);
    // What is taken away goes before what is put there, as it is done.
    changes.sort_by_key(|change| (change.resource < removals, change.resource));
}

/// The path that a unit may look at.
fn watched(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::File { path, .. } | Resource::Binary { path, .. } => Some(path),
        Resource::Certificate(certificate) => Some(&certificate.certificate_path),
        Resource::Authority(authority) => Some(&authority.certificate_path),
        Resource::KeyPair { public_path, .. } => Some(public_path),
        _ => None,
    }
}
