//! The chain of hosts that fail in each possible way, against a fleet in memory.

use naru_inventory::{HostState, Inventory};

use super::*;
use crate::fake::{Fake, inventory};

fn problem(kind: ProblemKind, detail: &str) -> Problem {
    Problem { kind, primary: "no".to_owned(), detail: Some(detail.to_owned()), hint: Some("do it".to_owned()) }
}

async fn states(inventory: &Inventory, fleet: &Fake) -> Vec<(LinkName, State)> {
    let chain = walk(inventory, inventory.host("w1").unwrap(), fleet).await;
    chain.links.iter().map(|seen| (seen.link.name, seen.state)).collect()
}

fn first_not_holding(states: &[(LinkName, State)]) -> (LinkName, State) {
    *states.iter().find(|(_, state)| *state != State::Holds).unwrap()
}

#[tokio::test]
async fn each_way_of_not_connecting_breaks_its_own_link() {
    let inventory = inventory();
    for (kind, detail, link) in [
        (ProblemKind::Unreachable, "no route to host", LinkName::Machine),
        (ProblemKind::Unreachable, "Connection refused (os error 111)", LinkName::Ssh),
        (ProblemKind::Authentication, "", LinkName::Ssh),
        (ProblemKind::HostKey, "", LinkName::Ssh),
        (ProblemKind::Agent, "", LinkName::Agent),
    ] {
        let fleet = Fake::default().unreachable("w1", problem(kind, detail));
        let states = states(&inventory, &fleet).await;
        assert_eq!(first_not_holding(&states), (link, State::Broken), "{kind:?} {detail}");
        assert!(states.contains(&(LinkName::Runtime, State::Unknown)), "{states:?}");
        assert!(states.contains(&(LinkName::Ready, State::Consequence)), "{states:?}");
        assert!(states.is_sorted_by_key(|(name, _)| *name), "{states:?}");
    }
}

#[tokio::test]
async fn what_the_agent_finds_comes_before_what_the_api_says() {
    let inventory = inventory();
    let link = |name, holds| Link { name, holds, found: "seen".to_owned(), log: None, hint: None };
    let diagnosis = vec![link(LinkName::Disk, true), link(LinkName::Runtime, false), link(LinkName::Kubelet, false)];
    let fleet = Fake::default().answering("w1", Response::Diagnosis { links: diagnosis });
    let chain = walk(&inventory, inventory.host("w1").unwrap(), &fleet).await;
    assert_eq!(chain.broken, Some(LinkName::Runtime));
    let state = |name| chain.links.iter().find(|seen| seen.link.name == name).unwrap().state;
    assert_eq!(state(LinkName::Agent), State::Holds);
    assert_eq!(state(LinkName::Kubelet), State::Consequence);
    assert_eq!(state(LinkName::Ready), State::Consequence);
}

#[tokio::test]
async fn a_node_that_is_not_ready_for_no_other_reason_shows_its_log() {
    let inventory = inventory();
    let fleet = Fake::default()
        .answering("w1", Response::Diagnosis { links: Vec::new() })
        .answering("w1", Response::Log { lines: ["started", "ERROR no CNI", "waits"].map(str::to_owned).into() });
    let chain = walk(&inventory, inventory.host("w1").unwrap(), &fleet).await;
    assert_eq!(chain.broken, Some(LinkName::Ready));
    let ready = &chain.links.last().unwrap().link;
    assert_eq!(ready.log.as_deref(), Some("cp1: this agent does not answer that"));
}

#[tokio::test]
async fn a_worker_has_no_control_plane_and_a_missing_machine_breaks_first() {
    let mut inventory = inventory();
    inventory.spec.hosts[1].state = HostState::Absent;
    let chain = of_missing(&inventory, inventory.host("w1").unwrap(), true);
    assert_eq!(chain.broken, Some(LinkName::Machine));
    assert!(chain.links.iter().all(|seen| seen.link.name != LinkName::ControlPlane));
    let chain = of_missing(&inventory, inventory.host("cp1").unwrap(), false);
    assert!(chain.links.iter().any(|seen| seen.link.name == LinkName::ControlPlane));
}
