//! How changes that are felt go over what runs: control planes one by one, then their nodes, then workers in batches.
//! Fresh hosts disturb nobody and go all at once.

use naru_inventory::{Host, Inventory};
use naru_observe::NodeObservation;
use naru_resources::{Change, Disruption};

use super::control_planes::asked;
use super::draft::{Draft, line, name};
use super::etcd;
use super::versions::Climb;
use super::world::{Part, World};
use crate::desired::Stage;
use crate::names::ranges;
use crate::plan::{Action, Finding, FindingCode, Severity};

/// Beyond the drain's own deadline, for the answer to come.
const DRAIN_GRACE_SECONDS: u32 = 60;
const PERCENT: usize = 100;
/// Pods that are named one by one; more of them are counted.
const MAX_NAMED_PODS: usize = 3;
const CONTROL_PLANE_STEPS: [&str; 4] = [name::ETCD_MOVE_LEADER, "etcd", "control-plane", name::API];
const NODE_STEPS: [&str; 6] = [name::CORDON, name::DRAIN, "runtime", "node", name::READY, name::UNCORDON];

/// Which of these steps begin a turn: the first group of which there is one.
const FIRST_OF_CONTROL_PLANE: [&[&str]; 2] = [&[name::ETCD_MOVE_LEADER], &["etcd", "control-plane"]];
const FIRST_OF_NODE: [&[&str]; 3] = [&[name::CORDON], &[name::DRAIN], &["runtime", "node"]];

/// Moves the node's pods away before its program is exchanged, and lets new ones in afterwards. Nothing if there is
/// nowhere to move them to.
pub(super) fn drain(world: &World<'_>, part: &Part<'_>, rung: Option<&str>, asked: &[String], draft: &mut Draft) {
    let Some(node) = part.node.filter(|node| node.ready) else { return };
    let nodes = world.observation.cluster.nodes.as_ref();
    if nodes.is_some_and(|nodes| nodes.values().filter(|node| node.ready).count() < 2) {
        return;
    }
    cordon_and_drain(world, part.host, node, rung, asked, draft);
    if part.is_cordoned_by_others() {
        if let Some(number) = draft.find(&part.host.name, rung, name::DRAIN) {
            draft.reason(number, "somebody cordoned this node; it stays cordoned afterwards");
        }
        return;
    }
    uncordon(&part.host.name, rung, asked, draft);
}

fn uncordon(host: &str, rung: Option<&str>, asked: &[String], draft: &mut Draft) -> usize {
    let action = Action::Uncordon { control_planes: asked.to_vec() };
    let changes = vec![line(format!("uncordon {host}"))];
    draft.add_as(host, rung, name::UNCORDON, name::UNCORDON, "let new pods in", action, changes)
}

pub(super) fn cordon_and_drain(
    world: &World<'_>,
    host: &Host,
    node: &NodeObservation,
    rung: Option<&str>,
    asked: &[String],
    draft: &mut Draft,
) {
    if !node.unschedulable {
        let action = Action::Cordon { control_planes: asked.to_vec() };
        let changes = vec![line(format!("cordon {}", host.name))];
        draft.add_as(&host.name, rung, name::CORDON, name::CORDON, "let no new pods in", action, changes);
    }
    let timeout_seconds = world.blueprint.inventory.spec.rollout.drain_timeout_seconds;
    let action = Action::Drain { control_planes: asked.to_vec(), timeout_seconds };
    let disruption = Some(Disruption::DrainNode(host.name.clone()));
    let change = Change { disruption, ..line(format!("drain {}", host.name)) };
    let title = "move pods elsewhere";
    let number = draft.add_as(&host.name, rung, name::DRAIN, name::DRAIN, title, action, vec![change]);
    draft.steps[number].step.deadline_seconds = timeout_seconds + DRAIN_GRACE_SECONDS;
    if draft.drained.insert(host.name.clone()) {
        unmanaged_pods(host, node, draft);
    }
}

/// Whose pods move, in the inventory's order, as one line.
pub(super) fn drained(draft: &Draft, inventory: &Inventory) -> Option<String> {
    let hosts = inventory.spec.hosts.iter().map(|host| host.name.as_str());
    let hosts: Vec<&str> =
        hosts.filter(|host| draft.drained.contains(*host) && !draft.of_host(host).is_empty()).collect();
    (!hosts.is_empty()).then(|| format!("pods of {} move to other nodes", ranges(&hosts)))
}

