//! Probing: connect, facts, check: two requests per host, many hosts at once. Then the cluster, once, at the first
//! control plane that answers.

use std::collections::BTreeSet;

use futures::StreamExt;
use naru_agent::{Facts, Request, Response};
use naru_inventory::{Host, Inventory, Store};
use naru_resources::Resource;

use crate::cluster::{PodsOf, Questions, etcd_members, observe_cluster};
use crate::options::Room;
use crate::preflight::preflight;
use crate::{
    AgentError, ApiState, Clock, ClusterObservation, Fleet, HostAgent, HostObservation, Observation, ObserveOptions,
    Pods, Problem, ProblemKind, Reached,
};

const NODE_UNIT: &str = "naru-node.service";
const CONTROL_PLANE_UNIT: &str = "naru-control-plane.service";
const ETCD_UNIT: &str = "naru-etcd.service";
const NODE_PROGRAM: &str = "/naru-node";
/// A clock that is off by less may as well be the line's slowness.
const SKEW_TOLERANCE_MS: i64 = 1_000;
const MILLIS_PER_SECOND: i64 = 1_000;

/// What a host with these facts should look like, or why that cannot be told. The planner's own function, so that
/// observation and plan speak of the same list.
pub type Desire<'a> = dyn Fn(&Host, &Facts) -> Result<Vec<Resource>, String> + Sync + 'a;

/// What was seen of a host, and what only the observation itself wants to know of it.
struct Seen {
    host: HostObservation,
    /// The node program is going to be another one.
    changes_version: bool,
}

/// Looks at all hosts of the inventory and at the cluster. `done` hears of each host as it has been looked at.
pub async fn observe(
    inventory: &Inventory,
    fleet: &dyn Fleet,
    desire: &Desire<'_>,
    options: &ObserveOptions,
    done: &(dyn Fn(&str, &HostObservation) + Sync),
) -> Observation {
    let room = Room::of(options, inventory.spec.hosts.len());
    let clock = &options.clock;
    let probes = inventory.spec.hosts.iter().map(|host| async move {
        let seen = probe(host, fleet, desire, clock).await;
        done(&host.name, &seen.host);
        if !room.keeps_connections {
            fleet.forget(&host.name).await;
        }
        (host.name.clone(), seen)
    });
    // One allocation per host that is looked at now, not per host of the fleet.
    let mut probes = futures::stream::iter(probes).buffer_unordered(room.parallelism);
    let mut observation = Observation { hosts: [].into(), cluster: ClusterObservation::default(), preflight: None };
    let mut draining = BTreeSet::new();
    while let Some((name, seen)) = probes.next().await {
        if seen.changes_version || inventory.host(&name).is_some_and(|host| !host.state.is_present()) {
            draining.insert(name.clone());
        }
        observation.hosts.insert(name, seen.host);
    }
    drop(probes);
    for name in inventory.host_names() {
        observation.hosts.entry(name).or_insert(HostObservation::Missing { is_off: false });
    }
    let questions = Questions {
        pods_of: match options.pods {
            Pods::WhereNeeded => PodsOf::These(&draining),
            Pods::Everywhere => PodsOf::All,
        },
        has_etcd: inventory.spec.control_plane.store == Store::Etcd,
        manifests: &inventory.manifests,
    };
    observation.cluster = cluster(inventory, fleet, &observation, &questions).await;
    if options.preflight {
        observation.preflight = preflight(inventory, fleet, &observation, room.parallelism).await;
    }
    observation
}

/// The cluster by the word of the first control plane whose API server is ready, one on its way out included.
async fn cluster(
    inventory: &Inventory,
    fleet: &dyn Fleet,
    observation: &Observation,
    questions: &Questions<'_>,
) -> ClusterObservation {
    let mut seen = ClusterObservation::default();
    let (staying, leaving): (Vec<&Host>, Vec<&Host>) = inventory
        .spec
        .hosts
        .iter()
        .filter(|host| observation.reached(&host.name).is_some_and(|reached| knows_of_cluster(&reached.facts)))
        .partition(|host| host.state.is_present());
    let hosts = || staying.iter().chain(&leaving);
    let runs = |host: &Host, unit| observation.reached(&host.name).is_some_and(|reached| runs(&reached.facts, unit));
    for host in hosts().filter(|host| runs(host, CONTROL_PLANE_UNIT)) {
        let Ok(agent) = fleet.connect(host).await else { continue };
        let asked = observe_cluster(agent.as_ref(), &host.name, questions).await;
        let etcd = asked.etcd.clone().or(seen.etcd);
        seen = ClusterObservation { etcd, ..asked };
        if seen.api == ApiState::Ready {
            break;
        }
    }
    // A run that was killed may have left an etcd that no control plane asks yet.
    for host in hosts().filter(|host| questions.has_etcd && !runs(host, CONTROL_PLANE_UNIT)) {
        if seen.etcd.is_some() {
            break;
        }
        let Ok(agent) = fleet.connect(host).await else { continue };
        seen.etcd = etcd_members(agent.as_ref()).await;
    }
    seen
}

