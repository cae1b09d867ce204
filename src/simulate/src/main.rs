//! The simulator as a program: `cargo xtask simulate`. Without anything it plays many seeds and prints the totals;
//! with a seed it plays that one and prints everything that happened.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use naru_simulate::campaign::Case;
use naru_simulate::seeds::Seeds;
use naru_simulate::{Fault, FaultKind, scenario};

const SEEDS: u64 = 3_000;

#[derive(Parser)]
#[command(name = "cargo xtask simulate", about = "Play what can go wrong, on a fleet in memory")]
struct Arguments {
    /// Play this seed only, and print everything that happens
    #[arg(long)]
    seed: Option<u64>,
    /// Play seeds from zero up to this number
    #[arg(long, default_value_t = SEEDS, conflicts_with = "seed")]
    seeds: u64,
    /// Play only this scenario
    #[arg(long)]
    scenario: Option<String>,
    /// Kill the operator at this point of the scenario, run again, and print everything that happens
    #[arg(long, requires = "scenario", conflicts_with = "seed")]
    kill: Option<u64>,
    /// Go on after a seed that finds something
    #[arg(long)]
    keep_going: bool,
    /// Print the scenarios' names
    #[arg(long)]
    list: bool,
}

#[expect(clippy::print_stdout, reason = "this is the face of the simulator")]
fn say(text: &str) {
    println!("{text}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let named = |scenario: &scenario::Scenario| arguments.scenario.as_ref().is_none_or(|name| scenario.name == *name);
    let scenarios: Vec<_> = scenario::all().into_iter().filter(named).collect();
    if scenarios.is_empty() {
        say("no such scenario; --list names them");
        return ExitCode::FAILURE;
    }
    if arguments.list {
        scenarios.iter().for_each(|scenario| say(&scenario.name));
        return ExitCode::SUCCESS;
    }
    if let (Some(at_point), Some(scenario)) = (arguments.kill, scenarios.first()) {
        return kill(scenario, at_point);
    }
    let began = Instant::now();
    let mut seeds = Seeds::new(scenarios);
    let (first, end) = arguments.seed.map_or((0, arguments.seeds), |seed| (seed, seed + 1));
    let mut found = 0_u64;
    for seed in first..end {
        if let Err(finding) = seeds.play(seed, arguments.seed.is_some()) {
            found += 1;
            say(&format!("seed {seed}: {}\n\nplay it again: {}\n", finding.text, finding.command()));
            if !arguments.keep_going {
                return ExitCode::FAILURE;
            }
        }
    }
    say(&format!("{} seeds, {:?}, in {:.1} s", end - first, seeds.totals, began.elapsed().as_secs_f64()));
    if found > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn kill(scenario: &scenario::Scenario, at_point: u64) -> ExitCode {
    let hit = Case::new(scenario, 1).and_then(|mut case| {
        case.begin.is_traced = true;
        case.hit(vec![Fault { at_point, kind: FaultKind::Kill }])
    });
    match hit {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
