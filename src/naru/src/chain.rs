//! The chain from a machine to a Ready node, walked for one host: the first links while connecting, those on the host
//! by its agent, the last one from what the API server knows of the node.

mod ready;

use naru_agent::{Link, LinkName, Request, Response};
use naru_inventory::{Connection, Host, Inventory, Role, Store};
use naru_observe::{Fleet, HostAgent, Problem, ProblemKind};
use serde::Serialize;

/// Lines of the node's journal in which the reason of a last link is looked for.
const LOG_LINES: u32 = 50;

/// How a link stands in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    Holds,
    /// The first that does not hold.
    Broken,
    /// Does not hold either, as has to be expected after the broken one.
    Consequence,
    /// Could not be looked at.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) state: State,
    #[serde(flatten)]
    pub(crate) link: Link,
}

/// A host's whole chain in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chain {
    pub(crate) cluster: String,
    pub(crate) host: String,
    pub(crate) address: String,
    pub(crate) role: Role,
    /// The first link that does not hold.
    pub(crate) broken: Option<LinkName>,
    pub(crate) links: Vec<Seen>,
}

impl Chain {
    /// Puts links into order and tells the broken one from its consequences. Links that nobody could look at are
    /// unknown, which only happens after a broken one.
    fn of(inventory: &Inventory, host: &Host, mut links: Vec<Link>) -> Self {
        links.sort_by_key(|link| link.name);
        links.dedup_by_key(|link| link.name);
        let broken = links.iter().find(|link| !link.holds).map(|link| link.name);
        let mut seen: Vec<Seen> = links
            .into_iter()
            .map(|link| {
                let state = match (link.holds, broken == Some(link.name)) {
                    (true, _) => State::Holds,
                    (false, true) => State::Broken,
                    (false, false) => State::Consequence,
                };
                Seen { state, link }
            })
            .collect();
        for name in expected(inventory, host) {
            if seen.iter().all(|seen| seen.link.name != name) {
                let link =
                    Link { name, holds: false, found: "could not be looked at".to_owned(), log: None, hint: None };
                seen.push(Seen { state: State::Unknown, link });
            }
        }
        seen.sort_by_key(|seen| seen.link.name);
        Self {
            cluster: inventory.name().to_owned(),
            host: host.name.clone(),
            address: host.address.clone(),
            role: host.role,
            broken,
            links: seen,
        }
    }
}

/// The links that a host of this kind has.
fn expected(inventory: &Inventory, host: &Host) -> Vec<LinkName> {
    use LinkName::{Agent, Api, Certificates, Cni, ControlPlane, Disk, Etcd, Kubelet, Machine, Ready, Runtime, Ssh};
    let mut names = vec![Machine, Ssh, Agent, Disk, Runtime, Certificates, Kubelet, Api, Cni, Ready];
    if host.role == Role::ControlPlane {
        names.push(ControlPlane);
        if inventory.spec.control_plane.store == Store::Etcd {
            names.push(Etcd);
        }
    }
    names
}

/// The chain of a machine that does not run.
pub(crate) fn of_missing(inventory: &Inventory, host: &Host, is_off: bool) -> Chain {
    let found = if is_off { "the machine is switched off" } else { "the machine has not been made" };
    let hint = match is_off {
        true => format!("naru machines start {}", host.name),
        false => "naru apply".to_owned(),
    };
    Chain::of(inventory, host, vec![broken(LinkName::Machine, found.to_owned(), None, Some(hint))])
}

/// Walks the chain of a host that may be reached.
pub(crate) async fn walk(inventory: &Inventory, host: &Host, fleet: &dyn Fleet) -> Chain {
    let (on_host, mut ready) = futures::join!(on_host(host, fleet), ready::look(inventory, host, fleet));
    let (mut links, agent) = on_host;
    let others_hold = links.iter().all(|link| link.holds);
    if let Some(agent) = agent.filter(|_| others_hold && !ready.holds && ready.log.is_none()) {
        ready.log = telling_line(agent.as_ref()).await;
    }
    links.retain(|link| link.name != LinkName::Ready);
    links.push(ready);
    Chain::of(inventory, host, links)
}

