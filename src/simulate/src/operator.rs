//! One run of an operator, by the real code: lock, observe, plan, execute. It may be killed anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, poll_fn};
use naru_agent::Facts;
use naru_execute::{Commands, Event, ExecuteError, Executor, Limits, Outcome, ProgramFiles, Random};
use naru_inventory::{Hook, Host, Inventory};
use naru_observe::{AgentError, ObserveOptions, observe};
use naru_plan::{Action, Options, Plan, Programs, Step, desired, plan};
use naru_resources::Disruption;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::fault::FaultKind;
use crate::watch::{Watch, doubled};
use crate::world::{COMMAND_MS, Passage, command_status};
use crate::{SimulatedFleet, World};

/// What an operator wants.
#[derive(Debug, Clone)]
pub struct Goal {
    pub inventory: Inventory,
    pub programs: Programs,
    pub options: Options,
    /// How long a lock that somebody else holds is waited for.
    pub lock_wait: Option<Duration>,
    /// Every step is done twice.
    pub is_doubled: bool,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Run {
    /// Absent when it never came to one.
    pub plan: Option<Plan>,
    pub outcome: Option<Outcome>,
    /// Why nothing was done at all.
    pub refusal: Option<String>,
    /// The refusal was that control planes do not answer.
    pub has_no_majority: bool,
    pub events: Vec<Event>,
    pub was_killed: bool,
    /// Planned changes that steps which succeeded did not tell of.
    pub undone: Vec<String>,
}

impl Run {
    /// Everything that was planned was done, and nothing was left out.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.is_done() && self.plan.as_ref().is_some_and(|plan| !plan.is_incomplete())
    }

    /// Everything that was planned was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let done = self.outcome.as_ref().is_none_or(Outcome::is_success);
        done && self.plan.is_some() && !self.was_killed && self.refusal.is_none()
    }

    /// Nothing was begun, because too few control planes answer.
    #[must_use]
    pub fn found_nobody(&self) -> bool {
        self.has_no_majority && !self.was_killed
    }

    /// There was nothing to do.
    #[must_use]
    pub fn was_idle(&self) -> bool {
        self.plan.as_ref().is_some_and(Plan::is_empty)
    }

    fn refuse(&mut self, error: &ExecuteError) {
        self.has_no_majority = matches!(error, ExecuteError::NoMajority { .. });
        self.refusal = Some(match error {
            ExecuteError::Locked { host, detail } => {
                format!("{error}: {host}: {}", detail.as_deref().unwrap_or_default())
            }
            _ => error.to_string(),
        });
    }

    /// In a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        let failed = |outcome: &Outcome| {
            let failed = outcome.failed.iter().map(|(step, error)| {
                format!("{step}: {} {}", error.primary, error.detail.as_deref().unwrap_or_default())
            });
            failed.collect::<Vec<_>>().join("; ")
        };
        let steps = self.plan.as_ref().map(|plan| plan.steps.len());
        let notes: Vec<&str> = self.plan.iter().flat_map(|plan| &plan.notes).map(|note| note.text.as_str()).collect();
        format!(
            "killed {} refusal {:?} steps {steps:?} failed [{}] skipped {} notes {notes:?}",
            self.was_killed,
            self.refusal,
            self.outcome.as_ref().map(failed).unwrap_or_default(),
            self.outcome.as_ref().map_or(0, |outcome| outcome.skipped.len()),
        )
    }
}

/// Runs until the end, or until a fault kills the operator; then everything that it held falls away.
pub async fn run(world: &Arc<World>, operator: usize, goal: &Goal) -> Run {
    let seen = Mutex::new(Run::default());
    {
        let mut work = pin!(work(world, operator, goal, &seen));
        loop {
            let killed = pin!(world.killed.notified());
            tokio::select! {
                biased;
                () = killed => {
                    if world.is_killed(operator) {
                        seen.lock().was_killed = true;
                        break;
                    }
                }
                () = awake(world, operator, work.as_mut()) => break,
            }
        }
    }
    seen.into_inner()
}

/// Goes on with the work unless the operator stands still; then nothing of it goes on, its timers neither.
async fn awake(world: &World, operator: usize, mut work: Pin<&mut impl Future<Output = ()>>) {
    let mut nap: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        while let Some(end) = world.pause_end(operator) {
            let nap = nap.get_or_insert_with(|| Box::pin(sleep_until(end)));
            nap.as_mut().reset(end);
            if nap.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        work.as_mut().poll(context)
    })
    .await;
}

/// What runs on an operator's own machine.
struct OwnMachine {
    world: Arc<World>,
    operator: usize,
}

impl Commands for OwnMachine {
    fn run<'a>(
        &'a self,
        hook: &'a Hook,
        _environment: BTreeMap<String, String>,
        host: &'a str,
    ) -> BoxFuture<'a, Result<(i32, String), AgentError>> {
        Box::pin(async move {
            let mut status = command_status(&hook.command);
            // Once before it begins, once when it has ended and nobody knows yet.
            for is_over in [false, true] {
                match self.world.pass(self.operator, host) {
                    Passage::Hit(FaultKind::Kill | FaultKind::KillUnnoticed { .. } | FaultKind::Freeze) => {
                        std::future::pending::<()>().await;
                    }
                    Passage::Hit(FaultKind::Fail { .. }) if !is_over => status = 1,
                    _ => {}
                }
                if !is_over {
                    sleep(Duration::from_millis(COMMAND_MS)).await;
                    self.world.with(|state| state.hook_ended(self.operator, host, &hook.command, status));
                }
            }
            Ok((status, String::new()))
        })
    }
}

