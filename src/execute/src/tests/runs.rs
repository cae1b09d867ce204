//! Whole runs: order, retries, budgets, interruptions, cuts.

use std::collections::BTreeSet;
use std::time::Duration;

use naru_agent::FailureKind;
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_second_run_finds_nothing_to_do() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    let (outcome, events) = run(&memory, &first).await;
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(outcome.finish.succeeded, first.steps.len());
    // Nothing begins before what it needs has ended.
    let mut ended = BTreeSet::new();
    for event in &events {
        match event {
            Event::StepStarted { step, .. } => {
                let step = first.steps.iter().find(|known| known.id == *step).unwrap();
                assert!(step.needs.iter().all(|need| ended.contains(need)), "{} began too early", step.id);
            }
            Event::StepSucceeded { step, .. } => {
                ended.insert(step.clone());
            }
            _ => {}
        }
    }
    let second = plan(&memory).await;
    assert!(second.is_empty(), "{:?}", second.steps.iter().map(|step| &step.id).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_finished_cluster_is_two_requests_per_host() {
    let memory = Memory::default();
    run(&memory, &plan(&memory).await).await;
    let before: Vec<usize> = ["w1", "w2"].map(|host| memory.read(host, |state| state.calls)).into();
    observe(&memory).await;
    let after: Vec<usize> = ["w1", "w2"].map(|host| memory.read(host, |state| state.calls)).into();
    assert_eq!(after, before.iter().map(|calls| calls + 2).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn cut_at_any_call_and_run_again_it_converges() {
    let whole = Memory::default();
    run(&whole, &plan(&whole).await).await;
    let calls: usize = whole.lock().hosts.values().map(|state| state.calls).sum();
    assert!(calls > 30, "{calls} calls");
    for budget in 0..calls {
        let memory = Memory::default();
        let first = plan(&memory).await;
        memory.lock().budget = Some(budget);
        let cut = tokio::time::timeout(Duration::from_secs(30), run_with(&memory, &first, With::default())).await;
        drop(cut);
        memory.lock().budget = None;
        let (outcome, _) = run(&memory, &plan(&memory).await).await;
        assert!(outcome.is_success(), "cut after {budget} calls: {:?}", outcome.failed);
        assert!(plan(&memory).await.is_empty(), "cut after {budget} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_worker_stops_only_itself() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    memory.change("w1", |state| state.fails = Some(FailureKind::Permanent));
    let (outcome, _) = run(&memory, &first).await;
    assert_eq!(outcome.stopped, None);
    assert!(!outcome.skipped.is_empty() && outcome.skipped.iter().all(|step| step.starts_with("w1/")));
    assert!(memory.lock().nodes.contains_key("w2"));
    memory.change("w1", |state| state.fails = None);
    assert!(plan(&memory).await.steps.iter().all(|step| step.host == "w1"));
}

#[tokio::test(start_paused = true)]
async fn only_what_can_pass_is_tried_again_and_a_seed_repeats_the_pauses() {
    let elapsed = async |kind: FailureKind, seed| {
        let memory = Memory::default();
        memory.change("w1", |state| state.fails = Some(kind));
        let (begun, with) = (Instant::now(), With { seed, ..With::default() });
        let (outcome, events) =
            run_with(&memory, &Plan::of(inventory(), vec![step("w1/a", nothing(), &[])]), with).await;
        let tries = events.iter().filter(|event| matches!(event, Event::StepRetried { .. })).count();
        let hint = only_error(&outcome.unwrap()).hint.clone();
        (tries, begun.elapsed(), hint)
    };
    let (tries, first, _) = elapsed(FailureKind::Transient, 1).await;
    assert_eq!(tries, 5);
    assert_eq!(first, elapsed(FailureKind::Transient, 1).await.1);
    assert_ne!(first, elapsed(FailureKind::Transient, 2).await.1);
    assert_eq!(elapsed(FailureKind::Permanent, 1).await.0, 0);
    let (tries, _, hint) = elapsed(FailureKind::NoSpace, 1).await;
    assert_eq!(tries, 0);
    assert!(hint.unwrap().contains("make room"));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_ends_its_steps_and_says_what_is_left() {
    let memory = Memory::default();
    let (sender, interrupt) = watch::channel(false);
    let upload = Action::Upload { artifacts: vec![artifact("naru-node")], neighbours: Vec::new() };
    let steps = vec![step("w1/a", upload, &[]), step("w1/b", nothing(), &["w1/a"]), step("w2/a", nothing(), &["w1/a"])];
    let plan = Plan::of(inventory(), steps);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        sender.send(true).unwrap();
    };
    let with = With { interrupt, ..With::default() };
    let ((outcome, events), ()) = tokio::join!(run_with(&memory, &plan, with), stopping);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.stopped, Some(Stopped::Interrupted));
    assert!(outcome.finish.interrupted && !outcome.is_success());
    assert_eq!(outcome.finish.succeeded, 1, "the upload that was under way has ended well");
    assert_eq!(outcome.skipped, ["w1/b", "w2/a"]);
    assert_eq!(reason(&events, "w2/a"), "interrupted");
    assert!(memory.read("w1", |state| state.artifacts.contains("naru-node") && state.holder.is_none()));
}

#[tokio::test(start_paused = true)]
async fn no_further_batch_begins_once_too_many_workers_failed() {
    let batch = |id: &str, batch, needs: &[&str]| Step { batch: Some(batch), ..step(id, nothing(), needs) };
    let steps = || {
        vec![
            batch("w1/a", 1, &[]),
            batch("w1/b", 1, &["w1/a"]),
            batch("w2/a", 2, &[]),
            batch("w3/a", 3, &[]),
            step("w3/z", nothing(), &["w3/a"]),
            step("cp1/z", nothing(), &[]),
        ]
    };
    let memory = Memory::default();
    memory.change("w1", |state| state.fails = Some(FailureKind::Permanent));
    let (outcome, events) = run(&memory, &Plan::of(three(), steps())).await;
    assert_eq!(outcome.skipped, ["w1/b", "w2/a", "w3/a", "w3/z"]);
    let because = reason(&events, "w2/a");
    assert!(because.contains("1 worker failed (w1) where 0 may"), "{because}");
    // With one that may fail the next batch goes on, after the one before has ended.
    let (outcome, events) = run(&memory, &Plan { max_failures: 1, ..Plan::of(three(), steps()) }).await;
    assert_eq!(outcome.skipped, ["w1/b"]);
    let place = |wanted: &str| {
        let found = events.iter().position(|event| match event {
            Event::StepStarted { step, .. } => step == wanted,
            _ => false,
        });
        found.unwrap()
    };
    let failed = events.iter().position(|event| matches!(event, Event::StepFailed { .. })).unwrap();
    assert!(failed < place("w2/a") && place("w2/a") < place("w3/a"));
    memory.change("w2", |state| state.fails = Some(FailureKind::Permanent));
    let (outcome, _) = run(&memory, &Plan { max_failures: 1, ..Plan::of(three(), steps()) }).await;
    assert_eq!(outcome.skipped, ["w1/b", "w3/a", "w3/z"]);
}

#[tokio::test(start_paused = true)]
async fn steps_that_can_never_begin_are_told() {
    let memory = Memory::default();
    let steps = vec![
        step("w1/a", nothing(), &["w1/none"]),
        step("w2/a", nothing(), &["w2/b"]),
        step("w2/b", nothing(), &["w2/a"]),
    ];
    let (outcome, events) = run(&memory, &Plan::of(inventory(), steps)).await;
    assert_eq!(outcome.skipped, ["w1/a", "w2/a", "w2/b"]);
    assert!(reason(&events, "w1/a").contains("w1/none"));
}

#[tokio::test(start_paused = true)]
async fn a_large_fleet_costs_no_more_per_step() {
    const HOSTS: usize = 5_000;
    let mut inventory = inventory();
    let mut steps = Vec::new();
    for number in 0..HOSTS {
        let name = format!("n{number}");
        inventory.spec.hosts.push(Host::new(&name, naru_inventory::Role::Worker, "10.9.9.9"));
        for part in 0..12 {
            let id = format!("{name}/{part}");
            let needs = if part == 0 { vec![] } else { vec![format!("{name}/{}", part - 1)] };
            steps.push(step(&id, nothing(), &needs.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
    let plan = Plan::of(inventory, steps);
    let begun = std::time::Instant::now();
    let mut graph = crate::graph::Graph::new(&plan);
    let mut count = 0;
    while let Some((number, _)) = graph.take(false) {
        graph.succeeded(number);
        count += 1;
    }
    assert_eq!(count, HOSTS * 12);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
