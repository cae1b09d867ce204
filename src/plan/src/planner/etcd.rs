//! Members of etcd: join as learners, one at a time, and are promoted; leave only when those who stay are still a
//! majority. The members are counted as they will be after each change, never as they are now.

use std::collections::HashMap;

use naru_agent::EtcdMember;
use naru_inventory::{Host, HostState, Role};
use naru_observe::{HostObservation, Reached};
use naru_resources::{Change, Disruption, Resource};
use sha2::{Digest, Sha256};

use super::Refusal;
use super::draft::{Draft, line, name};
use super::world::{Part, World, is_active};
use crate::desired::{ETCD_JOIN_FILE, ETCD_UNIT, Stage, Wanted, join_file, peer_url};
use crate::plan::{Action, Finding, FindingCode, NoteKind, Severity};

const UNIT_PATH: &str = "/etc/systemd/system/naru-etcd.service";

/// How many of these voters are healthy, and how many must be.
struct Votes {
    voters: usize,
    healthy: usize,
}

impl Votes {
    fn of<'m>(members: impl Iterator<Item = &'m EtcdMember>) -> Self {
        let voters: Vec<bool> = members.filter(|member| !member.is_learner).map(|member| member.is_healthy).collect();
        Self { voters: voters.len(), healthy: voters.iter().filter(|healthy| **healthy).count() }
    }

    fn quorum(&self) -> usize {
        self.voters / 2 + 1
    }

    fn holds(&self) -> bool {
        self.healthy >= self.quorum()
    }
}

/// Nothing is changed in a cluster that cannot write.
pub(super) fn check_quorum(world: &World<'_>) -> Result<(), Refusal> {
    let Some(members) = &world.observation.cluster.etcd else { return Ok(()) };
    let votes = Votes::of(members.iter());
    if votes.voters == 0 || votes.holds() {
        return Ok(());
    }
    let dead: Vec<&str> = members
        .iter()
        .filter(|member| !member.is_learner && !member.is_healthy)
        .map(|member| member.name.as_str())
        .collect();
    let text = format!(
        "{} of {} etcd members are healthy, {} are needed: the cluster cannot write, so no host is changed",
        votes.healthy,
        votes.voters,
        votes.quorum()
    );
    let refusal = Refusal { code: Some(FindingCode::QuorumLoss), ..Refusal::new(text) };
    Err(refusal.hint(format!("bring back {}, or restore a snapshot", dead.join(" or "))))
}

fn member<'m>(members: &'m [EtcdMember], host: &Host) -> Option<&'m EtcdMember> {
    let url = peer_url(host);
    members
        .iter()
        .find(|member| member.name == host.name)
        .or_else(|| members.iter().find(|member| member.peer_url == url))
}

/// Whether this control plane's etcd is known not to be well.
pub(super) fn is_ailing(world: &World<'_>, part: &Part<'_>) -> bool {
    let members = world.observation.cluster.etcd.as_deref().unwrap_or_default();
    member(members, part.host).is_some_and(|member| !member.is_healthy)
}

pub(super) fn leader<'a>(world: &World<'a>) -> Option<&'a str> {
    let members = world.observation.cluster.etcd.as_deref()?;
    members.iter().find(|member| member.is_leader).map(|member| member.name.as_str())
}

/// Whether etcd of ours was set up on this machine.
fn is_set_up(reached: &Reached) -> bool {
    // A host that could not be compared tells no manifest, but its units.
    reached.manifest.contains_key(UNIT_PATH) || reached.facts.units.iter().any(|unit| unit.name == ETCD_UNIT)
}

/// Whether etcd begins with this host: it runs nowhere, nobody who is silent may have it, and the host itself is new to
/// it or was about to found it when a run was killed.
fn begins_with(world: &World<'_>, lead: &Part<'_>) -> bool {
    let has_none = |host: &Host| match world.observation.hosts.get(&host.name) {
        Some(HostObservation::Reached(reached)) => {
            !is_set_up(reached) || host.name == lead.host.name && was_founding(lead)
        }
        Some(HostObservation::Unreachable(_) | HostObservation::Missing { is_off: true }) => {
            host.role == Role::Worker || world.options.skip_unreachable
        }
        Some(HostObservation::Missing { is_off: false }) | None => true,
    };
    world.observation.cluster.etcd.is_none() && world.blueprint.inventory.spec.hosts.iter().all(has_none)
}

