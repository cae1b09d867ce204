//! The simulator as a program: `cargo xtask simulate`. Without anything it plays many seeds and prints the totals;
//! with a seed it plays that one and prints everything that happened.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use naru_simulate::campaign::{Case, SINGLE_FAULTS, Totals};
use naru_simulate::scenario;
use naru_simulate::seeds::Seeds;

const SEEDS: u64 = 3_000;

#[derive(Parser)]
#[command(name = "cargo xtask simulate", about = "Play what can go wrong, on a fleet in memory")]
struct Arguments {
    /// Play this seed only, and print everything that happens
    #[arg(long)]
    seed: Option<u64>,
    /// Play seeds up to this number
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<u64>,
    /// Play only this scenario; without anything else: killed at every point, every single fault at every point, every
    /// step twice, two operators at once
    #[arg(long)]
    scenario: Option<String>,
    /// Kill the operator at this point of the scenario, run again, and print everything that happens
    #[arg(long, requires = "scenario", conflicts_with = "seed")]
    kill: Option<u64>,
    /// Try the single fault with this number at this point of the scenario, and print everything that happens
    #[arg(long, value_name = "NUMBER@POINT", value_parser = fault, requires = "scenario", conflicts_with = "seed")]
    fault: Option<(usize, u64)>,
    /// The first of the seeds
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Go on after something was found
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
    let began = Instant::now();
    let told = match (scenarios.first(), arguments.kill, arguments.fault) {
        (Some(scenario), Some(at_point), _) => told(scenario, |case| traced(case).kill(at_point)),
        (Some(scenario), _, Some((number, at_point))) => told(scenario, |case| traced(case).fault(number, at_point)),
        (Some(scenario), ..) if arguments.scenario.is_some() && arguments.seed.or(arguments.seeds).is_none() => {
            told(scenario, |case| everything(case, arguments.keep_going))
        }
        _ => seeds(&arguments, scenarios),
    };
    say(&format!("simulated: {}, in {:.1} s", told.1, began.elapsed().as_secs_f64()));
    told.0
}

/// `NUMBER@POINT`.
fn fault(text: &str) -> Result<(usize, u64), String> {
    let parts = text.split_once('@').and_then(|(number, point)| Some((number.parse().ok()?, point.parse().ok()?)));
    parts.ok_or_else(|| "a number and a point, as 6@57".to_owned())
}

fn seeds(arguments: &Arguments, scenarios: Vec<scenario::Scenario>) -> (ExitCode, String) {
    let mut seeds = Seeds::new(scenarios);
    let (first, end) =
        arguments.seed.map_or((arguments.from, arguments.seeds.unwrap_or(SEEDS)), |seed| (seed, seed + 1));
    let mut code = ExitCode::SUCCESS;
    let mut played = 0_u64;
    for seed in first..end {
        played += 1;
        if let Err(finding) = seeds.play(seed, arguments.seed.is_some()) {
            say(&format!("seed {seed}: {}\n\nplay it again: {}\n", finding.text, finding.command()));
            code = ExitCode::FAILURE;
            if !arguments.keep_going {
                break;
            }
        }
    }
    (code, format!("{played} seeds, {}", seeds.totals))
}

fn traced(case: &mut Case) -> &mut Case {
    case.begin.is_traced = true;
    case
}

fn everything(case: &mut Case, keeps_going: bool) -> anyhow::Result<()> {
    case.double()?;
    case.two_at_once()?;
    let mut found = 0_usize;
    let mut tell = |played: anyhow::Result<()>| match played {
        Err(error) if keeps_going => {
            say(&format!("{error:#}\n"));
            found += 1;
            Ok(())
        }
        other => other,
    };
    for at_point in 0..case.points {
        tell(case.kill(at_point))?;
        for number in 0..SINGLE_FAULTS.len() {
            tell(case.fault(number, at_point))?;
        }
    }
    anyhow::ensure!(found == 0, "{found} times something was found");
    Ok(())
}

fn told(scenario: &scenario::Scenario, play: impl FnOnce(&mut Case) -> anyhow::Result<()>) -> (ExitCode, String) {
    let mut totals = Totals::default();
    let done = Case::new(scenario, 1).and_then(|mut case| {
        let done = play(&mut case);
        totals = case.totals;
        done
    });
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    (code, totals.to_string())
}
