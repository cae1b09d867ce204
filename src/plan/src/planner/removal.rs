//! Hosts on their way out: drained, taken out of etcd, cleaned, their Node deleted. What cannot be reached any more
//! leaves the cluster all the same; what stays behind on it is told.

use naru_inventory::{Host, Role, Store};
use naru_observe::{HostObservation, Reached};
use naru_resources::{Change, Disruption};

use super::control_planes::asked;
use super::draft::{Draft, line, name};
use super::rollout;
use super::world::{Part, World, is_active};
use crate::desired::{CONTAINERD_UNIT, CONTROL_PLANE_UNIT, ETCD_UNIT, NODE_UNIT};
use crate::plan::{Action, NoteKind};

const CERTIFICATE_DAYS: u32 = 365;
/// In the order in which they stop.
const OUR_UNITS: [&str; 3] = [NODE_UNIT, CONTROL_PLANE_UNIT, ETCD_UNIT];
/// containerd reads what lies there, and is restarted when that is taken away or given back.
const RUNTIME_FOLDERS: [&str; 2] = ["/etc/containerd/", "/etc/systemd/system/containerd.service.d/"];
const FOLDER_KINDS: [&str; 2] = ["directory", "parent"];

pub(super) fn add(world: &World<'_>, lead: &Part<'_>, draft: &mut Draft) {
    let hosts = &world.blueprint.inventory.spec.hosts;
    for host in hosts.iter().filter(|host| !host.state.is_present() && world.options.means(&host.name)) {
        remove(world, lead, host, draft);
    }
}

fn remove(world: &World<'_>, lead: &Part<'_>, host: &Host, draft: &mut Draft) {
    if host.role == Role::ControlPlane && world.blueprint.inventory.spec.control_plane.store == Store::Embedded {
        // It holds the state; the linter has said so.
        return;
    }
    let reached = world.observation.reached(&host.name);
    let node = world.node(&host.name);
    let asked = asked(world, lead);
    if world.observation.cluster.nodes.is_none() {
        draft.note(NoteKind::Later, Some(&host.name), "is removed once the API answers and tells what runs there");
        return;
    }
    if host.role == Role::ControlPlane && world.observation.cluster.etcd.is_none() {
        draft.note(NoteKind::Later, Some(&host.name), "is removed once etcd can be asked for its members");
        return;
    }
    if let Some(node) = node {
        if node.ready {
            rollout::cordon_and_drain(world, host, node, None, &asked, draft);
        } else {
            draft.note(NoteKind::Remark, Some(&host.name), "its node is not Ready: nothing is left to drain");
        }
        let change = Change {
            disruption: Some(Disruption::RemoveNode(host.name.clone())),
            ..line(format!("delete node {}", host.name))
        };
        let action = Action::DeleteNode { control_planes: asked };
        draft.add(&host.name, name::DELETE_NODE, "take the node out of the cluster", action, vec![change]);
    }
    match reached {
        Some(reached) if is_ours(reached) => {
            let mut changes = reset_stops(reached);
            changes.push(line(format!("remove what naru put on {}", host.name)));
            draft.add(&host.name, name::RESET, "clean the host", Action::Reset, changes);
        }
        Some(_) if node.is_none() => {
            let text = "nothing of the cluster is left on it; its entry can leave the inventory";
            draft.note(NoteKind::Remark, Some(&host.name), text);
        }
        Some(_) => {}
        None => left_behind(world, host, draft),
    }
}

/// What a reset of this host stops and restarts: of one that leaves the cluster as of one in a cluster that is removed.
#[must_use]
pub fn reset_stops(reached: &Reached) -> Vec<Change> {
    let stopped = OUR_UNITS.into_iter().filter(|unit| is_active(reached, unit));
    let mut changes: Vec<Change> = stopped
        .map(|unit| Change {
            disruption: Some(Disruption::StopUnit(unit.to_owned())),
            ..line(format!("stop and remove {unit}"))
        })
        .collect();
    let is_read = |path: &str| RUNTIME_FOLDERS.iter().any(|folder| path.starts_with(folder));
    let mut files = reached.manifest.iter().filter(|(_, entry)| !FOLDER_KINDS.contains(&entry.kind.as_str()));
    if is_active(reached, CONTAINERD_UNIT) && files.any(|(path, _)| is_read(path)) {
        changes.push(Change {
            disruption: Some(Disruption::RestartUnit(CONTAINERD_UNIT.to_owned())),
            ..line(format!("restart {CONTAINERD_UNIT} without naru's configuration"))
        });
    }
    changes
}

/// Whether a host that is not in the way any more still has something of ours.
fn is_ours(reached: &Reached) -> bool {
    !reached.manifest.is_empty() || is_active(reached, NODE_UNIT)
}

fn left_behind(world: &World<'_>, host: &Host, draft: &mut Draft) {
    if matches!(world.observation.hosts.get(&host.name), Some(HostObservation::Missing { .. }) | None) {
        return;
    }
    let text = format!(
        "cannot be reached: what naru put there stays, and its certificate stands until it ends, in at most \
         {CERTIFICATE_DAYS} days"
    );
    let note = draft.note(NoteKind::Remark, Some(&host.name), text);
    note.hint = Some(format!("once it is back: naru reset --host {}", host.name));
}