/// Whether the host holds what only a founder gets and only until its control plane runs.
fn was_founding(part: &Part<'_>) -> bool {
    let Resource::File { content, .. } = founding_file(part.host) else { return false };
    let written = part.reached.manifest.get(ETCD_JOIN_FILE);
    !is_active(part.reached, ETCD_UNIT)
        && written.is_some_and(|entry| entry.sha256 == hex::encode(Sha256::digest(&content.text)))
}

fn founding_file(host: &Host) -> Resource {
    join_file(&[(host.name.clone(), peer_url(host))], true)
}

struct Membership<'w, 'a> {
    world: &'w World<'a>,
    /// As they will be after the changes so far.
    members: Vec<EtcdMember>,
    /// Who can be asked: members on usable hosts.
    asked: Vec<String>,
    /// Last step of the change before: changes of the members go one by one.
    last: Option<usize>,
}

pub(super) fn add(world: &World<'_>, lead: &Part<'_>, draft: &mut Draft) {
    if !world.blueprint.has_etcd() {
        return;
    }
    let known = world.observation.cluster.etcd.clone();
    let is_new = begins_with(world, lead);
    let members = known.clone().unwrap_or_default();
    let asked = world
        .usable_control_planes()
        .filter(|part| is_set_up(part.reached) && member(&members, part.host).is_some_and(|member| member.is_healthy))
        .map(|part| part.host.name.clone())
        .collect();
    let mut membership = Membership { world, members, asked, last: None };
    if is_new {
        membership.found(lead, draft);
    }
    let unknown = known.is_none() && !is_new;
    membership.restarts(draft);
    let (dead, leaving): (Vec<&Host>, Vec<&Host>) = world
        .blueprint
        .inventory
        .spec
        .hosts
        .iter()
        .filter(|host| host.state == HostState::Absent)
        .partition(|host| member(&membership.members, host).is_some_and(|member| !member.is_healthy));
    for host in dead {
        membership.leave(host, draft);
    }
    for part in world.parts().filter(|part| part.is_control_plane()) {
        if !unknown {
            membership.join(part, draft);
        } else if !is_set_up(part.reached) {
            let text = "joins once etcd can be asked for its members";
            draft.drop_host(&part.host.name);
            draft.note(NoteKind::Later, Some(&part.host.name), text);
        }
    }
    for host in leaving {
        membership.leave(host, draft);
    }
    membership.strangers(draft);
}

impl Membership<'_, '_> {
    fn then(&mut self, number: usize, draft: &mut Draft) {
        draft.wait(number, self.last);
        self.last = Some(number);
    }

    /// The first member founds the cluster.
    fn found(&mut self, lead: &Part<'_>, draft: &mut Draft) {
        let Some(number) = draft.find(&lead.host.name, None, Stage::Etcd.name()) else { return };
        self.members.push(new_member(lead.host, false));
        put_join_file(lead, number, founding_file(lead.host), draft);
        draft.reason(number, "the first member founds the cluster; the others join it one by one");
        self.asked.push(lead.host.name.clone());
        self.then(number, draft);
    }

    /// The members by now, as a joining one must be told them.
    fn joining_file(&self) -> Resource {
        let members: Vec<(String, String)> =
            self.members.iter().map(|member| (member.name.clone(), member.peer_url.clone())).collect();
        join_file(&members, false)
    }

