//! Situations that chance would seldom make: a holder of the lock who stands still while another takes over, and
//! commands of hooks that fail.

#![expect(clippy::unwrap_used, reason = "a test may stop")]

use std::time::Duration;

use naru_execute::Stopped;
use naru_simulate::campaign::Case;
use naru_simulate::operator::{Goal, Run, run};
use naru_simulate::scenario::{self, Scenario};
use naru_simulate::{Fault, FaultKind, State, difference, simulation};
use tokio::time::{Instant, sleep_until};

/// When the second operator begins, and when the first has long been awake again.
const SECOND: Duration = Duration::from_secs(200);
const PAUSE: Duration = Duration::from_secs(500);

fn named(name: &str) -> Scenario {
    scenario::all().into_iter().find(|scenario| scenario.name == name).unwrap()
}

struct Overtaken {
    first: Run,
    second: Run,
    /// The first held the lock when it was stopped.
    had_lock: bool,
    /// The world when the second had ended, and at last.
    between: State,
    end: State,
}

/// The first stands still at this point until the second has done everything.
fn overtaken(begin: &State, at_point: u64, first: &Goal, second: &Goal) -> Overtaken {
    let (first, second) = (first.clone(), second.clone());
    let faults = vec![Fault { at_point, kind: FaultKind::Pause { for_ms: PAUSE.as_millis() as u64 } }];
    let (parts, end) = simulation(begin.clone(), move |world| {
        Box::pin(async move {
            let (ann, bob) = (world.add_operator("ann", faults), world.add_operator("bob", Vec::new()));
            let start = Instant::now();
            let other = async {
                sleep_until(start + SECOND).await;
                let had_lock = world.fence(ann) > 0;
                let second = run(&world, bob, &second).await;
                (had_lock, second, world.end())
            };
            let (first, (had_lock, second, between)) = tokio::join!(run(&world, ann, &first), other);
            (first, had_lock, second, between)
        })
    });
    let (first, had_lock, second, between) = parts;
    Overtaken { first, second, had_lock, between, end }
}

/// Two wishes that each change every host, so that every host knows of whoever came last.
fn check_overtaken(of_first: &str, of_second: &str) {
    let case = Case::new(&named(of_first), 1).unwrap();
    let second = named(of_second).goal;
    let mut refused = 0;
    for at_point in 0..case.points {
        let played = overtaken(&case.begin, at_point, &case.scenario.goal, &second);
        assert_eq!(played.end.violations, Vec::<String>::new(), "stopped at point {at_point}");
        assert!(played.second.is_success(), "stopped at point {at_point}: {}", played.second.summary());
        let was_done = played.first.plan.as_ref().is_some_and(|plan| plan.is_empty()) || played.first.is_success();
        if !played.had_lock || was_done {
            continue;
        }
        let outcome = played.first.outcome.as_ref();
        let is_told = outcome.is_some_and(|outcome| matches!(outcome.stopped, Some(Stopped::TakenOver { .. })))
            || outcome.is_some_and(|outcome| outcome.failed.iter().any(|(_, e)| e.primary.contains("taken over")));
        refused += u64::from(is_told);
        let moved = difference(&played.between.canonical(), &played.end.canonical());
        assert_eq!(moved, Vec::<String>::new(), "stopped at point {at_point}, then went on");
    }
    assert!(refused * 2 > case.points, "{refused} of {} points: the first was seldom told", case.points);
}

#[test]
fn who_slept_through_the_loss_of_the_lock_changes_nothing_any_more() {
    check_overtaken("changed-domain", "kubelet-setting-for-one-host");
}

#[test]
fn a_new_cluster_is_not_finished_by_who_slept() {
    check_overtaken("fresh", "file-added");
}

/// The scenario with another command for one of its hooks.
fn with_command(scenario: &Scenario, hook: &str, command: &str) -> Goal {
    let mut goal = scenario.goal.clone();
    let hook = goal.inventory.spec.hooks.iter_mut().find(|one| one.name == hook).unwrap();
    command.clone_into(&mut hook.command);
    goal
}

fn play(state: State, goal: Goal) -> (Run, State) {
    simulation(state, move |world| {
        Box::pin(async move {
            let operator = world.add_operator("ann", Vec::new());
            run(&world, operator, &goal).await
        })
    })
}

fn commands<'a>(state: &'a State, host: &str) -> Vec<&'a str> {
    state.hooks.iter().filter(|ran| ran.host == host).map(|ran| ran.command.as_str()).collect()
}

#[test]
fn hooks_run_in_their_order_around_what_changes_and_not_at_rest() {
    let scenario = named("hooks");
    let mut begin = scenario.begin(1).unwrap();
    begin.hooks.clear();
    let (upgraded, state) = play(begin, scenario.goal.clone());
    assert!(upgraded.is_success(), "{}", upgraded.summary());
    assert_eq!(commands(&state, "cp1"), ["./silence.sh", "/usr/local/bin/check"]);
    let of_worker = ["./silence.sh", "systemctl stop app", "systemctl start app", "/usr/local/bin/check"];
    assert_eq!(commands(&state, "w1"), of_worker);
    assert_eq!(commands(&state, "w2"), of_worker);
    assert_eq!(state.violations, Vec::<String>::new());
    let count = state.hooks.len();
    let (again, state) = play(state, scenario.goal.clone());
    assert!(again.was_idle() && state.hooks.len() == count, "{:?}", state.hooks);
}

#[test]
fn a_host_whose_first_hook_fails_is_left_alone() {
    let scenario = named("hooks");
    for hook in ["silence-alerts", "stop-app"] {
        let begin = scenario.begin(1).unwrap();
        let worker = |state: &State| {
            let mut lines = state.canonical();
            lines.retain(|name, _| name.starts_with("w1 /") || name.starts_with("w1 unit"));
            lines
        };
        let before = worker(&begin);
        let (failed, state) = play(begin, with_command(&scenario, hook, "exit 3"));
        let outcome = failed.outcome.as_ref().unwrap();
        assert!(!outcome.failed.is_empty(), "{}", failed.summary());
        assert!(outcome.failed.iter().all(|(_, error)| error.primary == format!("hook {hook} ended with status 3")));
        assert_eq!(difference(&before, &worker(&state)), Vec::<String>::new());
        assert!(!commands(&state, "w1").contains(&"/usr/local/bin/check"), "{:?}", state.hooks);
        assert_eq!(state.violations, Vec::<String>::new());
        let (mended, state) = play(state, scenario.goal.clone());
        assert!(mended.is_success(), "{}", mended.summary());
        assert_eq!(commands(&state, "w1").last(), Some(&"/usr/local/bin/check"));
    }
}

#[test]
fn a_last_hook_that_fails_stops_no_further_batch_than_the_budget_says() {
    let scenario = named("hooks");
    let begin = scenario.begin(1).unwrap();
    let (failed, state) = play(begin, with_command(&scenario, "start-app", "exit 4"));
    let outcome = failed.outcome.as_ref().unwrap();
    let steps: Vec<&str> = outcome.failed.iter().map(|(step, _)| step.as_str()).collect();
    assert_eq!(steps, ["w1/after-upgrade-1"], "{}", failed.summary());
    // No worker may fail by default, so the second is not begun.
    assert_eq!(commands(&state, "w2"), Vec::<&str>::new());
    assert_eq!(state.violations, Vec::<String>::new());
}
