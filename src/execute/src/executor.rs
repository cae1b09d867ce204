//! The graph: which step may run now, how often it is tried, what is left out because of a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use naru_agent::{FailureKind, Request, Response};
use naru_observe::{AgentError, Fleet};
use naru_plan::{Plan, Step};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::actions::World;
use crate::{Event, Finish, Sink, StepError};

/// All bounds on simultaneous work in one place.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Steps that run at the same time.
    pub steps: usize,
    /// Uploads that run at the same time; they share the operator's line.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 64, uploads: 8 }
    }
}

/// Tries of a step whose failures can pass.
const MAX_ATTEMPTS: u32 = 5;
/// Pause before the second try; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Files of the artifacts that a plan uploads, by hash.
#[derive(Debug, Clone, Default)]
pub struct ProgramFiles {
    files: BTreeMap<String, PathBuf>,
}

impl ProgramFiles {
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    #[must_use]
    pub fn path(&self, sha256: &str) -> Option<&Path> {
        self.files.get(sha256).map(PathBuf::as_path)
    }
}

/// Why nothing was done at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("another naru is changing this cluster")]
    Locked { host: String, detail: Option<String> },
    #[error("the lock on control plane {host} could not be taken")]
    Lock {
        host: String,
        #[source]
        source: AgentError,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub finish: Finish,
    /// Failed steps with their errors.
    pub failed: Vec<(String, StepError)>,
    /// Steps that were not tried.
    pub skipped: Vec<String>,
}

impl Outcome {
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// Executes plans.
pub struct Executor<'a> {
    pub fleet: &'a dyn Fleet,
    pub programs: &'a ProgramFiles,
    pub sink: &'a dyn Sink,
    pub limits: Limits,
    /// Becomes true when the operator wants to stop: running steps end, no new one starts.
    pub interrupt: watch::Receiver<bool>,
    /// Who holds the lock, for the message that somebody else gets.
    pub owner: String,
}

enum Ended {
    Succeeded,
    Failed(StepError),
}