    fn join(&mut self, part: &Part<'_>, draft: &mut Draft) {
        let host = part.host;
        let present = member(&self.members, host).cloned();
        match present {
            // Founded just now, or whole.
            Some(member)
                if !member.is_learner
                    && (is_set_up(part.reached) || self.last.is_some() && self.asked.contains(&host.name)) =>
            {
                return;
            }
            // A learner that never started waits for this very host, and must know the members of today.
            Some(member) if member.name.is_empty() => {
                for known in self.members.iter_mut().filter(|known| known.peer_url == member.peer_url) {
                    known.name.clone_from(&host.name);
                }
            }
            Some(member) if is_set_up(part.reached) => {
                self.promote(&member.peer_url.clone(), host, draft);
                return;
            }
            Some(_) => {
                if !self.remove(host, "the machine was made anew and has lost its data", draft) {
                    return;
                }
                self.add_learner(host, draft);
            }
            None => self.add_learner(host, draft),
        }
        if let Some(number) = draft.find(&host.name, None, Stage::Etcd.name()) {
            put_join_file(part, number, self.joining_file(), draft);
            self.then(number, draft);
        }
        self.promote(&peer_url(host), host, draft);
    }

    fn add_learner(&mut self, host: &Host, draft: &mut Draft) {
        let url = peer_url(host);
        let action = Action::EtcdAdd { members: self.asked.clone(), peer_url: url.clone() };
        let changes = vec![line(format!("add {} to etcd as a learner", host.name))];
        let number = draft.add(&host.name, name::ETCD_ADD, "join etcd as a learner", action, changes);
        draft.reason(number, "a learner has no vote: if it fails now, the majority is what it was");
        self.then(number, draft);
        self.members.push(new_member(host, true));
    }

    fn promote(&mut self, url: &str, host: &Host, draft: &mut Draft) {
        let action = Action::EtcdPromote { members: self.asked.clone() };
        let changes = vec![line(format!("make {} a voter of etcd", host.name))];
        let number = draft.add(&host.name, name::ETCD_PROMOTE, "become a voter of etcd", action, changes);
        self.then(number, draft);
        for known in self.members.iter_mut().filter(|known| known.name == host.name || known.peer_url == url) {
            (known.is_learner, known.is_healthy) = (false, true);
        }
        self.asked.push(host.name.clone());
    }

    /// Takes a member out, if those who stay are a majority of themselves; answers whether.
    fn remove(&mut self, host: &Host, why: &str, draft: &mut Draft) -> bool {
        let Some(leaving) = member(&self.members, host).cloned() else { return true };
        let after =
            Votes::of(self.members.iter().filter(|member| member.id != leaving.id || member.name != leaving.name));
        if !leaving.is_learner && (after.voters == 0 || !after.holds()) {
            let text = format!(
                "removing it from etcd now would lose the quorum: of the {} members left, {} would be healthy and {} are needed",
                after.voters,
                after.healthy,
                after.quorum()
            );
            refuse_host(host, text, draft);
            return false;
        }
        let asked: Vec<String> = self.asked.iter().filter(|name| **name != host.name).cloned().collect();
        if leaving.is_leader
            && let Some(to) = asked.first()
        {
            let action = Action::EtcdMoveLeader { to: to.clone() };
            let changes = vec![line(format!("give the leadership of etcd to {to}"))];
            let number =
                draft.add(&host.name, name::ETCD_MOVE_LEADER, "give away the leadership of etcd", action, changes);
            self.then(number, draft);
        }
        let action = Action::EtcdRemove { members: asked.clone() };
        let changes = vec![line(format!("remove {} from etcd", host.name))];
        let number = draft.add(&host.name, name::ETCD_REMOVE, "leave etcd", action, changes);
        draft.reason(number, why);
        self.then(number, draft);
        self.members.retain(|member| member.id != leaving.id || member.name != leaving.name);
        self.asked = asked;
        true
    }

    fn leave(&mut self, host: &Host, draft: &mut Draft) {
        if !self.world.options.means(&host.name) {
            return;
        }
        self.remove(host, "members that stay agree without it before its programs go", draft);
        // Pods move while the host is still whole.
        let drain = draft.find(&host.name, None, name::DRAIN);
        for leaving in [name::ETCD_MOVE_LEADER, name::ETCD_REMOVE] {
            if let Some(number) = draft.find(&host.name, None, leaving) {
                draft.wait(number, drain);
            }
        }
    }

