//! What is asked of the API: that it answers, that nodes are Ready, their labels, the documents of the inventory.

use naru_observe::ManifestState;
use naru_resources::Disruption;

use super::control_planes::asked;
use super::draft::{Draft, line, name};
use super::versions::Climb;
use super::world::{Part, World};
use crate::desired::{CONTROL_PLANE_UNIT, Stage};
use crate::labels;
use crate::plan::{Action, NoteKind};

pub(super) fn wait_for_apis(world: &World<'_>, lead: &Part<'_>, climb: &Climb, draft: &mut Draft) {
    for part in world.parts().filter(|part| part.is_control_plane()) {
        let host = &part.host.name;
        let starts = draft.disturbs(host, Stage::ControlPlane) || draft.disturbs(host, Stage::Etcd);
        let is_down = host == &lead.host.name && !world.api_is_ready();
        if starts || is_down {
            let rung = climb.rung_of(host, Stage::ControlPlane);
            draft.add_as(host, rung, name::API, name::API, "wait for the API server", Action::WaitForApi, Vec::new());
        }
    }
    let restart = Disruption::RestartUnit(CONTROL_PLANE_UNIT.to_owned());
    let only_one = world.blueprint.control_planes.len() == 1;
    let restarts = draft.find(&lead.host.name, climb.last(), Stage::ControlPlane.name());
    if only_one && restarts.is_some_and(|number| draft.steps[number].step.disruptions.contains(&restart)) {
        let host = &lead.host.name;
        draft.unavailable.push(format!("the API, while naru-control-plane restarts on {host}, the only control plane"));
    }
}

/// Ready, then labels.
pub(super) fn node_side(world: &World<'_>, lead: &Part<'_>, climb: &Climb, draft: &mut Draft) {
    let asked = asked(world, lead);
    for part in world.parts() {
        let host = &part.host.name;
        let starts = draft.disturbs(host, Stage::Node) || draft.disturbs(host, Stage::Runtime);
        let is_ready = part.node.is_some_and(|node| node.ready);
        if starts || !is_ready {
            let action = Action::WaitForNode { control_planes: asked.clone() };
            let rung = climb.rung_of(host, Stage::Node);
            draft.add_as(host, rung, name::READY, name::READY, "wait until the node is Ready", action, Vec::new());
        }
        if let Some(change) = labels::change(part.host, part.node) {
            let changes = change.lines().into_iter().map(line).collect();
            let action = Action::Label { control_planes: asked.clone(), change };
            draft.add(host, name::LABELS, "label the node", action, changes);
        }
    }
}

/// The inventory's further documents, in their order: a namespace stands before what lies in it.
pub(super) fn manifests(world: &World<'_>, lead: &Part<'_>, draft: &mut Draft) {
    let manifests = &world.blueprint.inventory.manifests;
    if !world.options.only.is_empty() && !manifests.is_empty() {
        draft.note(
            NoteKind::Remark,
            None,
            "the documents of the inventory are left alone, as only some hosts are meant",
        );
        return;
    }
    let states = &world.observation.cluster.manifests;
    let mut last = None;
    for (index, manifest) in manifests.iter().enumerate() {
        let shown = manifest_name(manifest);
        let summary = match states.get(index) {
            Some(ManifestState::AsWanted) => continue,
            Some(ManifestState::Differs { fields }) => format!("update {shown} ({})", fields.join(", ")),
            Some(ManifestState::Unknown { reason }) => {
                draft.note(NoteKind::Skipped, None, format!("{shown} cannot be compared: {reason}"));
                continue;
            }
            Some(ManifestState::Missing) => format!("create {shown}"),
            None => format!("apply {shown}"),
        };
        let action = Action::Manifest { control_planes: asked(world, lead), index };
        let id = format!("{}-{}", name::MANIFEST, index + 1);
        let title = "apply the documents of the inventory";
        let number = draft.add_as(&lead.host.name, None, name::MANIFEST, &id, title, action, vec![line(summary)]);
        draft.wait(number, last);
        last = Some(number);
    }
}

fn manifest_name(manifest: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let kind = text(&manifest["kind"]).unwrap_or_else(|| "a document".to_owned());
    let metadata = &manifest["metadata"];
    let name = text(&metadata["name"]).unwrap_or_default();
    match text(&metadata["namespace"]) {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Nodes that the inventory does not know are somebody's; so are members of etcd.
pub(super) fn strangers(world: &World<'_>, draft: &mut Draft) {
    for name in world.observation.cluster.nodes.iter().flat_map(|nodes| nodes.keys()) {
        if !world.hosts.contains_key(name.as_str()) {
            let text = "is a node of the cluster but not in the inventory; it is left alone";
            let note = draft.note(NoteKind::Remark, Some(name), text);
            note.hint = Some(format!("kubectl delete node {name}"));
        }
    }
}