impl Executor<'_> {
    /// # Errors
    /// When the lock cannot be had; nothing was changed then. Failed steps are part of the outcome.
    pub async fn execute(&self, plan: &Plan) -> Result<Outcome, ExecuteError> {
        let started = Instant::now();
        let uploads = Semaphore::new(self.limits.uploads);
        let world = World {
            inventory: &plan.inventory,
            fleet: self.fleet,
            programs: self.programs,
            sink: self.sink,
            uploads: &uploads,
        };
        self.lock(plan, &world).await?;
        self.sink.event(&Event::Started {
            cluster: plan.inventory.name().to_owned(),
            fingerprint: plan.fingerprint.clone(),
            steps: plan.steps.len(),
        });
        let mut outcome = self.run(plan, &world).await;
        outcome.finish.elapsed_ms = millis(started.elapsed());
        self.sink.event(&Event::Finished(outcome.finish));
        Ok(outcome)
    }

    /// Every control plane of the plan must grant the lock; its agent holds it until the connection ends.
    async fn lock(&self, plan: &Plan, world: &World<'_>) -> Result<(), ExecuteError> {
        for host in plan.inventory.control_planes() {
            let granted = match world.agent(&host.name).await {
                Ok(agent) => agent.call(Request::Lock { owner: self.owner.clone() }).await,
                Err(error) => Err(error),
            };
            match granted {
                Ok(Response::Locked { .. }) => {}
                Ok(_) => {
                    let source = AgentError::Unexpected { host: host.name.clone(), request: "the lock" };
                    return Err(ExecuteError::Lock { host: host.name.clone(), source });
                }
                Err(AgentError::Failed(failure)) if failure.kind == FailureKind::Locked => {
                    let detail = failure.detail.or(Some(failure.message));
                    return Err(ExecuteError::Locked { host: host.name.clone(), detail });
                }
                Err(source) => return Err(ExecuteError::Lock { host: host.name.clone(), source }),
            }
        }
        Ok(())
    }

    async fn run(&self, plan: &Plan, world: &World<'_>) -> Outcome {
        let mut waiting: Vec<&Step> = plan.steps.iter().collect();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut lost: BTreeSet<&str> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        let mut outcome = Outcome { finish: Finish::default(), failed: Vec::new(), skipped: Vec::new() };
        loop {
            outcome.finish.interrupted = *self.interrupt.borrow();
            if outcome.finish.interrupted {
                for step in waiting.drain(..) {
                    self.skip(step, "interrupted", &mut outcome);
                }
            }
            self.skip_lost(&mut waiting, &mut lost, &mut outcome);
            let mut index = 0;
            while index < waiting.len() && running.len() < self.limits.steps {
                if waiting[index].needs.iter().all(|need| done.contains(need.as_str())) {
                    let step = waiting.remove(index);
                    running.push(async move { (step, self.step(step, world).await) });
                } else {
                    index += 1;
                }
            }
            let Some((step, ended)) = running.next().await else { break };
            match ended {
                Ended::Succeeded => {
                    done.insert(&step.id);
                    outcome.finish.succeeded += 1;
                }
                Ended::Failed(error) => {
                    lost.insert(&step.id);
                    outcome.finish.failed += 1;
                    outcome.failed.push((step.id.clone(), error));
                }
            }
        }
        // A plan read from a file may name needs that do not exist; nothing of it may vanish silently.
        for step in waiting {
            self.skip(step, "a step that it needs is not part of the plan", &mut outcome);
        }
        outcome
    }

    /// Leaves out what needs something that failed, and what needs that.
    fn skip_lost<'p>(&self, waiting: &mut Vec<&'p Step>, lost: &mut BTreeSet<&'p str>, outcome: &mut Outcome) {
        loop {
            let next = waiting.iter().position(|step| step.needs.iter().any(|need| lost.contains(need.as_str())));
            let Some(index) = next else { return };
            let step = waiting.remove(index);
            let need = step.needs.iter().find(|need| lost.contains(need.as_str()));
            let because = format!("it needs {}", need.map_or("another step", String::as_str));
            lost.insert(&step.id);
            self.skip(step, &because, outcome);
        }
    }

    fn skip(&self, step: &Step, because: &str, outcome: &mut Outcome) {
        outcome.finish.skipped += 1;
        outcome.skipped.push(step.id.clone());
        let (id, host, title) = (step.id.clone(), step.host.clone(), step.title.clone());
        self.sink.event(&Event::StepSkipped { step: id, host, title, because: because.to_owned() });
    }

    async fn step(&self, step: &Step, world: &World<'_>) -> Ended {
        let started = Instant::now();
        let (id, host, title) = (step.id.clone(), step.host.clone(), step.title.clone());
        self.sink.event(&Event::StepStarted { step: id.clone(), host: host.clone(), title: title.clone() });
        let result = self.attempts(step, world).await;
        let elapsed_ms = millis(started.elapsed());
        match result {
            Ok(changes) => {
                self.sink.event(&Event::StepSucceeded { step: id, host, title, elapsed_ms, changes });
                Ended::Succeeded
            }
            Err(error) => {
                let error = StepError::from(&error);
                let told = error.clone();
                self.sink.event(&Event::StepFailed { step: id, host, title, elapsed_ms, error: told });
                Ended::Failed(error)
            }
        }
    }

    async fn attempts(&self, step: &Step, world: &World<'_>) -> Result<Vec<String>, AgentError> {
        let limit = Duration::from_secs(u64::from(step.deadline_seconds));
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let result = timeout(limit, world.perform(step)).await.unwrap_or_else(|_| {
                let (host, what) = (step.host.clone(), step.title.clone());
                Err(AgentError::Deadline { host, what, seconds: limit.as_secs() })
            });
            let error = match result {
                Ok(changes) => return Ok(changes),
                Err(error) => error,
            };
            if error.breaks_connection() {
                self.fleet.forget(error.host().unwrap_or(&step.host)).await;
            }
            if !error.is_transient() || attempt >= MAX_ATTEMPTS || *self.interrupt.borrow() {
                return Err(error);
            }
            let told = StepError::from(&error);
            self.sink.event(&Event::StepRetried { step: step.id.clone(), attempt, error: told });
            sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
