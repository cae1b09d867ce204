//! One step: its tries, its deadline, its events.

use std::time::Duration;

use naru_agent::FailureKind;
use naru_observe::AgentError;
use naru_plan::{Action, Step};
use tokio::time::{Instant, sleep, timeout};

use crate::run::millis;
use crate::world::World;
use crate::{Event, Executor, StepError};

/// Tries of a step whose failures can pass.
const MAX_ATTEMPTS: u32 = 6;
/// Pause before the second try; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

pub(crate) enum Ended {
    Succeeded,
    Failed {
        error: StepError,
        /// A host knows of a later holder of the lock.
        is_fenced: bool,
    },
}

pub(crate) async fn run(executor: &Executor<'_>, world: &World<'_>, step: &Step) -> Ended {
    let started = Instant::now();
    let (id, host, title) = (step.id.clone(), step.host.clone(), step.title.clone());
    executor.sink.event(&Event::StepStarted { step: id.clone(), host: host.clone(), title: title.clone() });
    let result = attempts(executor, world, step).await;
    let elapsed_ms = millis(started.elapsed());
    match result {
        Ok(changes) => {
            executor.sink.event(&Event::StepSucceeded { step: id, host, title, elapsed_ms, changes });
            Ended::Succeeded
        }
        Err(error) => {
            let is_fenced = error.is(FailureKind::Fenced);
            let error = StepError::from(&error);
            executor.sink.event(&Event::StepFailed { step: id, host, title, elapsed_ms, error: error.clone() });
            Ended::Failed { error, is_fenced }
        }
    }
}

async fn attempts(executor: &Executor<'_>, world: &World<'_>, step: &Step) -> Result<Vec<String>, AgentError> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let error = match once(world, step).await {
            Ok(changes) => return Ok(changes),
            Err(error) => error,
        };
        if error.breaks_connection() {
            executor.fleet.forget(error.host().unwrap_or(&step.host)).await;
        }
        if !error.is_transient() || attempt >= MAX_ATTEMPTS || *executor.interrupt.borrow() {
            return Err(error);
        }
        let told = StepError::from(&error);
        executor.sink.event(&Event::StepRetried { step: step.id.clone(), attempt, error: told });
        sleep(pause.mul_f64(executor.random.between(0.75, 1.25))).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        attempt += 1;
    }
}

async fn once(world: &World<'_>, step: &Step) -> Result<Vec<String>, AgentError> {
    // An upload waits for its turn, which is not its fault: it keeps the deadline for each file.
    if matches!(step.action, Action::Upload { .. }) {
        return world.perform(step).await;
    }
    let limit = Duration::from_secs(u64::from(step.deadline_seconds));
    timeout(limit, world.perform(step)).await.unwrap_or_else(|_| Err(out_of_time(step)))
}

pub(crate) fn out_of_time(step: &Step) -> AgentError {
    let (host, what) = (step.host.clone(), step.title.clone());
    AgentError::Deadline { host, what, seconds: u64::from(step.deadline_seconds) }
}
