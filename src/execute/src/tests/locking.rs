//! The lock: who gets it, who waits, who loses it.

use std::time::Duration;

use naru_agent::FailureKind;
use naru_plan::Action;

use super::fleet::failed;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_taken_lock_changes_nothing_and_names_its_holder() {
    let memory = Memory::default();
    let first = plan(&memory).await;
    memory.change("cp1", |state| state.holder = Some((0, "ann@desk since noon".to_owned())));
    let (outcome, events) = run_with(&memory, &first, With::default()).await;
    match outcome.unwrap_err() {
        ExecuteError::Locked { host, detail } => {
            assert_eq!((host.as_str(), detail.as_deref()), ("cp1", Some("held by ann@desk since noon")));
        }
        other => panic!("{other}"),
    }
    assert!(events.is_empty());
    assert!(memory.lock().hosts.values().all(|state| state.present.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn whoever_may_wait_gets_it_when_the_other_has_ended() {
    let memory = Memory::default();
    memory.change("cp1", |state| state.holder = Some((0, "ann".to_owned())));
    let plan = Plan::of(inventory(), vec![step("w1/a", nothing(), &[])]);
    let wait = |seconds| With { lock_wait: Some(Duration::from_secs(seconds)), ..With::default() };
    let (outcome, _) = run_with(&memory, &plan, wait(5)).await;
    assert!(matches!(outcome, Err(ExecuteError::Locked { .. })));
    let ending = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        memory.change("cp1", |state| state.holder = None);
    };
    let ((outcome, events), ()) = tokio::join!(run_with(&memory, &plan, wait(60)), ending);
    assert!(outcome.unwrap().is_success());
    assert_eq!(remarks(&events), ["waiting: cp1 says: held by ann"], "said once");
}

#[tokio::test(start_paused = true)]
async fn a_majority_of_three_is_enough_and_less_is_let_go() {
    let memory = Memory::default();
    let plan = Plan::of(three(), vec![step("w1/a", nothing(), &[])]);
    memory.change("cp1", |state| state.is_dead = true);
    memory.change("cp2", |state| state.fence = 6);
    let (outcome, _) = run(&memory, &plan).await;
    assert!(outcome.is_success());
    assert_eq!(memory.lock().fleet_fence, 7, "one more than the highest");
    assert_eq!(memory.read("cp3", |state| state.fence), 7, "known to all that granted");
    memory.change("cp2", |state| state.is_dead = true);
    let (outcome, events) = run_with(&memory, &plan, With::default()).await;
    match outcome.unwrap_err() {
        ExecuteError::NoMajority { granted: 1, of: 3, needed: 2, problems } => {
            assert_eq!(problems.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>(), ["cp1", "cp2"]);
        }
        other => panic!("{other}"),
    }
    assert!(events.is_empty());
    assert!(memory.read("cp3", |state| state.holder.is_none()), "what was granted is let go");
}

#[tokio::test(start_paused = true)]
async fn two_at_once_are_never_both_in() {
    let memory = Memory::default();
    let executor_of = async |owner| {
        let plan = Plan::of(three(), vec![step("w1/a", slow(), &[])]);
        run_with(&memory, &plan, With { owner, ..With::default() }).await.0
    };
    let (one, other) = tokio::join!(executor_of("one"), executor_of("other"));
    let successes = [&one, &other].into_iter().filter(|outcome| outcome.is_ok()).count();
    assert!(successes <= 1, "{one:?} {other:?}");
    for outcome in [one, other] {
        if let Err(error) = outcome {
            assert!(matches!(error, ExecuteError::Locked { .. }), "{error:?}");
        }
    }
}

/// Takes as long as the API server of a host that does not answer takes to be given up.
fn slow() -> Action {
    Action::Upload { artifacts: vec![artifact("naru-node")], neighbours: Vec::new() }
}

fn long_plan() -> Plan {
    let mut steps = vec![step("w1/0", slow(), &[])];
    for number in 1..60 {
        steps.push(Step { host: "w1".to_owned(), ..step(&format!("w1/{number}"), slow_again(number), &[]) });
        steps.last_mut().unwrap().needs = vec![format!("w1/{}", number - 1)];
    }
    Plan::of(inventory(), steps)
}

/// An upload of its own each time, one second long.
fn slow_again(number: usize) -> Action {
    let artifact = Artifact { sha256: format!("file{number}"), ..artifact("naru-node") };
    Action::Upload { artifacts: vec![artifact], neighbours: Vec::new() }
}

fn executor<'a>(memory: &'a Memory, programs: &'a ProgramFiles) -> Executor<'a> {
    Executor {
        fleet: memory,
        programs,
        sink: &|_: &Event| {},
        commands: &Shell,
        limits: Limits::default(),
        interrupt: never(),
        owner: "test".to_owned(),
        lock_wait: None,
        random: Random::seeded(1),
    }
}

async fn run_long(memory: &Memory, plan: &Plan) -> Outcome {
    let name = |number: usize| if number == 0 { "naru-node".to_owned() } else { format!("file{number}") };
    let programs = ProgramFiles::new((0..60).map(|number| (name(number), "x".into())));
    let executor = executor(memory, &programs);
    let held = executor.lock(&plan.inventory).await.unwrap();
    executor.execute(&held, plan).await
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_took_over_stops_the_run() {
    let memory = Memory::default();
    let plan = long_plan();
    let taking = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        memory.change("cp1", |state| state.holder = Some((0, "ann".to_owned())));
    };
    let (outcome, ()) = tokio::join!(run_long(&memory, &plan), taking);
    assert_eq!(outcome.stopped, Some(Stopped::TakenOver { by: "held by ann".to_owned() }));
    assert!(outcome.failed.is_empty(), "running steps end: {:?}", outcome.failed);
    assert!(outcome.finish.succeeded < 20, "{:?}", outcome.finish);
    assert_eq!(outcome.finish.succeeded + outcome.skipped.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_connection_broke_is_taken_again() {
    let memory = Memory::default();
    let plan = long_plan();
    let breaking = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        memory.change("cp1", |state| state.is_dead = true);
        tokio::time::sleep(Duration::from_secs(20)).await;
        memory.change("cp1", |state| state.is_dead = false);
    };
    let (outcome, ()) = tokio::join!(run_long(&memory, &plan), breaking);
    assert!(outcome.is_success(), "{:?} {:?}", outcome.stopped, outcome.failed);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_does_not_come_back_ends_the_run() {
    let memory = Memory::default();
    let plan = long_plan();
    let breaking = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        memory.change("cp1", |state| state.is_dead = true);
    };
    let (outcome, ()) = tokio::join!(run_long(&memory, &plan), breaking);
    assert!(matches!(outcome.stopped, Some(Stopped::LockLost { .. })), "{:?}", outcome.stopped);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_knows_a_later_run_stops_this_one() {
    let memory = Memory::default();
    memory.change("w1", |state| state.fence = 9);
    let steps = vec![step("w1/a", nothing(), &[]), step("w2/a", nothing(), &["w2/b"]), step("w2/b", slow(), &[])];
    let (outcome, events) = run(&memory, &Plan::of(inventory(), steps)).await;
    assert!(matches!(&outcome.stopped, Some(Stopped::TakenOver { .. })), "{:?}", outcome.stopped);
    let error = only_error(&outcome);
    assert!(error.hint.as_deref().unwrap().contains("taken over"), "{error:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::StepRetried { .. })));
    assert_eq!(outcome.skipped, ["w2/a"], "the step that was running ended");
    assert!(!failed(FailureKind::Fenced, "x").is_transient());
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_every_host_that_answers_is_locked_and_fenced() {
    let memory = Memory::default();
    memory.change("cp1", |state| state.is_dead = true);
    memory.change("w1", |state| state.fence = 9);
    let programs = ProgramFiles::default();
    let executor = executor(&memory, &programs);
    assert!(matches!(executor.lock(&inventory()).await, Err(ExecuteError::NoMajority { .. })));
    let held = executor.lock_without_majority(&inventory()).await.unwrap();
    assert_eq!(held.granted_by(), ["w1", "w2"]);
    assert_eq!(held.fence(), 10, "one more than the highest that any of them knows");
    assert_eq!(memory.read("w2", |state| state.fence), 10, "an earlier run can do nothing there any more");
    let plan = Plan::of(inventory(), vec![step("w1/a", nothing(), &[]), step("w2/a", slow(), &[])]);
    let outcome = executor.execute(&held, &plan).await;
    assert!(outcome.stopped.is_none(), "{outcome:?}");
    // A second one who does the same is kept out, in the words of a host.
    match executor.lock_without_majority(&inventory()).await {
        Err(ExecuteError::Locked { host, detail }) => {
            assert_eq!((host.as_str(), detail.as_deref()), ("w1", Some("held by test")));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two at once"),
    }
    drop(held);
    assert_eq!(executor.lock_without_majority(&inventory()).await.unwrap().fence(), 11);
}
