//! The end-to-end suites, run by a plain runner, two at a time where the computer has room: each suite owns a cluster
//! under a name of its own, its cases build on each other, and a failed case ends its suite. Called by
//! `cargo xtask e2e [SUITE…]`.
//!
//! For whoever looks for a fault: `NARU_E2E_KEEP=1` leaves machines and folder as they are at the end,
//! `NARU_E2E_AGAIN=N` then begins with case N on them, `NARU_E2E_GO_ON=1` goes on after a failed case.

mod bad_targets;
mod bare_metal;
mod changes;
mod faults;
mod first_cluster;
mod interruption;
mod kubectl;
mod provisioning;
mod revert;
mod smoke;
mod ssh;
mod workload;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use naru_e2e::{Context, say, speak_as};
use naru_machines::Provider;

/// A step of a suite. It may build on the steps before it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Context) -> Result<()>,
}

struct Suite {
    name: &'static str,
    cases: Vec<Case>,
}

fn suites() -> Vec<Suite> {
    vec![
        Suite {
            name: "first-cluster",
            cases: [
                first_cluster::cases(),
                kubectl::cases(),
                workload::cases(),
                faults::cases(),
                vec![Case { name: "deleting the machines leaves nothing", run: first_cluster::leaves_nothing }],
            ]
            .concat(),
        },
        Suite { name: "provisioning", cases: provisioning::cases() },
        Suite { name: "interruption", cases: interruption::cases() },
        Suite { name: "changes", cases: changes::cases() },
        Suite { name: "ssh", cases: ssh::cases() },
        Suite { name: "smoke", cases: smoke::cases() },
        Suite { name: "bare-metal", cases: bare_metal::cases() },
        Suite { name: "bad-targets", cases: bad_targets::cases() },
    ]
}

/// How many suites run at the same time: `NARU_E2E_JOBS`, or two where there is memory for the machines of both. Most
/// of a suite's time is waiting.
fn jobs() -> usize {
    const MEMORY_KILOBYTES: u64 = 6_000_000;
    if let Some(jobs) = std::env::var("NARU_E2E_JOBS").ok().and_then(|text| text.parse().ok()) {
        return jobs;
    }
    let memory = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    if kilobytes > MEMORY_KILOBYTES { 2 } else { 1 }
}

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let known = suites();
    if let Some(unknown) = asked.iter().find(|name| !known.iter().any(|suite| suite.name == *name)) {
        let names: Vec<&str> = known.iter().map(|suite| suite.name).collect();
        say(&format!("there is no suite {unknown:?}; known: {}", names.join(", ")));
        return ExitCode::from(2);
    }
    let wanted = known.iter().filter(|suite| asked.is_empty() || asked.iter().any(|name| name == suite.name));
    let queue: Mutex<VecDeque<&Suite>> = Mutex::new(wanted.collect());
    let waiting = queue.lock().unwrap_or_else(PoisonError::into_inner).len();
    let jobs = jobs().clamp(1, waiting.max(1));
    let work = || {
        let (mut passed, mut failed) = (0, 0);
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(suite) = next else { return (passed, failed) };
            if jobs > 1 {
                speak_as(&format!("{:<14}", suite.name));
            }
            let (of_passed, of_failed) = run(suite);
            passed += of_passed;
            failed += of_failed;
        }
    };
    let (passed, failed) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        // A suite that panics is a failed one.
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap_or((0, 1)));
        outcomes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(suite: &Suite) -> (usize, usize) {
    say(&format!("suite {}", suite.name));
    let begun = Instant::now();
    let again: Option<usize> = std::env::var("NARU_E2E_AGAIN").ok().and_then(|text| text.parse().ok());
    let name = format!("e2e-{}", suite.name);
    let context = match if again.is_some() { Context::new(&name) } else { Context::fresh(&name) } {
        Ok(context) => context,
        Err(error) => {
            say(&format!("  FAILED to begin: {error:#}"));
            return (0, suite.cases.len());
        }
    };
    if again.is_none() {
        // An earlier run may have been killed in the middle.
        clean(&context);
    }
    let mut passed = 0;
    for case in suite.cases.iter().skip(again.unwrap_or(1).saturating_sub(1)) {
        let start = Instant::now();
        let outcome = (case.run)(&context);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                say(&format!("  ok      {:<60} {seconds:6.1} s", case.name));
            }
            Err(error) => {
                say(&format!("  FAILED  {:<60} {seconds:6.1} s\n{error:#}", case.name));
                context.diagnose();
                if std::env::var_os("NARU_E2E_GO_ON").is_none() {
                    break;
                }
            }
        }
    }
    if std::env::var_os("NARU_E2E_KEEP").is_none() {
        clean(&context);
    }
    say(&format!("  suite {} took {:.0} s", suite.name, begun.elapsed().as_secs_f64()));
    (passed, suite.cases.len() - passed)
}

fn clean(context: &Context) {
    if let Err(error) = context.machines.delete(&context.name) {
        say(&format!("  machines of {} could not be removed: {error}", context.name));
    }
}
