//! A run under way: begins what may begin, hears what has ended, and stops when it is asked to or has lost the lock.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use naru_plan::{Plan, Step};
use tokio::sync::watch;

use crate::graph::Graph;
use crate::lock::Standing;
use crate::step::{self, Ended};
use crate::world::World;
use crate::{Event, Executor, Finish, Held, Outcome, Stopped};

pub(crate) struct Run<'e, 'p> {
    executor: &'e Executor<'e>,
    world: &'e World<'p>,
    graph: Graph<'p>,
    /// Steps that are running, uploads and others.
    uploads: usize,
    others: usize,
    outcome: Outcome,
}

impl<'e, 'p> Run<'e, 'p> {
    pub(crate) fn new(executor: &'e Executor<'e>, plan: &'p Plan, world: &'e World<'p>) -> Self {
        let outcome = Outcome { finish: Finish::default(), failed: Vec::new(), skipped: Vec::new(), stopped: None };
        Self { executor, world, graph: Graph::new(plan), uploads: 0, others: 0, outcome }
    }

    pub(crate) async fn through(mut self, held: &Held) -> Outcome {
        let (standing, mut watched) = watch::channel(Standing::Held);
        let keeping = held.keep(self.executor.fleet, &standing);
        tokio::pin!(keeping);
        let mut interrupt = self.executor.interrupt.clone();
        let (executor, world) = (self.executor, self.world);
        let mut running = FuturesUnordered::new();
        loop {
            let is_interrupted = *interrupt.borrow_and_update();
            let stands = watched.borrow_and_update().clone();
            self.stop_if_asked(is_interrupted, &stands);
            if stands == Standing::Held && self.outcome.stopped.is_none() {
                while let Some((number, step, is_upload)) = self.begin() {
                    running.push(async move { (number, step, is_upload, step::run(executor, world, step).await) });
                }
            }
            self.tell_skipped();
            let waits_for_lock = stands == Standing::Weak && !self.graph.is_used_up();
            if running.is_empty() && !waits_for_lock {
                break;
            }
            tokio::select! {
                biased;
                Some((number, step, is_upload, ended)) = running.next(), if !running.is_empty() => {
                    self.ended(number, step, is_upload, ended);
                }
                () = is_true(&mut interrupt), if self.outcome.stopped.is_none() => {}
                _ = watched.changed(), if self.outcome.stopped.is_none() => {}
                () = &mut keeping => {}
            }
        }
        // What is left now can only be steps that wait for each other.
        self.graph.stop("what it needs waits for it");
        self.tell_skipped();
        self.outcome
    }

    fn begin(&mut self) -> Option<(usize, &'p Step, bool)> {
        let limits = self.executor.limits;
        if self.others < limits.steps.max(1)
            && let Some((number, step)) = self.graph.take(false)
        {
            self.others += 1;
            return Some((number, step, false));
        }
        // Those that wait for a neighbour or for the line cost nothing.
        if self.uploads < limits.steps.max(1)
            && let Some((number, step)) = self.graph.take(true)
        {
            self.uploads += 1;
            return Some((number, step, true));
        }
        None
    }

    fn ended(&mut self, number: usize, step: &Step, is_upload: bool, ended: Ended) {
        let running = if is_upload { &mut self.uploads } else { &mut self.others };
        *running -= 1;
        match ended {
            Ended::Succeeded => {
                self.outcome.finish.succeeded += 1;
                self.graph.succeeded(number);
            }
            Ended::Failed { error, is_fenced } => {
                self.outcome.finish.failed += 1;
                if is_fenced {
                    self.stop(Stopped::TakenOver { by: error.primary.clone() });
                }
                self.outcome.failed.push((step.id.clone(), error));
                self.graph.failed(number);
            }
        }
    }

    fn stop_if_asked(&mut self, is_interrupted: bool, standing: &Standing) {
        match standing {
            Standing::TakenOver(by) => self.stop(Stopped::TakenOver { by: by.clone() }),
            Standing::Lost(reason) => self.stop(Stopped::LockLost { reason: reason.clone() }),
            Standing::Held | Standing::Weak if is_interrupted => self.stop(Stopped::Interrupted),
            Standing::Held | Standing::Weak => {}
        }
    }

    fn stop(&mut self, stopped: Stopped) {
        if self.outcome.stopped.is_some() || self.graph.is_used_up() {
            return;
        }
        self.outcome.finish.interrupted = true;
        self.graph.stop(&stopped.because());
        self.outcome.stopped = Some(stopped);
    }

    fn tell_skipped(&mut self) {
        for skipped in self.graph.take_skipped() {
            let (step, because) = (skipped.step, skipped.because);
            self.outcome.finish.skipped += 1;
            self.outcome.skipped.push(step.id.clone());
            let (step, host, title) = (step.id.clone(), step.host.clone(), step.title.clone());
            self.executor.sink.event(&Event::StepSkipped { step, host, title, because });
        }
    }
}

/// Waits until it is true; for ever if nobody can make it so any more.
pub(crate) async fn is_true(receiver: &mut watch::Receiver<bool>) {
    if receiver.wait_for(|is_so| *is_so).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
