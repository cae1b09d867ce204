//! The graph of a plan while it runs: which steps may begin now, and which never will. Every step is touched once per
//! need and once per end, so that a plan of thousands of hosts costs no more per step than one of three.

use std::collections::{BTreeMap, BTreeSet};

use naru_plan::{Action, Plan, Step};

/// A step that is not going to be tried, and why.
pub(crate) struct Skipped<'p> {
    pub(crate) step: &'p Step,
    pub(crate) because: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

#[derive(Default)]
struct Batch {
    steps: Vec<usize>,
    /// Steps that have not ended.
    left: usize,
    has_begun: bool,
    /// Steps whose needs are met while an earlier batch is under way.
    held: Vec<usize>,
}

pub(crate) struct Graph<'p> {
    plan: &'p Plan,
    state: Vec<State>,
    /// Needs of each step that have not succeeded yet.
    unmet: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
    ready_uploads: BTreeSet<usize>,
    /// Batches of which steps are left.
    batches: BTreeMap<u32, Batch>,
    hosts_of_batches: BTreeSet<&'p str>,
    failed_workers: BTreeSet<&'p str>,
    skipped: Vec<Skipped<'p>>,
    /// Steps that have not begun.
    waiting: usize,
}

impl<'p> Graph<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        let count = plan.steps.len();
        let mut graph = Self {
            plan,
            state: vec![State::Waiting; count],
            unmet: vec![0; count],
            dependents: vec![Vec::new(); count],
            ready: BTreeSet::new(),
            ready_uploads: BTreeSet::new(),
            batches: BTreeMap::new(),
            hosts_of_batches: plan.steps.iter().filter(|step| step.batch.is_some()).map(|step| &*step.host).collect(),
            failed_workers: BTreeSet::new(),
            skipped: Vec::new(),
            waiting: count,
        };
        let numbers: BTreeMap<&str, usize> =
            plan.steps.iter().enumerate().map(|(number, step)| (step.id.as_str(), number)).collect();
        let mut orphans = Vec::new();
        for (number, step) in plan.steps.iter().enumerate() {
            let needs: BTreeSet<&str> = step.needs.iter().map(String::as_str).collect();
            graph.unmet[number] = needs.len();
            for need in needs {
                match numbers.get(need) {
                    Some(needed) => graph.dependents[*needed].push(number),
                    // A plan read from a file may name what does not exist; nothing of it may vanish silently.
                    None => orphans.push((number, format!("it needs {need}, which is not part of the plan"))),
                }
            }
            if let Some(batch) = step.batch {
                let batch = graph.batches.entry(batch).or_default();
                batch.steps.push(number);
                batch.left += 1;
            }
        }
        for (number, because) in orphans {
            graph.skip(number, because);
        }
        for number in 0..count {
            graph.offer(number);
        }
        graph.advance();
        graph
    }

    /// The next step that may begin: an upload, or anything else. It counts as running from now on.
    pub(crate) fn take(&mut self, is_upload: bool) -> Option<(usize, &'p Step)> {
        let ready = if is_upload { &mut self.ready_uploads } else { &mut self.ready };
        let number = ready.pop_first()?;
        self.state[number] = State::Running;
        self.waiting -= 1;
        let step = &self.plan.steps[number];
        if let Some(batch) = step.batch.and_then(|batch| self.batches.get_mut(&batch)) {
            batch.has_begun = true;
        }
        Some((number, step))
    }

    pub(crate) fn succeeded(&mut self, number: usize) {
        self.end(number);
        for dependent in std::mem::take(&mut self.dependents[number]) {
            self.unmet[dependent] -= 1;
            self.offer(dependent);
        }
        self.advance();
    }

    pub(crate) fn failed(&mut self, number: usize) {
        let step = &self.plan.steps[number];
        if self.hosts_of_batches.contains(step.host.as_str()) {
            self.failed_workers.insert(&step.host);
        }
        self.end(number);
        self.lose_dependents(number);
        self.advance();
    }

    /// Whether every step has begun or been given up.
    pub(crate) fn is_used_up(&self) -> bool {
        self.waiting == 0
    }

    /// Nothing that has not begun will begin any more.
    pub(crate) fn stop(&mut self, because: &str) {
        for number in 0..self.state.len() {
            if self.state[number] == State::Waiting {
                self.retire(number, because.to_owned());
            }
        }
    }

    /// Steps that were given up since the last question.
    pub(crate) fn take_skipped(&mut self) -> Vec<Skipped<'p>> {
        std::mem::take(&mut self.skipped)
    }

    /// Puts a step whose needs are met where it is taken from, unless its batch has to wait.
    fn offer(&mut self, number: usize) {
        if self.state[number] != State::Waiting || self.unmet[number] > 0 {
            return;
        }
        let step = &self.plan.steps[number];
        let first = self.batches.first_key_value().map(|(batch, _)| *batch);
        match step.batch {
            Some(batch) if first.is_some_and(|first| batch > first) || self.is_over_budget(batch) => {
                self.batches.entry(batch).or_default().held.push(number);
            }
            _ => {
                let is_upload = matches!(step.action, Action::Upload { .. });
                let ready = if is_upload { &mut self.ready_uploads } else { &mut self.ready };
                ready.insert(number);
            }
        }
    }

    fn is_over_budget(&self, batch: u32) -> bool {
        let has_begun = self.batches.get(&batch).is_some_and(|batch| batch.has_begun);
        !has_begun && self.failed_workers.len() > self.plan.max_failures as usize
    }

    /// Opens the next batch once the one before it has ended, or gives all further ones up.
    fn advance(&mut self) {
        while let Some(mut first) = self.batches.first_entry() {
            if first.get().left == 0 {
                first.remove();
                continue;
            }
            let (batch, held) = (*first.key(), std::mem::take(&mut first.get_mut().held));
            if self.is_over_budget(batch) {
                self.give_up_batches();
                continue;
            }
            for number in held {
                self.offer(number);
            }
            return;
        }
    }

    fn give_up_batches(&mut self) {
        let names = self.failed_workers.iter().copied().collect::<Vec<_>>().join(", ");
        let because = format!(
            "{} failed ({names}) where {} may: no further batch is begun",
            counted(self.failed_workers.len(), "worker"),
            self.plan.max_failures
        );
        let numbers: Vec<usize> = self.batches.values().flat_map(|batch| batch.steps.iter().copied()).collect();
        for number in numbers {
            if self.state[number] == State::Waiting {
                self.skip(number, because.clone());
            }
        }
    }

    fn end(&mut self, number: usize) {
        self.state[number] = State::Ended;
        if let Some(batch) = self.plan.steps[number].batch.and_then(|batch| self.batches.get_mut(&batch)) {
            batch.left -= 1;
        }
    }

    /// Gives a step up, and what needs it.
    fn skip(&mut self, number: usize, because: String) {
        if self.state[number] == State::Waiting {
            self.retire(number, because);
            self.lose_dependents(number);
        }
    }

    fn retire(&mut self, number: usize, because: String) {
        self.waiting -= 1;
        self.ready.remove(&number);
        self.ready_uploads.remove(&number);
        self.end(number);
        self.skipped.push(Skipped { step: &self.plan.steps[number], because });
    }

    fn lose_dependents(&mut self, number: usize) {
        let mut lost = vec![number];
        while let Some(number) = lost.pop() {
            let because = format!("it needs {}", self.plan.steps[number].id);
            for dependent in std::mem::take(&mut self.dependents[number]) {
                if self.state[dependent] == State::Waiting {
                    self.retire(dependent, because.clone());
                    lost.push(dependent);
                }
            }
        }
    }
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}
