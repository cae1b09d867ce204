//! Which control plane leads: signs certificates and is asked first. None is special: any usable one that has the
//! authority's key may lead; a first one is made only when nothing says that there is one already.

use naru_inventory::Store;
use naru_observe::{HostObservation, Problem};

use super::draft::Draft;
use super::world::{Part, World, is_active};
use super::{Refusal, etcd};
use crate::desired::{AUTHORITY_KEY, CONTROL_PLANE_UNIT, Stage};
use crate::plan::{Finding, FindingCode, NoteKind, Severity};

/// The leading control plane; none while its machine is still to be made.
pub(super) fn lead<'w, 'a>(world: &'w World<'a>, draft: &mut Draft) -> Result<Option<&'w Part<'a>>, Refusal> {
    etcd::check_quorum(world)?;
    state_would_be_lost(world, draft)?;
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
        None => first(world, &usable)?,
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
fn state_would_be_lost(world: &World<'_>, draft: &Draft) -> Result<(), Refusal> {
    if world.blueprint.inventory.spec.control_plane.store != Store::Embedded {
        return Ok(());
    }
    let finding = draft.findings.iter().find(|one| {
        let holds_state = |host: &String| {
            world.observation.reached(host).is_some_and(|reached| reached.manifest.contains_key(AUTHORITY_KEY))
        };
        one.code == FindingCode::RoleChange
            && one.severity == Severity::Error
            && one.host.as_ref().is_some_and(holds_state)
    });
    let Some(finding) = finding else { return Ok(()) };
    let refusal = Refusal { host: finding.host.clone(), ..Refusal::new(finding.text.clone()) };
    Err(Refusal { hint: finding.hint.clone(), ..refusal })
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

/// Nobody has the key: the first control plane is made now, unless something speaks of a cluster that is there.
fn first<'w, 'a>(world: &World<'_>, usable: &[&'w Part<'a>]) -> Result<&'w Part<'a>, Refusal> {
    let first = usable[0];
    if world.blueprint.inventory.spec.control_plane.store == Store::Embedded {
        return Ok(first);
    }
    let believer =
        world.usable().iter().find(|part| part.reached.facts.authority.as_ref().is_some_and(|a| !a.is_empty()));
    if let Some(believer) = believer {
        let text = format!(
            "{} belongs to a cluster, but no control plane that can be used has its authority's key; \
             a new authority would be a second cluster",
            believer.host.name
        );
        return Err(
            Refusal::of(FindingCode::QuorumLoss, first.host, text).hint("bring back a control plane that had it")
        );
    }
    let silent = world.blueprint.control_planes.iter().find(|host| {
        let observed = world.observation.hosts.get(&host.name);
        matches!(observed, Some(HostObservation::Unreachable(_))) && !world.options.skip_unreachable
    });
    if let Some(silent) = silent {
        let text = format!(
            "a first control plane is made only when all have said that they are none yet; {} does not answer",
            silent.name
        );
        let refusal = Refusal { host: Some(silent.name.clone()), ..Refusal::new(text) };
        return Err(refusal.hint("bring it up, or say --skip-unreachable if it surely holds no cluster"));
    }
    Ok(first)
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
