//! What is done with a scenario: played to the end, killed at every point, repeated, hit by faults, by two at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::operator::{Run, run};
use crate::scenario::Scenario;
use crate::{Fault, FaultKind, State, World, difference, simulation};

/// Tries after a run that was hit.
const MAX_TRIES: usize = 4;
/// Between two tries, for what passes by itself.
const PAUSE_SECONDS: u64 = 90;

/// What was done, for the totals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub runs: u64,
    pub steps: u64,
    pub requests: u64,
    pub changes: u64,
}

impl Totals {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.steps += run.outcome.as_ref().map_or(0, |outcome| outcome.finish.succeeded as u64);
    }
}

/// A scenario with the world that it begins in and the one that it should end in.
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
    pub fn new(scenario: &Scenario, seed: u64, is_traced: bool) -> Result<Self> {
        let mut begin = scenario.begin(seed)?;
        begin.is_traced = is_traced;
        let goal = scenario.goal.clone();
        let ((first, points), middle) = simulation(begin.clone(), move |world| {
            Box::pin(async move {
                let operator = world.add_operator("ann", Vec::new());
                let first = run(&world, operator, &goal).await;
                (first, world.places(operator).len())
            })
        });
        let mut case = Self {
            scenario: scenario.clone(),
            begin,
            wanted: BTreeMap::new(),
            points: points as u64,
            totals: Totals::default(),
        };
        case.totals.add(&first);
        sound(&middle, &format!("{}: undisturbed", scenario.name))?;
        if !first.is_success() {
            bail!("{}: undisturbed: {}", scenario.name, first.summary());
        }
        let (second, end) = case.again(middle, "bob");
        case.wanted = end.canonical();
        if !second.was_idle() {
            let left = second.plan.map(|plan| plan.steps).unwrap_or_default();
            let left: Vec<String> =
                left.iter().map(|step| format!("{} {:?}", step.id, step.changes)).collect();
            bail!("{}: a second run has something to do: {left:#?}", scenario.name);
        }
        case.check(&end, "undisturbed")?;
        Ok(case)
    }

    /// Runs once more, after a pause in which everything is mended.
    fn again(&mut self, mut state: State, name: &str) -> (Run, State) {
        state.heal();
        let goal = self.scenario.goal.clone();
        let name = name.to_owned();
        let (run, state) = simulation(state, move |world| {
            Box::pin(async move {
                tokio::time::sleep(std::time::Duration::from_secs(PAUSE_SECONDS)).await;
                let operator = world.add_operator(&name, Vec::new());
                run(&world, operator, &goal).await
            })
        });
        self.totals.add(&run);
        (run, state)
    }

    /// Runs with this fault, then as often as it takes, and compares the end.
    ///
    /// # Errors
    /// When it does not come to the same end, or something happened on the way that must not.
    pub fn hit(&mut self, kind: FaultKind, at_point: u64) -> Result<()> {
        let fault = Fault { at_point, kind };
        let what = fault.to_string();
        let goal = self.scenario.goal.clone();
        let (first, mut state) = simulation(self.begin.clone(), move |world| {
            Box::pin(async move {
                let operator = world.add_operator("ann", vec![fault]);
                run(&world, operator, &goal).await
            })
        });
        self.totals.add(&first);
        self.checked(&state, &what)?;
        let mut last = first;
        for _ in 0..MAX_TRIES {
            let (next, after) = self.again(state, "bob");
            state = after;
            self.checked(&state, &what)?;
            last = next;
            if last.is_success() && last.was_idle() {
                return self.check(&state, &what);
            }
        }
        bail!("{} ({what}): not done after {MAX_TRIES} more runs: {}{}", self.scenario.name, last.summary(), tail(&state))
    }

    fn checked(&self, state: &State, what: &str) -> Result<()> {
        sound(state, &format!("{} ({what})", self.scenario.name))
    }

    fn check(&self, state: &State, what: &str) -> Result<()> {
        self.checked(state, what)?;
        let found = difference(&self.wanted, &state.canonical());
        if !found.is_empty() {
            bail!("{} ({what}): another end:\n{}{}", self.scenario.name, found.join("\n"), tail(state));
        }
        let stale: Vec<String> = state
            .machines
            .values()
            .flat_map(|machine| machine.stale_units().into_iter().map(|unit| format!("{} {unit}", machine.name)))
            .collect();
        if !stale.is_empty() {
            bail!("{} ({what}): runs with something old: {stale:?}{}", self.scenario.name, tail(state));
        }
        Ok(())
    }
}

fn sound(state: &State, what: &str) -> Result<()> {
    if state.violations.is_empty() {
        return Ok(());
    }
    bail!("{what}: {}{}", state.violations.join("\n"), tail(state))
}

fn tail(state: &State) -> String {
    if state.trace.is_empty() { String::new() } else { format!("\n--- trace\n{}", state.trace.join("\n")) }
}

/// Keeps a world to the type that closures take it as.
pub type SharedWorld = Arc<World>;