    /// A member restarts only if the others can do without it meanwhile; a leader gives the leadership away first.
    fn restarts(&mut self, draft: &mut Draft) {
        let votes = Votes::of(self.members.iter());
        if votes.voters < 2 {
            return;
        }
        let by_name: HashMap<&str, &EtcdMember> =
            self.members.iter().map(|member| (member.name.as_str(), member)).collect();
        let restart = Disruption::RestartUnit(ETCD_UNIT.to_owned());
        let mut leaders = Vec::new();
        for part in self.world.parts().filter(|part| part.is_control_plane()) {
            let host = &part.host.name;
            let Some(number) = draft.find(host, None, Stage::Etcd.name()) else { continue };
            let Some(member) = by_name.get(host.as_str()) else { continue };
            if !draft.steps[number].step.disruptions.contains(&restart) {
                continue;
            }
            if member.is_healthy && votes.healthy - 1 < votes.quorum() {
                let text = format!(
                    "restarting its etcd now would lose the quorum: {} of {} members are healthy and {} are needed",
                    votes.healthy,
                    votes.voters,
                    votes.quorum()
                );
                refuse_host(part.host, text, draft);
            } else if member.is_leader {
                leaders.push(host.clone());
            }
        }
        for host in leaders {
            let Some(to) = self.asked.iter().find(|name| **name != host) else { continue };
            let changes = vec![line(format!("give the leadership of etcd to {to}"))];
            let action = Action::EtcdMoveLeader { to: to.clone() };
            draft.add(&host, name::ETCD_MOVE_LEADER, "give away the leadership of etcd", action, changes);
        }
    }

    /// Members that no host of the inventory stands for.
    fn strangers(&self, draft: &mut Draft) {
        let known = |member: &EtcdMember| {
            let hosts = &self.world.blueprint.inventory.spec.hosts;
            hosts.iter().any(|host| host.name == member.name || peer_url(host) == member.peer_url)
        };
        for member in self.members.iter().filter(|member| !known(member)) {
            let shown = if member.name.is_empty() { &member.peer_url } else { &member.name };
            let text = "is a member of etcd but not in the inventory; it is left alone";
            let hint = "to take it out, enter it in the inventory as a control plane with `state: absent`, then apply";
            draft.note(NoteKind::Remark, Some(shown), text).hint = Some(hint.to_owned());
        }
    }
}

/// Puts the file before everything else of the step that sets etcd up.
fn put_join_file(part: &Part<'_>, number: usize, file: Resource, draft: &mut Draft) {
    let step = &mut draft.steps[number].step;
    if let Action::Apply { resources, .. } = &mut step.action {
        resources.insert(0, file);
        step.changes.insert(0, line(format!("create {ETCD_JOIN_FILE}")));
    }
    tell_removal_of_join_file(part, draft);
}

/// The step of the control plane takes the file away again. No check can tell so: the file is made by the same plan.
fn tell_removal_of_join_file(part: &Part<'_>, draft: &mut Draft) {
    let is_removal = |wanted: &Wanted| matches!(&wanted.resource, Resource::Absent { path } if path == ETCD_JOIN_FILE);
    let Some(resource) = part.desired.wanted.iter().position(is_removal) else { return };
    let Some(number) = draft.find(&part.host.name, None, Stage::ControlPlane.name()) else { return };
    let changes = &mut draft.steps[number].step.changes;
    if changes.iter().all(|change| change.resource != resource) {
        let place = changes.iter().position(|change| change.resource > resource).unwrap_or(changes.len());
        changes.insert(place, Change { resource, ..line(format!("remove {ETCD_JOIN_FILE}")) });
    }
}

/// The host is left as it is, and why.
pub(super) fn refuse_host(host: &Host, text: String, draft: &mut Draft) {
    draft.drop_host(&host.name);
    draft.note(NoteKind::Skipped, Some(&host.name), text.clone());
    let host = Some(host.name.clone());
    draft.findings.push(Finding { severity: Severity::Error, code: FindingCode::QuorumLoss, host, text, hint: None });
}

fn new_member(host: &Host, is_learner: bool) -> EtcdMember {
    EtcdMember {
        name: host.name.clone(),
        id: String::new(),
        peer_url: peer_url(host),
        is_learner,
        is_leader: false,
        is_healthy: !is_learner,
    }
}
