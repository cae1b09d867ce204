//! Which control plane leads: signs certificates and is asked first. None is special: any usable one that has the
//! authority's key may lead; a first one is made only when nothing says that there is one already.

use naru_inventory::{Host, Role, Store};
use naru_observe::{HostObservation, Problem, Reached};

use super::draft::Draft;
use super::world::{Part, World, is_active};
use super::{Refusal, etcd};
use crate::desired::{CONTROL_PLANE_UNIT, Stage};
use crate::lint::{carries_control_plane, refused_role};
use crate::plan::{Finding, FindingCode, NoteKind, Severity};

/// The leading control plane; none while its machine is still to be made.
pub(super) fn lead<'w, 'a>(world: &'w World<'a>, draft: &mut Draft) -> Result<Option<&'w Part<'a>>, Refusal> {
    etcd::check_quorum(world)?;
    state_would_be_lost(world)?;
    let usable: Vec<&Part<'_>> = world.usable_control_planes().collect();
    if usable.is_empty() {
        return nobody(world, draft);
    }
    let holders: Vec<&Part<'_>> = usable.iter().copied().filter(|part| has_identity(part)).collect();
    // One that runs before one that does not; then the inventory's order.
    let running =
        holders.iter().find(|part| is_active(part.reached, CONTROL_PLANE_UNIT) && !etcd::is_ailing(world, part));
    let lead = match running.or(holders.first()) {
        Some(lead) => lead,
        None => match first(world, &usable, draft)? {
            Some(first) => first,
            None => return Ok(None),
        },
    };
    if !has_identity(lead) {
        warn_of_empty_cluster(world, lead, draft);
    }
    let others = world.parts().find(|part| part.host.name != lead.host.name);
    if !world.options.means(&lead.host.name)
        && !has_identity(lead)
        && let Some(other) = others
    {
        let text = format!("{} has no cluster to join: {} is not set up yet", other.host.name, lead.host.name);
        let refusal = Refusal { host: Some(other.host.name.clone()), ..Refusal::new(text) };
        return Err(refusal.hint(format!("--only {} as well", lead.host.name)));
    }
    Ok(Some(lead))
}

/// The embedded store lives and dies with its host: while that host is there, no other may begin an empty cluster.
/// Hosts that this run does not mean count as well.
fn state_would_be_lost(world: &World<'_>) -> Result<(), Refusal> {
    let inventory = world.blueprint.inventory;
    if inventory.spec.control_plane.store != Store::Embedded {
        return Ok(());
    }
    for host in &inventory.spec.hosts {
        let Some(reached) = world.observation.reached(&host.name) else { continue };
        if carries_control_plane(reached)
            && let Some((text, hint)) = refused_role(inventory, host, reached)
        {
            let refusal = Refusal { host: Some(host.name.clone()), ..Refusal::new(text) };
            return Err(refusal.hint(hint));
        }
    }
    Ok(())
}

/// Whether the host has the authority with its key already.
pub(super) fn has_identity(part: &Part<'_>) -> bool {
    let of_identity = |change: &naru_resources::Change| {
        part.desired.wanted.get(change.resource).is_some_and(|wanted| wanted.stage == Stage::Identity)
            && !change.summary.starts_with("chmod")
    };
    !part.changes.iter().any(of_identity)
}

/// Names of the control planes whose API servers are asked, the leading one first.
pub(super) fn asked(world: &World<'_>, lead: &Part<'_>) -> Vec<String> {
    let others = world.usable_control_planes().filter(|part| part.host.name != lead.host.name);
    std::iter::once(lead).chain(others).map(|part| part.host.name.clone()).collect()
}

/// Nobody has the key: the first control plane is made now, unless something speaks of a cluster that is there. Only
/// hosts are asked: an API that gives no answer is no empty world. None while a machine that may know more is off.
fn first<'w, 'a>(
    world: &World<'_>,
    usable: &[&'w Part<'a>],
    draft: &mut Draft,
) -> Result<Option<&'w Part<'a>>, Refusal> {
    // A run that was killed may have begun on another one.
    let first = usable.iter().copied().find(|part| carries_control_plane(part.reached)).unwrap_or(usable[0]);
    let hosts = &world.blueprint.inventory.spec.hosts;
    let reached = || hosts.iter().filter_map(|host| Some((host, world.observation.reached(&host.name)?)));
    let carrier = reached().find(|(host, reached)| host.name != first.host.name && carries_control_plane(reached));
    if let Some((carrier, _)) = carrier {
        let name = &carrier.name;
        let text =
            format!("{name} carries a control plane that cannot be used; a new authority would be a second cluster");
        let hint = match carrier.state.is_present() {
            true => format!("bring it back; if its cluster is to end: naru reset --host {name}"),
            false => format!("let the new control planes join first; `state: absent` for {name} after that"),
        };
        return Err(Refusal::of(FindingCode::QuorumLoss, carrier, text).hint(hint));
    }
    let is_embedded = world.blueprint.inventory.spec.control_plane.store == Store::Embedded;
    let own = believed(first.reached);
    let believer = reached().find(|(_, reached)| believed(reached).is_some_and(|theirs| own != Some(theirs)));
    let believer = believer.map(|(host, _)| host);
    if let Some(believer) = believer.filter(|_| !is_embedded) {
        let text = format!(
            "{} belongs to a cluster, but no control plane that can be used has its authority's key; \
             a new authority would be a second cluster",
            believer.name
        );
        return Err(
            Refusal::of(FindingCode::QuorumLoss, first.host, text).hint("bring back a control plane that had it")
        );
    }
    // With several, the first may have its authority from one that is silent now.
    let believer = believer.or_else(|| own.filter(|_| !is_embedded).map(|_| first.host));
    for host in hosts.iter().filter(|host| may_know_more(world, believer, host)) {
        match world.observation.hosts.get(&host.name) {
            Some(HostObservation::Missing { is_off: true }) if world.options.means(&host.name) => {
                let text = format!("a first control plane is made only when {} runs and is none", host.name);
                draft.note(NoteKind::Later, Some(&first.host.name), text);
                return Ok(None);
            }
            Some(HostObservation::Unreachable(_) | HostObservation::Missing { is_off: true }) => {
                return Err(silent(believer, host));
            }
            _ => {}
        }
    }
    Ok(Some(first))
}

