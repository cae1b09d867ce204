//! The end-to-end suites, run in order by a plain runner: each suite owns a cluster under a name of its own, its cases
//! build on each other, and a failed case ends its suite. Called by `cargo xtask e2e [SUITE…]`.

mod bad_targets;
mod bare_metal;
mod faults;
mod first_cluster;
mod interruption;
mod kubectl;
mod workload;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use naru_e2e::{Context, say};
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
        Suite { name: "bad-targets", cases: bad_targets::cases() },
        Suite { name: "bare-metal", cases: bare_metal::cases() },
        Suite { name: "interruption", cases: interruption::cases() },
    ]
}

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let known = suites();
    if let Some(unknown) = asked.iter().find(|name| !known.iter().any(|suite| suite.name == *name)) {
        let names: Vec<&str> = known.iter().map(|suite| suite.name).collect();
        say(&format!("there is no suite {unknown:?}; known: {}", names.join(", ")));
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0, 0);
    for suite in known.iter().filter(|suite| asked.is_empty() || asked.iter().any(|name| name == suite.name)) {
        let (of_passed, of_failed) = run(suite);
        passed += of_passed;
        failed += of_failed;
    }
    say(&format!("{passed} passed, {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(suite: &Suite) -> (usize, usize) {
    say(&format!("suite {}", suite.name));
    let context = match Context::new(&format!("e2e-{}", suite.name)) {
        Ok(context) => context,
        Err(error) => {
            say(&format!("  FAILED to begin: {error:#}"));
            return (0, suite.cases.len());
        }
    };
    // An earlier run may have been killed in the middle.
    clean(&context);
    let mut passed = 0;
    for case in &suite.cases {
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
                break;
            }
        }
    }
    if std::env::var_os("NARU_E2E_KEEP").is_none() {
        clean(&context);
    }
    (passed, suite.cases.len() - passed)
}

fn clean(context: &Context) {
    if let Err(error) = context.machines.delete(&context.name) {
        say(&format!("  machines of {} could not be removed: {error}", context.name));
    }
}