async fn on_host(host: &Host, fleet: &dyn Fleet) -> (Vec<Link>, Option<std::sync::Arc<dyn HostAgent>>) {
    let agent = match fleet.connect(host).await {
        Ok(agent) => agent,
        Err(problem) => return (unreached(host, &problem), None),
    };
    let mut links = reached(host);
    match agent.call(Request::Diagnose).await {
        Ok(Response::Diagnosis { links: found }) => {
            // What connecting has shown is not asked again of the agent.
            links.extend(found.into_iter().filter(|link| link.name > LinkName::Agent));
            return (links, Some(agent));
        }
        Ok(_) => links.push(broken(LinkName::Agent, "it answered with something else".to_owned(), None, None)),
        Err(error) => {
            let (log, hint) = (error.detail().and_then(last_line), error.hint().map(str::to_owned));
            links.push(broken(LinkName::Agent, error.to_string(), log, hint));
        }
    }
    links.retain(|link| link.name != LinkName::Agent || !link.holds);
    (links, None)
}

fn place(host: &Host) -> String {
    match host.connection {
        Connection::Local => "this very machine".to_owned(),
        Connection::Ssh => format!("{} answers", host.address),
    }
}

fn reached(host: &Host) -> Vec<Link> {
    let ssh = match host.connection {
        Connection::Local => "not needed",
        Connection::Ssh => "lets us in, and is the host that it should be",
    };
    vec![
        holds(LinkName::Machine, place(host)),
        holds(LinkName::Ssh, ssh.to_owned()),
        holds(LinkName::Agent, "runs as root".to_owned()),
    ]
}

/// How far the connection came, from the kind of its failure.
fn unreached(host: &Host, problem: &Problem) -> Vec<Link> {
    let log = problem.detail.clone();
    let here = |name| broken(name, problem.primary.clone(), log.clone(), problem.hint.clone());
    match problem.kind {
        // A refusal is an answer: the machine runs, nothing listens there.
        ProblemKind::Unreachable if problem.detail.as_deref().is_some_and(|text| text.contains("refused")) => {
            vec![holds(LinkName::Machine, place(host)), here(LinkName::Ssh)]
        }
        ProblemKind::Unreachable => vec![here(LinkName::Machine)],
        ProblemKind::Authentication | ProblemKind::HostKey => {
            vec![holds(LinkName::Machine, place(host)), here(LinkName::Ssh)]
        }
        ProblemKind::Agent => {
            let mut links = reached(host);
            links.pop();
            links.push(here(LinkName::Agent));
            links
        }
    }
}

/// The line of the node program's journal that most likely tells what is wrong: the last one with an error, else the
/// last one.
async fn telling_line(agent: &dyn HostAgent) -> Option<String> {
    let request = Request::UnitLog { unit: naru_plan::NODE_UNIT.to_owned(), lines: LOG_LINES };
    let Ok(Response::Log { lines }) = agent.call(request).await else { return None };
    let tells = |line: &&String| {
        let line = line.to_lowercase();
        ["error", "fail", "cannot", "panic", "warn"].iter().any(|word| line.contains(word))
    };
    lines.iter().rev().find(tells).or(lines.last()).cloned()
}

fn last_line(text: &str) -> Option<String> {
    text.trim_end().lines().last().map(str::to_owned)
}

fn holds(name: LinkName, found: String) -> Link {
    Link { name, holds: true, found, log: None, hint: None }
}

fn broken(name: LinkName, found: String, log: Option<String>, hint: Option<String>) -> Link {
    Link { name, holds: false, found, log, hint }
}

#[cfg(test)]
mod tests;