fn believed(reached: &Reached) -> Option<&str> {
    reached.facts.authority.as_deref().filter(|own| !own.is_empty())
}

/// Whether a host that does not answer could be the control plane that is looked for. Where somebody belongs to a
/// cluster there is one: then it may be any host, whatever the inventory calls it now.
fn may_know_more(world: &World<'_>, believer: Option<&Host>, host: &Host) -> bool {
    let is_control_plane = host.role == Role::ControlPlane;
    let is_embedded = world.blueprint.inventory.spec.control_plane.store == Store::Embedded;
    let is_skipped = world.options.skip_unreachable;
    match believer {
        Some(_) => is_control_plane || !is_skipped,
        None => is_control_plane && host.state.is_present() && !is_embedded && !is_skipped,
    }
}

/// Why no first control plane is made while this host does not answer.
fn silent(believer: Option<&Host>, silent: &Host) -> Refusal {
    let name = &silent.name;
    let (text, hint) = match (believer, silent.role) {
        (None, _) => (
            format!(
                "a first control plane is made only when all have said that they are none yet; {name} does not answer"
            ),
            "bring it up, or say --skip-unreachable if it surely holds no cluster",
        ),
        (Some(believer), role) => (
            format!(
                "{} belongs to a cluster, and {name}, which does not answer, may be its control plane; \
                 a new one would be an empty cluster",
                believer.name
            ),
            match role {
                Role::ControlPlane => "bring it up, or take it out of the inventory if it is gone for good",
                Role::Worker => "bring it up, or say --skip-unreachable if it surely is no control plane",
            },
        ),
    };
    Refusal { host: Some(name.clone()), ..Refusal::new(text) }.hint(hint)
}

/// Whoever belonged to a cluster before will find another one.
fn warn_of_empty_cluster(world: &World<'_>, lead: &Part<'_>, draft: &mut Draft) {
    let believes = |part: &&Part<'_>| part.reached.facts.authority.as_ref().is_some_and(|own| !own.is_empty());
    let Some(believer) = world.usable().iter().find(believes) else { return };
    let text = format!(
        "has no state, but {} belongs to a cluster: an empty one is made, and what that one knew is gone",
        believer.host.name
    );
    draft.findings.push(Finding {
        severity: Severity::Warning,
        code: FindingCode::SinglePointOfFailure,
        host: Some(lead.host.name.clone()),
        text,
        hint: Some("if there is a snapshot: naru restore".to_owned()),
    });
}

/// No control plane can be used: why not.
fn nobody<'w, 'a>(world: &World<'_>, draft: &Draft) -> Result<Option<&'w Part<'a>>, Refusal> {
    for host in &world.blueprint.control_planes {
        let name = Some(host.name.as_str());
        let error = draft.findings.iter().find(|f| f.severity == Severity::Error && f.host.as_deref() == name);
        let (what, problem) = match world.observation.hosts.get(&host.name) {
            Some(HostObservation::Unreachable(problem)) => ("cannot be reached", Some(problem)),
            Some(HostObservation::Reached(reached)) => ("cannot be used", reached.problem.as_ref()),
            Some(HostObservation::Missing { .. }) | None => continue,
        };
        let reason = match (problem, error) {
            (_, Some(finding)) => finding.text.as_str(),
            (Some(Problem { primary, .. }), None) => primary,
            (None, None) => "unknown",
        };
        let text = format!("the control plane {what}, so no host is changed: {reason}");
        return Err(Refusal {
            host: Some(host.name.clone()),
            detail: problem.and_then(|problem| problem.detail.clone()),
            hint: error.map_or(problem.and_then(|problem| problem.hint.clone()), |finding| finding.hint.clone()),
            ..Refusal::new(text)
        });
    }
    debug_assert!(draft.notes.iter().all(|note| note.kind != NoteKind::Refused));
    Ok(None)
}
