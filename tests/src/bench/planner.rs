//! The planner alone: a pure function, called in this process.

use std::time::Instant;

use anyhow::{Result, ensure};
use naru_e2e::say;
use naru_plan::{Options, Programs, plan};
use naru_simulate::StillFleet;

use crate::provision::inventory;

const RUNS: u32 = 3;

pub(crate) fn run(programs: &Programs) -> Result<()> {
    say("\nthe planner alone");
    for count in [1_000, 5_000] {
        let inventory = naru_inventory::parse("bench", &inventory(count, "", ""))?;
        let fleet = StillFleet::converged(&inventory, programs)?;
        let still = fleet.observation(&inventory, programs);
        let bare = StillFleet::bare(&inventory).observation(&inventory, programs);
        for (what, observation, is_empty) in [("nothing to do", still, true), ("all hosts bare", bare, false)] {
            let started = Instant::now();
            let mut made = None;
            for _ in 0..RUNS {
                made = Some(plan(&inventory, &observation, programs, &Options::default()));
            }
            let seconds = started.elapsed().as_secs_f64() / f64::from(RUNS);
            let steps = made.map_or(0, |made| made.steps.len());
            ensure!((steps == 0) == is_empty, "{count} hosts, {what}: {steps} steps");
            say(&format!("    {count:>5} hosts, {what:<16} {:8.1} ms, {steps:>6} steps", seconds * 1e3));
        }
    }
    Ok(())
}