/// Pods that nothing makes anew: a drain ends them for good.
fn unmanaged_pods(host: &Host, node: &NodeObservation, draft: &mut Draft) {
    let pods = node.pods.iter().flatten().filter(|pod| pod.controller.is_empty());
    let names: Vec<String> = pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    if names.is_empty() {
        return;
    }
    draft.unavailable.extend(names.iter().map(|pod| format!("{pod} is stopped for good: nothing makes it anew")));
    let more = names.len().saturating_sub(MAX_NAMED_PODS);
    let mut text = format!("the drain ends pods that nothing makes anew: {}", names[..names.len() - more].join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    draft.findings.push(Finding {
        severity: Severity::Warning,
        code: FindingCode::UnmanagedPods,
        host: Some(host.name.clone()),
        text,
        hint: Some("have a Deployment or StatefulSet make them, or save what they hold".to_owned()),
    });
}

/// Who goes after whom among what runs.
pub(super) fn arrange(world: &World<'_>, lead: &Part<'_>, climb: &Climb, draft: &mut Draft) {
    let asked = asked(world, lead);
    for part in world.parts() {
        let host = &part.host.name;
        if climb.crosses_minor(host) && draft.disturbs(host, Stage::Node) {
            drain(world, part, climb.rung_of(host, Stage::Node), &asked, draft);
        } else if part.is_left_cordoned() {
            let number = uncordon(host, None, &asked, draft);
            draft.reason(number, "an earlier run was interrupted between its cordon and its uncordon");
        }
    }
    let mut rollout = Rollout { world, barrier: Vec::new(), members: Vec::new(), batches: 0 };
    let last = climb.rungs.len().saturating_sub(1);
    for rung in &climb.rungs[..last] {
        rollout.control_planes(Some(rung), false, draft);
        rollout.workers(Some(rung), false, draft);
    }
    rollout.control_planes(climb.last(), true, draft);
    let of_members = |planned: &super::draft::Planned| [name::ETCD_ADD, name::ETCD_REMOVE].contains(&planned.name);
    let changes: Vec<usize> = (0..draft.steps.len()).filter(|number| of_members(&draft.steps[*number])).collect();
    for number in changes {
        draft.wait(number, rollout.members.clone());
    }
    rollout.workers(climb.last(), true, draft);
    rollout.count(draft);
}

/// Of a host's steps those that nothing else of the same turn goes before.
fn first_of(numbers: &[usize], first: &[&[&str]], draft: &Draft) -> Vec<usize> {
    for names in first {
        let found: Vec<usize> =
            numbers.iter().copied().filter(|number| names.contains(&draft.steps[*number].name)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    numbers.to_vec()
}

/// Of a host's steps, those after which it is whole again.
fn ends(numbers: &[usize], draft: &Draft) -> Vec<usize> {
    let is_end = |number: &&usize| [name::API, name::READY, name::UNCORDON].contains(&draft.steps[**number].name);
    let ends: Vec<usize> = numbers.iter().filter(is_end).copied().collect();
    if ends.is_empty() { numbers.to_vec() } else { ends }
}

struct Rollout<'w, 'a> {
    world: &'w World<'a>,
    /// Steps that everything later waits for; what they wait for themselves need not be told again.
    barrier: Vec<usize>,
    /// What changes of etcd's members wait for: the programs of all control planes that run.
    members: Vec<usize>,
    batches: u32,
}

impl Rollout<'_, '_> {
    /// Numbers of a host's steps with these names on this rung; on the last one those of no rung belong to it.
    fn steps(host: &str, rung: Option<&str>, is_last: bool, names: &[&str], draft: &Draft) -> Vec<usize> {
        let of_rung = |number: &usize| {
            let planned = &draft.steps[*number];
            let same = planned.rung.as_deref() == rung || is_last && planned.rung.is_none();
            same && names.contains(&planned.name)
        };
        draft.of_host(host).iter().copied().filter(of_rung).collect()
    }

    /// Whether any of these stops something that runs.
    fn is_felt(numbers: &[usize], draft: &Draft) -> bool {
        let felt = |disruption: &Disruption| !matches!(disruption, Disruption::StartUnit(_));
        numbers.iter().any(|number| draft.steps[*number].step.disruptions.iter().any(felt))
    }

    /// First the control-plane programs of all, one host after the other, then the node programs: a node must not be
    /// newer than any control plane.
    fn control_planes(&mut self, rung: Option<&str>, is_last: bool, draft: &mut Draft) {
        let leader = etcd::leader(self.world).unwrap_or_default();
        let mut parts: Vec<&Part<'_>> = self.world.parts().filter(|part| part.is_control_plane()).collect();
        parts.sort_by_key(|part| part.host.name == leader);
        for (names, first) in
            [(&CONTROL_PLANE_STEPS[..], &FIRST_OF_CONTROL_PLANE[..]), (&NODE_STEPS[..], &FIRST_OF_NODE[..])]
        {
            let mut turn = 0;
            for part in &parts {
                let numbers = Self::steps(&part.host.name, rung, is_last, names, draft);
                // Whoever joins etcd serves nobody yet, and joins when the others have had their turn.
                let joins = names == CONTROL_PLANE_STEPS && draft.find(&part.host.name, None, name::ETCD_ADD).is_some();
                if joins || !Self::is_felt(&numbers, draft) {
                    continue;
                }
                turn += 1;
                self.wait(&numbers, first, draft);
                if turn > 1 {
                    let reason = match part.host.name == leader {
                        true => "the leader of etcd comes last; control planes go one by one",
                        false => "control planes go one by one",
                    };
                    draft.reason(first_of(&numbers, first, draft)[0], reason);
                }
                self.barrier = ends(&numbers, draft);
            }
            if names == CONTROL_PLANE_STEPS {
                self.members.clone_from(&self.barrier);
            }
        }
    }

    /// The first of a host's steps wait for what goes before; the others wait for the first anyway.
    fn wait(&self, numbers: &[usize], first: &[&[&str]], draft: &mut Draft) {
        for number in first_of(numbers, first, draft) {
            draft.wait(number, self.barrier.iter().copied());
        }
    }

    fn workers(&mut self, rung: Option<&str>, is_last: bool, draft: &mut Draft) {
        let workers: Vec<&Part<'_>> = self.world.parts().filter(|part| !part.is_control_plane()).collect();
        let mut felt: Vec<Vec<usize>> = Vec::new();
        for part in workers.iter().filter(|part| part.is_serving) {
            let numbers = Self::steps(&part.host.name, rung, is_last, &NODE_STEPS, draft);
            if Self::is_felt(&numbers, draft) {
                felt.push(numbers);
            }
        }
        let size = self.batch_size();
        let mut done = Vec::new();
        for batch in felt.chunks(size) {
            self.batches += 1;
            for numbers in batch {
                for &number in numbers {
                    draft.steps[number].step.batch = Some(self.batches);
                }
                self.wait(numbers, &FIRST_OF_NODE, draft);
                done.extend(ends(numbers, draft));
            }
        }
        if !is_last && !done.is_empty() {
            self.barrier = done;
        }
    }

    /// How many workers may be away at the same time, less those that are away already.
    fn batch_size(&self) -> usize {
        let inventory = self.world.blueprint.inventory;
        let workers = inventory
            .spec
            .hosts
            .iter()
            .filter(|host| host.state.is_present() && host.role == naru_inventory::Role::Worker);
        let all = workers.clone().count();
        let nodes = self.world.observation.cluster.nodes.as_ref();
        let away = nodes
            .map_or(0, |nodes| workers.filter(|host| nodes.get(&host.name).is_some_and(|node| !node.ready)).count());
        let text = inventory.spec.rollout.max_unavailable.trim();
        let allowed = match text.strip_suffix('%') {
            Some(share) => share.trim().parse::<usize>().unwrap_or(1) * all / PERCENT,
            None => text.parse::<usize>().unwrap_or(1),
        };
        allowed.saturating_sub(away).max(1)
    }

    /// Says at each batch how many there are.
    fn count(&self, draft: &mut Draft) {
        if self.batches < 2 {
            return;
        }
        let mut told = std::collections::BTreeSet::new();
        for planned in &mut draft.steps {
            if let Some(batch) = planned.step.batch
                && told.insert(planned.step.host.clone())
            {
                planned.step.reasons.push(format!("batch {batch} of {}", self.batches));
            }
        }
    }
}
