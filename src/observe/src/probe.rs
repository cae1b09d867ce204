//! Probing: connect, facts, check, missing artifacts: four round trips per host, all hosts at once.

use futures::StreamExt;
use naru_agent::{Facts, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_resources::Resource;

use crate::cluster::observe_cluster;
use crate::{
    AgentError, ApiState, ClusterObservation, Fleet, HostAgent, HostObservation, Observation, Problem, ProblemKind,
    Reached,
};

/// Hosts that are probed at the same time.
const MAX_PROBES: usize = 64;

/// What a host with these facts should look like, or why that cannot be told. The planner's own function, so that
/// observation and plan speak of the same list.
pub type Desire<'a> = dyn Fn(&Host, &Facts) -> Result<Vec<Resource>, String> + Sync + 'a;

/// Looks at all hosts of the inventory and at the cluster. `done` hears of each host as it has been looked at.
pub async fn observe(
    inventory: &Inventory,
    fleet: &dyn Fleet,
    desire: &Desire<'_>,
    done: &(dyn Fn(&str, &HostObservation) + Sync),
) -> Observation {
    let probes = inventory.spec.hosts.iter().map(|host| async move {
        let observed = probe(host, fleet, desire).await;
        done(&host.name, &observed);
        (host.name.clone(), observed)
    });
    let hosts = futures::stream::iter(probes.collect::<Vec<_>>());
    let mut observation = Observation {
        hosts: hosts.buffer_unordered(MAX_PROBES).collect().await,
        cluster: ClusterObservation::default(),
        preflight: None,
    };
    for name in inventory.host_names() {
        observation.hosts.entry(name).or_insert(HostObservation::Missing { is_off: false });
    }
    for host in inventory.control_planes() {
        let runs = observation.reached(&host.name).is_some_and(|reached| runs_control_plane(&reached.facts));
        if !runs {
            continue;
        }
        if let Ok(agent) = fleet.connect(host).await {
            observation.cluster = observe_cluster(agent.as_ref(), &host.name).await;
        }
        if observation.cluster.api == ApiState::Ready {
            break;
        }
    }
    observation
}

fn runs_control_plane(facts: &Facts) -> bool {
    let active = |state: &str| matches!(state, "active" | "activating" | "reloading");
    facts.units.iter().any(|unit| unit.name.starts_with("naru-control-plane") && active(&unit.active_state))
}

async fn probe(host: &Host, fleet: &dyn Fleet, desire: &Desire<'_>) -> HostObservation {
    let agent = match fleet.connect(host).await {
        Ok(agent) => agent,
        Err(problem) => return HostObservation::Unreachable(problem),
    };
    match look(host, agent.as_ref(), desire).await {
        Ok(reached) => HostObservation::Reached(Box::new(reached)),
        Err(error) => {
            if error.breaks_connection() {
                fleet.forget(&host.name).await;
            }
            HostObservation::Unreachable(error.into())
        }
    }
}

async fn look(host: &Host, agent: &dyn HostAgent, desire: &Desire<'_>) -> Result<Reached, AgentError> {
    let unexpected = |request| AgentError::Unexpected { host: host.name.clone(), request };
    let Response::Facts(facts) = agent.call(Request::Facts).await? else {
        return Err(unexpected("the question for facts"));
    };
    let resources = match desire(host, &facts) {
        Ok(resources) => resources,
        Err(primary) => {
            let problem = Problem { kind: ProblemKind::Agent, primary, detail: None, hint: None };
            return Ok(Reached { facts: *facts, problem: Some(problem), ..Reached::default() });
        }
    };
    let Response::Checked(checked) = agent.call(Request::Check { resources }).await? else {
        return Err(unexpected("the check"));
    };
    Ok(Reached {
        facts: *facts,
        clock_skew_seconds: 0,
        changes: checked.changes,
        missing_artifacts: checked.missing_artifacts,
        manifest: checked.manifest,
        drifted: checked.drifted,
        problem: None,
    })
}
