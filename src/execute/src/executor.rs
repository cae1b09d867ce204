//! The executor: takes the lock, runs the graph within its bounds, and stops cleanly when it has to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use naru_inventory::Inventory;
use naru_observe::Fleet;
use naru_plan::Plan;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::run::{Run, is_true, millis};
use crate::world::World;
use crate::{Commands, Event, ExecuteError, Finish, Held, Random, Sink, StepError};

/// All bounds on simultaneous work in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps that run at the same time.
    pub steps: usize,
    /// Files that are sent from here at the same time; they share the operator's line.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 64, uploads: 8 }
    }
}

/// Pause between two tries to get a lock that somebody else holds.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

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

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub finish: Finish,
    /// Failed steps with their errors.
    pub failed: Vec<(String, StepError)>,
    /// Steps that were not tried.
    pub skipped: Vec<String>,
    /// Why the run did not go on to its end, if it did not.
    pub stopped: Option<Stopped>,
}

/// Why no further step was begun although there were some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stopped", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stopped {
    Interrupted,
    /// Another run holds the lock now; who, in a host's words.
    TakenOver {
        by: String,
    },
    /// Too few control planes answer.
    LockLost {
        reason: String,
    },
}

impl Stopped {
    /// Why a step was left out, as the end of a sentence.
    #[must_use]
    pub fn because(&self) -> String {
        match self {
            Self::Interrupted => "interrupted".to_owned(),
            Self::TakenOver { by } => format!("the lock was taken over: {by}"),
            Self::LockLost { reason } => format!("the lock was lost: {reason}"),
        }
    }
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
    /// Runs hooks that are meant for the operator's machine.
    pub commands: &'a dyn Commands,
    pub limits: Limits,
    /// Becomes true when the operator wants to stop: running steps end, no new one starts.
    pub interrupt: watch::Receiver<bool>,
    /// Who holds the lock, for the message that somebody else gets. It must be of this run only.
    pub owner: String,
    /// How long a lock that somebody else holds is waited for; none: not at all.
    pub lock_wait: Option<Duration>,
    pub random: Random,
}

impl Executor<'_> {
    /// Takes the lock of the inventory's cluster. It is held until what this answers is dropped.
    ///
    /// # Errors
    /// When somebody else has it, or too few control planes answer.
    pub async fn lock(&self, inventory: &Inventory) -> Result<Held, ExecuteError> {
        let end = self.lock_wait.map(|wait| Instant::now() + wait);
        let mut interrupt = self.interrupt.clone();
        let mut told = String::new();
        loop {
            let (host, detail) = match Held::take(self.fleet, inventory, &self.owner).await {
                Err(ExecuteError::Locked { host, detail }) if end.is_some_and(|end| Instant::now() < end) => {
                    (host, detail)
                }
                done => return done,
            };
            let text = format!("waiting: {host} says: {}", detail.as_deref().unwrap_or("the lock is held"));
            if text != told {
                self.sink.event(&Event::Remark { text: text.clone() });
                told = text;
            }
            let pause = LOCK_PAUSE.mul_f64(self.random.between(0.5, 1.5));
            tokio::select! {
                () = sleep(pause) => {}
                () = is_true(&mut interrupt) => return Err(ExecuteError::Interrupted),
            }
        }
    }

    /// Takes the lock of every host that answers, for the end of a cluster whose control planes are gone: it keeps out
    /// others who do the same, and nobody who gets a majority of the control planes.
    ///
    /// # Errors
    /// When somebody else has the lock of one of them.
    pub async fn lock_without_majority(&self, inventory: &Inventory) -> Result<Held, ExecuteError> {
        Held::take_without_majority(self.fleet, inventory, &self.owner).await
    }

    /// Executes a plan under a lock. Failed steps are part of the outcome.
    pub async fn execute(&self, held: &Held, plan: &Plan) -> Outcome {
        let started = Instant::now();
        let world = World::new(self, plan);
        self.sink.event(&Event::Started {
            cluster: plan.inventory.name().to_owned(),
            fingerprint: plan.fingerprint.clone(),
            steps: plan.steps.len(),
        });
        let mut outcome = Run::new(self, plan, &world).through(held).await;
        outcome.finish.elapsed_ms = millis(started.elapsed());
        self.sink.event(&Event::Finished(outcome.finish));
        outcome
    }
}
