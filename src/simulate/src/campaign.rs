//! What is done with a scenario: played to the end, killed at every point, every step twice, hit by faults, by two
//! operators at once, and by whatever a seed comes up with.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use naru_plan::Plan;
use naru_plan::scenarios::Outcome;
use tokio::time::sleep;

use crate::operator::{Goal, Run, run};
use crate::scenario::Scenario;
use crate::{Fault, FaultKind, Random, State, difference, simulation};

/// Tries after a run that was hit.
const MAX_TRIES: usize = 5;
/// Between two tries, for what passes by itself.
const PAUSE: Duration = Duration::from_secs(90);
/// How often somebody looks during the pause.
const LOOKS: u32 = 4;
/// How long the second of two operators waits for the lock.
const LOCK_WAIT: Duration = Duration::from_secs(4 * 3600);
/// A fault may come after the last point of the undisturbed run: a run that was hit before passes more of them.
const FAULT_SPREAD: u64 = 2;
const MAX_FAULTS: u64 = 3;
/// How far a clock jumps, forwards or back.
const MAX_SKEW_SECONDS: u64 = 120;

/// What was done, for the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub runs: u64,
    pub steps: u64,
    pub requests: u64,
    pub changes: u64,
    /// Points at which an operator was killed, one in a run.
    pub kill_points: u64,
    /// Faults that took effect.
    pub faults: u64,
}

/// Faults that are tried one at a time.
pub const SINGLE_FAULTS: [FaultKind; 8] = [
    FaultKind::DropRequest,
    FaultKind::DropAnswer,
    FaultKind::SwallowAnswer,
    FaultKind::Fail { is_transient: true },
    FaultKind::Fail { is_transient: false },
    FaultKind::CrashAgent,
    FaultKind::Reboot,
    FaultKind::FillDisk,
];

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, steps, kill_points, faults, .. } = self;
        write!(formatter, "{runs} runs, {steps} steps, {kill_points} kill points, {faults} faults")
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.requests += other.requests;
        self.changes += other.changes;
        self.kill_points += other.kill_points;
        self.faults += other.faults;
    }
}

/// A scenario with the world that it begins in and the one that it should end in.
#[derive(Clone)]
pub struct Case {
    pub scenario: Scenario,
    pub begin: State,
    pub wanted: BTreeMap<String, String>,
    /// Points that an undisturbed run passes.
    pub points: u64,
    pub totals: Totals,
}

