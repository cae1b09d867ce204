//! Every scenario: to the end, again, killed at its points, every step twice, one fault at a time, two operators at
//! once, and whatever many seeds come up with. With all processors, and with the totals at the end.
//!
//! Of large scenarios a part of the points is played, the same one at every commit; a number in `NARU_SIMULATE_TURN`
//! chooses another part. `cargo xtask simulate --scenario NAME` plays all of them.

#![expect(clippy::print_stdout, reason = "a test tells what it did")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use naru_simulate::campaign::{Case, SINGLE_FAULTS, Totals};
use naru_simulate::scenario::{self, Scenario};
use naru_simulate::seeds::Seeds;

const SEEDS: u64 = 2_000;
/// Seeds that one thread takes at a time.
const SEEDS_TOGETHER: u64 = 100;
/// Scenarios of no more points are killed at all of them.
const KILL_POINTS: u64 = 60;
/// Points at which each single fault is tried.
const FAULT_POINTS: u64 = 3;
const SLOW: Duration = Duration::from_secs(5);

struct Scene {
    scenario: Scenario,
    case: OnceLock<Result<Case, String>>,
}

#[derive(Clone, Copy)]
enum Job<'a> {
    Scene(&'a Scene, &'static str, Play),
    Seeds(u64),
}

type Play = fn(&mut Case, u64) -> anyhow::Result<()>;

const PLAYS: [(&str, Play); 5] = [
    ("to the end and again", |_, _| Ok(())),
    ("every step twice", |case, _| case.double()),
    ("two at once", |case, _| case.two_at_once()),
    ("killed", |case, turn| some(case.points, KILL_POINTS, turn).try_for_each(|at_point| case.kill(at_point))),
    ("one fault", |case, turn| {
        (0..SINGLE_FAULTS.len()).try_for_each(|number| {
            // Different faults at different points.
            some(case.points, FAULT_POINTS, turn + number as u64).try_for_each(|at_point| case.fault(number, at_point))
        })
    }),
];

/// So many of these points, spread evenly; another turn takes others.
fn some(points: u64, count: u64, turn: u64) -> impl Iterator<Item = u64> {
    let stride = points.div_ceil(count).max(1);
    (turn % stride..points).step_by(usize::try_from(stride).unwrap_or(usize::MAX))
}

fn played(job: Job<'_>, turn: u64, seeds: &mut Seeds) -> Result<Totals, String> {
    match job {
        Job::Scene(scene, what, play) => {
            let mut is_first = false;
            let case = scene.case.get_or_init(|| {
                is_first = true;
                Case::new(&scene.scenario, 1).map_err(|error| format!("{error:#}"))
            });
            let mut case = case.clone().map_err(|error| if is_first { error } else { String::new() })?;
            // What the undisturbed run did counts once.
            if !is_first {
                case.totals = Totals::default();
            }
            play(&mut case, turn).map_err(|error| format!("{what}: {error:#}"))?;
            Ok(case.totals)
        }
        Job::Seeds(first) => {
            seeds.totals = Totals::default();
            for seed in first..first + SEEDS_TOGETHER {
                if let Some(found) = seeds.play(seed, false).err() {
                    return Err(format!("seed {seed}: {}\nplay it again: {}", found.text, found.command()));
                }
            }
            Ok(seeds.totals)
        }
    }
}

fn main() -> ExitCode {
    let began = Instant::now();
    let turn = std::env::var("NARU_SIMULATE_TURN").ok().and_then(|turn| turn.parse().ok()).unwrap_or(0);
    let scenes: Vec<Scene> =
        scenario::all().into_iter().map(|scenario| Scene { scenario, case: OnceLock::new() }).collect();
    let of_scene = |scene| PLAYS.iter().map(move |(what, play)| Job::Scene(scene, what, *play));
    let mut jobs: Vec<Job<'_>> =
        (0..SEEDS).step_by(usize::try_from(SEEDS_TOGETHER).unwrap_or(1)).map(Job::Seeds).collect();
    jobs.extend(scenes.iter().flat_map(of_scene));
    let (next, totals, wrong) = (AtomicUsize::new(0), Mutex::new(Totals::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut seeds = Seeds::new(scenario::all());
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let own = Instant::now();
                    match played(*job, turn, &mut seeds) {
                        Ok(did) => *totals.lock().unwrap_or_else(PoisonError::into_inner) += did,
                        Err(text) => wrong.lock().unwrap_or_else(PoisonError::into_inner).push(text),
                    }
                    if let (true, Job::Scene(scene, what, _)) = (own.elapsed() > SLOW, job) {
                        println!("{what}: {} took {:.1} s", scene.scenario.name, own.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    wrong.retain(|text| !text.is_empty());
    wrong.iter().for_each(|text| println!("{text}\n"));
    println!("simulated: {SEEDS} seeds, {totals}, in {:.1} s (turn {turn})", began.elapsed().as_secs_f64());
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