fn runs(facts: &Facts, unit: &str) -> bool {
    let active = |state: &str| matches!(state, "active" | "activating" | "reloading");
    facts.units.iter().any(|state| state.name == unit && active(&state.active_state))
}

fn knows_of_cluster(facts: &Facts) -> bool {
    runs(facts, CONTROL_PLANE_UNIT) || runs(facts, ETCD_UNIT)
}

/// Whether Naru has never set this host up, or has cleaned it since.
pub(crate) fn is_fresh(facts: &Facts) -> bool {
    !facts.units.iter().any(|unit| unit.name == NODE_UNIT)
}

async fn probe(host: &Host, fleet: &dyn Fleet, desire: &Desire<'_>, clock: &Clock) -> Seen {
    let agent = match fleet.connect(host).await {
        Ok(agent) => agent,
        Err(problem) => return Seen { host: HostObservation::Unreachable(problem), changes_version: false },
    };
    match look(host, agent.as_ref(), desire, clock).await {
        Ok((reached, changes_version)) => Seen { host: HostObservation::Reached(Box::new(reached)), changes_version },
        Err(error) => {
            if error.breaks_connection() {
                fleet.forget(&host.name).await;
            }
            Seen { host: HostObservation::Unreachable(error.into()), changes_version: false }
        }
    }
}

async fn look(
    host: &Host,
    agent: &dyn HostAgent,
    desire: &Desire<'_>,
    clock: &Clock,
) -> Result<(Reached, bool), AgentError> {
    let unexpected = |request| AgentError::Unexpected { host: host.name.clone(), request };
    let asked_ms = clock();
    let Response::Facts(facts) = agent.call(Request::Facts).await? else {
        return Err(unexpected("the question for facts"));
    };
    let clock_skew_seconds = skew_seconds(facts.unix_time_ms, asked_ms, clock());
    // Of one on its way out only what lies there matters: nothing that is wanted elsewhere may keep it from leaving.
    let wanted = if host.state.is_present() { desire(host, &facts) } else { Ok(Vec::new()) };
    let resources = match wanted {
        Ok(resources) => resources,
        Err(primary) => {
            let problem = Problem { kind: ProblemKind::Agent, primary, detail: None, hint: None };
            let reached = Reached { facts: *facts, clock_skew_seconds, problem: Some(problem), ..Reached::default() };
            return Ok((reached, false));
        }
    };
    let programs: BTreeSet<usize> = resources
        .iter()
        .enumerate()
        .filter(|(_, resource)| matches!(resource, Resource::Binary { path, .. } if path.ends_with(NODE_PROGRAM)))
        .map(|(index, _)| index)
        .collect();
    let Response::Checked(checked) = agent.call(Request::Check { resources }).await? else {
        return Err(unexpected("the check"));
    };
    let changes_version = !is_fresh(&facts) && checked.changes.iter().any(|change| programs.contains(&change.resource));
    let reached = Reached {
        facts: *facts,
        clock_skew_seconds,
        changes: checked.changes,
        missing_artifacts: checked.missing_artifacts,
        manifest: checked.manifest,
        drifted: checked.drifted,
        problem: None,
    };
    Ok((reached, changes_version))
}

/// How far a clock is ahead that showed this time somewhere between question and answer: zero if that fits, else the
/// distance from the middle.
fn skew_seconds(shown_ms: i64, asked_ms: i64, answered_ms: i64) -> i64 {
    if shown_ms == 0 || (asked_ms - SKEW_TOLERANCE_MS..=answered_ms + SKEW_TOLERANCE_MS).contains(&shown_ms) {
        return 0;
    }
    let middle_ms = asked_ms + (answered_ms - asked_ms) / 2;
    (shown_ms - middle_ms) / MILLIS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_is_no_wrong_clock() {
        let (asked, answered) = (1_000_000, 1_004_000);
        assert_eq!(skew_seconds(1_000_000, asked, answered), 0);
        assert_eq!(skew_seconds(1_004_900, asked, answered), 0);
        assert_eq!(skew_seconds(1_032_500, asked, answered), 30);
        assert_eq!(skew_seconds(0, asked, answered), 0, "an agent that does not tell the time");
        assert_eq!(skew_seconds(952_000, asked, answered), -50);
    }
}