impl Case {
    /// Plays the scenario undisturbed, twice: the second run finds nothing to do.
    ///
    /// # Errors
    /// When anything is not as it must be.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        let begin = scenario.begin(seed)?;
        let mut case =
            Self { scenario: scenario.clone(), begin, wanted: BTreeMap::new(), points: 0, totals: Totals::default() };
        let (first, middle) = case.play(case.begin.clone(), "ann", Vec::new(), &case.scenario.goal.clone());
        case.points = middle.points_passed;
        case.checked(&middle, "undisturbed")?;
        case.check_outcome(&first)?;
        ensure!(first.undone.is_empty(), "{}: planned, but not done: {:?}", scenario.name, first.undone);
        let (second, end) = case.again(middle, "bob");
        case.wanted = end.canonical();
        if !second.was_idle() && !second.found_nobody() {
            let left = second.plan.map(|plan| plan.steps).unwrap_or_default();
            let left: Vec<String> = left.iter().map(|step| format!("{} {:?}", step.id, step.changes)).collect();
            bail!("{}: a second run has something to do: {left:#?}", scenario.name);
        }
        case.check(&end, "undisturbed")?;
        Ok(case)
    }

    /// The undisturbed run ends as the scenario says.
    fn check_outcome(&self, run: &Run) -> Result<()> {
        let plan = run.plan.as_ref();
        let as_said = match self.scenario.outcome {
            Outcome::Nothing => run.was_idle() && run.is_success(),
            Outcome::Changes => !run.was_idle() && run.is_success(),
            Outcome::Incomplete => run.found_nobody() || (run.is_done() && plan.is_some_and(Plan::is_incomplete)),
            Outcome::Refused => run.found_nobody() || (run.was_idle() && plan.is_some_and(Plan::is_refused)),
        };
        let name = &self.scenario.name;
        ensure!(as_said, "{name}: undisturbed, to be {:?}: {}", self.scenario.outcome, run.summary());
        Ok(())
    }

    /// So many control planes are dead for good that nobody gets the lock.
    fn is_without_majority(&self) -> bool {
        let all: Vec<_> = self.scenario.goal.inventory.control_planes().collect();
        let dead = all.iter().filter(|host| self.begin.dead.contains(&host.name)).count();
        dead * 2 >= all.len()
    }

    fn play(&mut self, mut state: State, name: &str, faults: Vec<Fault>, goal: &Goal) -> (Run, State) {
        let (goal, name) = (goal.clone(), name.to_owned());
        state.points_passed = 0;
        let before = (state.requests, state.changes);
        let (run, state) = simulation(state, move |world| {
            Box::pin(async move {
                let operator = world.add_operator(&name, faults);
                run(&world, operator, &goal).await
            })
        });
        self.count(&run, before, &state);
        (run, state)
    }

    fn count(&mut self, run: &Run, before: (u64, u64), state: &State) {
        self.totals.runs += 1;
        self.totals.steps += run.outcome.as_ref().map_or(0, |outcome| outcome.finish.succeeded as u64);
        self.totals.requests += state.requests - before.0;
        self.totals.changes += state.changes - before.1;
        self.totals.faults += state.faults_met;
    }

    /// Runs once more, after a pause in which everything is mended.
    fn again(&mut self, mut state: State, name: &str) -> (Run, State) {
        state.heal();
        let ((), rested) = simulation(state, |world| {
            Box::pin(async move {
                // What happens by itself happens when somebody looks.
                for _ in 0..LOOKS {
                    sleep(PAUSE / LOOKS).await;
                    world.with(|_| ());
                }
            })
        });
        self.play(rested, name, Vec::new(), &self.scenario.goal.clone())
    }

    /// Every step is performed twice; the end is the same.
    ///
    /// # Errors
    /// When it is not.
    pub fn double(&mut self) -> Result<()> {
        let goal = Goal { is_doubled: true, ..self.scenario.goal.clone() };
        let (doubled, state) = self.play(self.begin.clone(), "ann", Vec::new(), &goal);
        ensure!(
            doubled.is_done() || doubled.found_nobody(),
            "{}: every step twice: {}",
            self.scenario.name,
            doubled.summary()
        );
        self.converge(state, "every step twice")
    }

    /// Runs with these faults, then as often as it takes, and compares the end.
    ///
    /// # Errors
    /// When it does not come to the same end, or something happened on the way that must not.
    pub fn hit(&mut self, faults: Vec<Fault>) -> Result<()> {
        let what: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let what = what.join(", ");
        let (_, state) = self.play(self.begin.clone(), "ann", faults, &self.scenario.goal.clone());
        self.converge(state, &what)
    }

    /// The operator is killed at this point, and run again.
    ///
    /// # Errors
    /// As for `hit`, with the command that plays it again.
    pub fn kill(&mut self, at_point: u64) -> Result<()> {
        self.totals.kill_points += 1;
        let command =
            format!("play it again: cargo xtask simulate --scenario {} --kill {at_point}", self.scenario.name);
        caught(|| self.hit(vec![Fault { at_point, kind: FaultKind::Kill }])).context(command)
    }

    /// The single fault with this number, at this point.
    ///
    /// # Errors
    /// As for `hit`, with the command that plays it again.
    pub fn fault(&mut self, number: usize, at_point: u64) -> Result<()> {
        let kind = SINGLE_FAULTS[number % SINGLE_FAULTS.len()].clone();
        let name = &self.scenario.name;
        let command = format!("play it again: cargo xtask simulate --scenario {name} --fault {number}@{at_point}");
        caught(|| self.hit(vec![Fault { at_point, kind }])).context(command)
    }

    /// Two operators, the second later and later, waiting for the lock or not.
    ///
    /// # Errors
    /// As for `compete`.
    pub fn two_at_once(&mut self) -> Result<()> {
        for later_ms in [0, 50, 3_000] {
            self.compete(later_ms, Vec::new(), true)?;
            self.compete(later_ms, Vec::new(), false)?;
        }
        Ok(())
    }

    /// Two operators want the same at once, the second a moment later; faults hit the first.
    ///
    /// # Errors
    /// As for `hit`; and when, without faults, either fails.
    pub fn compete(&mut self, later_ms: u64, faults: Vec<Fault>, waits: bool) -> Result<()> {
        let what = format!("two at once, the second {later_ms} ms later, waiting {waits}, {faults:?}");
        let mut state = self.begin.clone();
        let is_quiet = faults.is_empty();
        state.is_strict = is_quiet;
        let before = (state.requests, state.changes);
        let first_goal = self.scenario.goal.clone();
        let second_goal = Goal { lock_wait: waits.then_some(LOCK_WAIT), ..first_goal.clone() };
        let ((first, second), state) = simulation(state, move |world| {
            Box::pin(async move {
                let (ann, bob) = (world.add_operator("ann", faults), world.add_operator("bob", Vec::new()));
                let first = run(&world, ann, &first_goal);
                let second = async {
                    sleep(Duration::from_millis(later_ms)).await;
                    run(&world, bob, &second_goal).await
                };
                tokio::pin!(first, second);
                tokio::select! {
                    biased;
                    first = &mut first => (Some(first), second.await),
                    second = &mut second => {
                        // The first may stand still for ever.
                        let first = tokio::time::timeout(LOCK_WAIT, first).await;
                        (first.ok(), second)
                    }
                }
            })
        });
        self.count(&second, before, &state);
        self.checked(&state, &what)?;
        if is_quiet {
            let without = self.is_without_majority();
            let first_done = without || first.as_ref().is_some_and(Run::is_done);
            ensure!(first_done, "{} ({what}): {:?}", self.scenario.name, first.map(|run| run.summary()));
            let refused = second.refusal.as_ref().is_some_and(|text| text.contains("ann"));
            let fine = without || second.is_done() || (!waits && refused);
            ensure!(fine, "{} ({what}): the second: {}{}", self.scenario.name, second.summary(), tail(&state));
        }
        self.converge(state, &what)
    }

    /// Whatever this seed comes up with.
    ///
    /// # Errors
    /// When something is wrong.
    pub fn random(&mut self, random: &mut Random) -> Result<()> {
        let count = random.between(1, MAX_FAULTS + 1);
        let faults: Vec<Fault> = (0..count).map(|_| self.any_fault(random)).collect();
        match random.below(8) {
            0 => self.compete(random.below(30_000), Vec::new(), random.one_in(2)),
            1 | 2 => self.compete(random.below(60_000), faults, random.one_in(2)),
            _ => self.hit(faults),
        }
    }

    fn any_fault(&self, random: &mut Random) -> Fault {
        let at_point = random.below(self.points * FAULT_SPREAD);
        let kinds = [
            FaultKind::Kill,
            FaultKind::Kill,
            FaultKind::KillUnnoticed { after_ms: random.between(1_000, 90_000) },
            FaultKind::Pause { for_ms: random.between(1_000, 300_000) },
            FaultKind::DropRequest,
            FaultKind::DropAnswer,
            FaultKind::SwallowAnswer,
            FaultKind::Fail { is_transient: true },
            FaultKind::Fail { is_transient: false },
            FaultKind::CrashAgent,
            FaultKind::Reboot,
            FaultKind::PowerOff,
            FaultKind::FillDisk,
            FaultKind::SlowDisk { factor: random.between(10, 400) },
            FaultKind::Skew {
                seconds: random.below(2 * MAX_SKEW_SECONDS).cast_signed() - MAX_SKEW_SECONDS.cast_signed(),
            },
            FaultKind::Isolate { for_ms: random.between(1_000, 300_000) },
            FaultKind::Lie,
        ];
        let kind = random.choose(&kinds).cloned().unwrap_or(FaultKind::Kill);
        Fault { at_point, kind }
    }

    /// Runs until there is nothing left to do, and compares the end.
    fn converge(&mut self, mut state: State, what: &str) -> Result<()> {
        self.checked(&state, what)?;
        state.is_strict = false;
        let mut last = String::new();
        for _ in 0..MAX_TRIES {
            let (next, after) = self.again(state, "eve");
            state = after;
            self.checked(&state, what)?;
            let finds_nobody = self.is_without_majority() && next.found_nobody();
            let is_whole = matches!(self.scenario.outcome, Outcome::Nothing | Outcome::Changes);
            let is_settled = next.was_idle() && if is_whole { next.is_success() } else { next.is_done() };
            if finds_nobody || is_settled {
                return self.check(&state, what);
            }
            last = next.summary();
        }
        let name = &self.scenario.name;
        bail!("{name} ({what}): not done after {MAX_TRIES} more runs: {last}{}", tail(&state))
    }

    fn checked(&self, state: &State, what: &str) -> Result<()> {
        if state.violations.is_empty() {
            return Ok(());
        }
        bail!("{} ({what}): {}{}", self.scenario.name, state.violations.join("\n"), tail(state))
    }

    fn check(&self, state: &State, what: &str) -> Result<()> {
        self.checked(state, what)?;
        // A refusal may rest on something that a fault hid for a while; then only what must never happen is looked at.
        let was_hit = self.totals.faults > 0;
        if was_hit && matches!(self.scenario.outcome, Outcome::Refused | Outcome::Incomplete) {
            return Ok(());
        }
        let found = difference(&self.wanted, &state.canonical());
        if !found.is_empty() {
            bail!("{} ({what}): another end:\n{}{}", self.scenario.name, found.join("\n"), tail(state));
        }
        let stale: Vec<String> = state
            .machines
            .values()
            // On a host that has left, others may run what they like.
            .filter(|machine| self.scenario.goal.inventory.present_hosts().any(|host| host.name == machine.name))
            .flat_map(|machine| machine.stale_units().into_iter().map(|unit| format!("{} {unit}", machine.name)))
            .collect();
        ensure!(stale.is_empty(), "{} ({what}): runs with something old: {stale:?}{}", self.scenario.name, tail(state));
        Ok(())
    }
}

/// Whoever panics has found something as well.
pub(crate) fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        bail!("panicked: {}", text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default())
    })
}

fn tail(state: &State) -> String {
    if state.trace.is_empty() { String::new() } else { format!("\n--- trace\n{}", state.trace.join("\n")) }
}
