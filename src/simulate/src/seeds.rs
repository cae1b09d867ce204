//! Seeds: each picks a scenario and what goes wrong in it. A seed that finds something is told with the command that
//! plays it again.

use std::collections::BTreeMap;

use crate::Random;
use crate::campaign::{Case, Totals, caught};
use crate::scenario::Scenario;

/// Variants of the hosts that a scenario is played on: Debian 12 or 13, with or without swap.
const VARIANTS: u64 = 3;

/// Cases that seeds share, made when the first of them wants one.
pub struct Seeds {
    scenarios: Vec<Scenario>,
    cases: BTreeMap<(String, u64), Case>,
    pub totals: Totals,
}

/// What a seed found.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    pub scenario: String,
    pub text: String,
}

impl Finding {
    /// How to see it again.
    #[must_use]
    pub fn command(&self) -> String {
        format!("cargo xtask simulate --seed {} --scenario {}", self.seed, self.scenario)
    }
}

impl Seeds {
    #[must_use]
    pub fn new(scenarios: Vec<Scenario>) -> Self {
        Self { scenarios, cases: BTreeMap::new(), totals: Totals::default() }
    }

    /// Plays one seed, with its trace if that is wanted.
    ///
    /// # Errors
    /// What it found.
    pub fn play(&mut self, seed: u64, is_traced: bool) -> Result<(), Finding> {
        let mut random = Random::new(seed);
        // Drawn also when there is only one to choose from, so that naming the scenario changes nothing else.
        let chosen = random.draw();
        let variant = random.below(VARIANTS);
        let count = u64::try_from(self.scenarios.len()).unwrap_or(1).max(1);
        let number = usize::try_from(chosen % count).unwrap_or_default();
        let Some(scenario) = self.scenarios.get(number).cloned() else { return Ok(()) };
        let found =
            |error: anyhow::Error| Finding { seed, scenario: scenario.name.clone(), text: format!("{error:#}") };
        let key = (scenario.name.clone(), variant);
        if !self.cases.contains_key(&key) {
            let case = Case::new(&scenario, variant).map_err(found)?;
            self.cases.insert(key.clone(), case);
        }
        let mut case = self.cases[&key].clone();
        case.totals = Totals::default();
        case.begin.is_traced = is_traced;
        let played = caught(|| case.random(&mut random));
        self.totals += case.totals;
        played.map_err(found)
    }
}
