//! Files on their way: from here, from neighbours, cut and gone on with.

use naru_agent::FailureKind;

use super::*;

fn upload(host: &str, neighbours: &[&str]) -> Step {
    let neighbours = neighbours.iter().map(|name| (*name).to_owned()).collect();
    step(&format!("{host}/upload"), Action::Upload { artifacts: vec![artifact("naru-node")], neighbours }, &[])
}

#[tokio::test(start_paused = true)]
async fn a_cut_upload_goes_on_where_it_was_cut() {
    let memory = Memory::default();
    memory.change("w1", |state| state.cut_upload_at = Some(700));
    let (outcome, events) = run(&memory, &Plan::of(inventory(), vec![upload("w1", &[])])).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(memory.read("w1", |state| state.offsets.clone()), [0, 700]);
    assert!(events.iter().any(|event| matches!(event, Event::StepRetried { attempt: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_not_sent_again() {
    let memory = Memory::default();
    memory.change("w1", |state| state.artifacts.extend(["naru-node".to_owned()]));
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![upload("w1", &[])])).await;
    assert!(outcome.is_success());
    assert!(memory.read("w1", |state| state.offsets.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn after_the_first_hosts_neighbours_give_and_none_to_more_than_four_at_once() {
    let memory = Memory::default();
    let mut inventory = inventory();
    let names: Vec<String> = (0..40).map(|number| format!("n{number:02}")).collect();
    for name in &names {
        inventory.spec.hosts.push(Host::new(name, naru_inventory::Role::Worker, "10.9.9.9"));
    }
    let neighbours: Vec<&str> = names.iter().map(String::as_str).collect();
    let steps = names.iter().map(|name| upload(name, &neighbours)).collect();
    let with = With { limits: Limits { steps: 64, uploads: 2 }, ..With::default() };
    let (outcome, _) = run_with(&memory, &Plan::of(inventory, steps), with).await;
    assert!(outcome.unwrap().is_success());
    let from_here = names.iter().filter(|name| memory.read(name, |state| !state.offsets.is_empty())).count();
    let most = names.iter().map(|name| memory.read(name, |state| state.most_fetches)).max().unwrap();
    assert!((2..=8).contains(&from_here), "{from_here} of 40 over our own line");
    assert!(most <= 4, "{most} fetched from one");
    assert!(names.iter().all(|name| memory.read(name, |state| state.artifacts.contains("naru-node"))));
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_breaks_off_is_no_failure() {
    let memory = Memory::default();
    memory.change("w2", |state| {
        state.artifacts.insert("naru-node".to_owned());
        state.serves_nothing = true;
    });
    let (outcome, events) = run(&memory, &Plan::of(inventory(), vec![upload("w1", &["w2"])])).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(memory.read("w1", |state| state.offsets.clone()), [400], "what the neighbour gave is kept");
    assert_eq!(remarks(&events), ["w2 could not give naru-node to w1: the neighbour broke off"]);
    assert!(!events.iter().any(|event| matches!(event, Event::StepRetried { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_is_dead_is_no_failure() {
    let memory = Memory::default();
    memory.change("w2", |state| state.is_dead = true);
    let (outcome, _) = run(&memory, &Plan::of(inventory(), vec![upload("w1", &["w2"])])).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(memory.read("w1", |state| state.offsets.clone()), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_not_tried_again() {
    let memory = Memory::default();
    // Of the two calls the first is the question for what is missing, which is asked once more before sending.
    memory.change("w1", |state| state.fail_at = Some((2, FailureKind::NoSpace)));
    let (outcome, events) = run(&memory, &Plan::of(inventory(), vec![upload("w1", &[])])).await;
    assert!(only_error(&outcome).hint.as_deref().unwrap().contains("make room"));
    assert!(!events.iter().any(|event| matches!(event, Event::StepRetried { .. })));
}
