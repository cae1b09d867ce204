//! Every scenario: to the end, again, killed everywhere, every step twice, one fault at a time, two operators at once,
//! and whatever many seeds come up with.

#![expect(clippy::print_stdout, reason = "a test tells what it did")]

use naru_simulate::campaign::{Case, Totals};
use naru_simulate::seeds::Seeds;
use naru_simulate::{Fault, FaultKind, scenario};

const SEEDS: u64 = 1_200;

fn each(what: &str, play: impl Fn(&mut Case) -> anyhow::Result<()>) {
    let began = std::time::Instant::now();
    let mut totals = Totals::default();
    let mut wrong = Vec::new();
    for scenario in scenario::all() {
        let own = std::time::Instant::now();
        let played = Case::new(&scenario, 1).and_then(|mut case| {
            play(&mut case)?;
            totals += case.totals;
            Ok(())
        });
        if own.elapsed().as_secs() >= 3 {
            println!("    {what}: {} took {:.1} s", scenario.name, own.elapsed().as_secs_f64());
        }
        wrong.extend(played.err().map(|error| format!("{error:#}")));
    }
    assert!(wrong.is_empty(), "{what}: {}", wrong.join("\n\n"));
    println!("{what}: {totals:?} in {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn to_the_end_and_again() {
    each("to the end", |_| Ok(()));
}

#[test]
fn killed_everywhere() {
    // All points of small scenarios; of larger ones as many, at places that differ from scenario to scenario.
    const POINTS: u64 = 32;
    each("killed everywhere", |case| {
        let stride = case.points.div_ceil(POINTS).max(1);
        let first = case.scenario.name.len() as u64 % stride;
        let mut points = (first..case.points).step_by(stride as usize);
        points.try_for_each(|at_point| case.hit(vec![Fault { at_point, kind: FaultKind::Kill }]))
    });
}

#[test]
fn every_step_twice() {
    each("every step twice", Case::double);
}

#[test]
fn two_at_once() {
    each("two at once", |case| {
        for later_ms in [0, 50, 3_000] {
            case.compete(later_ms, Vec::new(), true)?;
            case.compete(later_ms, Vec::new(), false)?;
        }
        Ok(())
    });
}

#[test]
fn one_fault_everywhere() {
    let kinds = [
        FaultKind::DropRequest,
        FaultKind::DropAnswer,
        FaultKind::Fail { is_transient: true },
        FaultKind::Fail { is_transient: false },
        FaultKind::CrashAgent,
        FaultKind::Reboot,
        FaultKind::FillDisk,
    ];
    const STRIDE: u64 = 83;
    each("one fault everywhere", |case| {
        for (number, kind) in kinds.iter().enumerate() {
            for at_point in (number as u64..case.points).step_by(STRIDE as usize) {
                case.hit(vec![Fault { at_point, kind: kind.clone() }])?;
            }
        }
        Ok(())
    });
}

#[test]
fn many_seeds() {
    let began = std::time::Instant::now();
    let mut seeds = Seeds::new(scenario::all());
    for seed in 0..SEEDS {
        if let Err(finding) = seeds.play(seed, false) {
            panic!("seed {seed}: {}\n\nplay it again: {}", finding.text, finding.command());
        }
    }
    println!("{SEEDS} seeds: {:?} in {:.1} s", seeds.totals, began.elapsed().as_secs_f64());
}