async fn work(world: &Arc<World>, operator: usize, goal: &Goal, seen: &Mutex<Run>) {
    let fleet = SimulatedFleet::new(world, operator);
    let watch = Mutex::new(Watch::default());
    let sink = |event: &Event| {
        let (wrong, step) = {
            let mut watch = watch.lock();
            (watch.see(event), watch.step_of(event).cloned())
        };
        world.with(|state| {
            match (event, step) {
                (Event::StepStarted { .. }, Some(step)) => state.step_began(operator, &step),
                (Event::StepSucceeded { .. }, Some(step)) => state.step_ended(operator, &step, false),
                (Event::StepFailed { .. }, Some(step)) => state.step_ended(operator, &step, true),
                _ => {}
            }
            state.note(|| shown(event));
            let secret = state.secrets.values().find(|secret| tells(event, secret)).cloned();
            wrong
                .into_iter()
                .chain(secret.map(|_| "an event tells a secret".to_owned()))
                .for_each(|text| state.violation(text));
        });
        seen.lock().events.push(event.clone());
    };
    let programs = files(&goal.programs);
    let (_interrupt, interrupted) = watch::channel(false);
    let executor = Executor {
        fleet: &fleet,
        programs: &programs,
        sink: &sink,
        commands: &OwnMachine { world: world.clone(), operator },
        limits: Limits::default(),
        interrupt: interrupted,
        owner: world.owner(operator),
        lock_wait: goal.lock_wait,
        random: Random::seeded(operator as u64),
    };
    let held = match executor.lock(&goal.inventory).await {
        Ok(held) => held,
        Err(error) => {
            seen.lock().refuse(&error);
            return;
        }
    };
    let desire = |host: &Host, facts: &Facts| {
        desired(&goal.inventory, host, facts, &goal.programs).map(|desired| desired.resources())
    };
    let clock = world.clone();
    let options =
        ObserveOptions { clock: Arc::new(move || clock.with(|state| state.unix_ms())), ..ObserveOptions::default() };
    let observation = observe(&goal.inventory, &fleet, &desire, &options, &|_, _| {}).await;
    let mut planned = plan(&goal.inventory, &observation, &goal.programs, &goal.options);
    check_plan(world, &planned);
    if goal.is_doubled {
        planned = doubled(&planned);
    }
    *watch.lock() = Watch::new(&planned);
    seen.lock().plan = Some(planned.clone());
    world.announce(operator, &planned, announced(&planned.steps));
    if planned.is_empty() || planned.is_refused() {
        return;
    }
    let outcome = executor.execute(&held, &planned).await;
    let mut seen = seen.lock();
    seen.undone = watch.lock().undone(&seen.events);
    seen.outcome = Some(outcome);
}

/// What no plan may be like, whatever it is for.
fn check_plan(world: &World, plan: &Plan) {
    let text = serde_json::to_string(plan).unwrap_or_default();
    let has_only_hooks = plan.steps.iter().all(|step| matches!(step.action, Action::Hook { .. }));
    world.with(|state| {
        if state.secrets.values().any(|secret| text.contains(secret)) {
            state.violation("the plan tells a secret".to_owned());
        }
        if has_only_hooks && !plan.is_empty() {
            state.violation("hooks are planned where nothing else is to be done".to_owned());
        }
    });
}

/// Units that a plan says it will start, restart or stop.
fn announced(steps: &[Step]) -> BTreeSet<(String, String)> {
    let of_step = |step: &Step| {
        let host = step.host.clone();
        let units = step.disruptions.iter().filter_map(|disruption| match disruption {
            Disruption::StartUnit(unit) | Disruption::RestartUnit(unit) | Disruption::StopUnit(unit) => {
                Some(unit.clone())
            }
            _ => None,
        });
        units.map(move |unit| (host.clone(), unit)).collect::<Vec<_>>()
    };
    steps.iter().flat_map(of_step).collect()
}

/// The files of the programs; nobody reads them, the world knows what is in them.
fn files(programs: &Programs) -> ProgramFiles {
    let all = programs.versions.values().flat_map(|version| [&version.node, &version.control_plane]);
    ProgramFiles::new(all.map(|artifact| (artifact.sha256.clone(), format!("/programs/{}", artifact.name).into())))
}

/// Sizes and versions of programs, as the world wants to know them.
#[must_use]
pub fn known_programs(programs: &Programs) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
    let (mut sizes, mut versions) = (BTreeMap::new(), BTreeMap::new());
    for (version, of_version) in &programs.versions {
        for artifact in [&of_version.node, &of_version.control_plane] {
            sizes.insert(artifact.sha256.clone(), artifact.size_bytes);
            versions.insert(artifact.sha256.clone(), version.clone());
        }
    }
    (sizes, versions)
}

fn tells(event: &Event, secret: &str) -> bool {
    serde_json::to_string(event).unwrap_or_default().contains(secret)
}

fn shown(event: &Event) -> String {
    let text = serde_json::to_string(event).unwrap_or_default();
    text.chars().take(300).collect()
}
