//! What the executor's own events must show: no step before its needs, batches one after the other, and nothing done
//! that was not planned.

use std::collections::{BTreeMap, BTreeSet};

use naru_execute::Event;
use naru_inventory::Role;
use naru_plan::{Action, Plan, Step};

/// Follows one run.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    steps: BTreeMap<String, Step>,
    workers: BTreeSet<String>,
    max_failures: usize,
    succeeded: BTreeSet<String>,
    ended: BTreeSet<String>,
    failed_workers: BTreeSet<String>,
    /// Steps of which a first try did a part: what is left of it may have another name.
    retried: BTreeSet<String>,
}

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Self {
        let workers = plan.inventory.spec.hosts.iter().filter(|host| host.role == Role::Worker);
        Self {
            steps: plan.steps.iter().map(|step| (step.id.clone(), step.clone())).collect(),
            workers: workers.map(|host| host.name.clone()).collect(),
            max_failures: plan.max_failures as usize,
            ..Self::default()
        }
    }

    /// What is wrong about this event, if anything.
    pub(crate) fn see(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::StepStarted { step, .. } => self.started(step),
            Event::StepSucceeded { step, changes, .. } => {
                self.succeeded.insert(step.clone());
                self.ended.insert(step.clone());
                self.unplanned(step, changes)
            }
            Event::StepFailed { step, host, .. } => {
                self.ended.insert(step.clone());
                if self.workers.contains(host) && self.steps.get(step).is_some_and(|step| step.batch.is_some()) {
                    self.failed_workers.insert(host.clone());
                }
                None
            }
            Event::StepRetried { step, .. } => {
                self.retried.insert(step.clone());
                None
            }
            Event::StepSkipped { step, .. } => {
                self.ended.insert(step.clone());
                None
            }
            _ => None,
        }
    }

    /// The step that an event is about.
    pub(crate) fn step_of(&self, event: &Event) -> Option<&Step> {
        match event {
            Event::StepStarted { step, .. } | Event::StepSucceeded { step, .. } | Event::StepFailed { step, .. } => {
                self.steps.get(step)
            }
            _ => None,
        }
    }

    fn started(&self, id: &str) -> Option<String> {
        let Some(step) = self.steps.get(id) else { return Some(format!("step {id} is not part of the plan")) };
        if let Some(need) = step.needs.iter().find(|need| !self.succeeded.contains(*need)) {
            return Some(format!("step {id} began before {need} had succeeded"));
        }
        let batch = step.batch?;
        let earlier = self
            .steps
            .values()
            .find(|other| other.batch.is_some_and(|other| other < batch) && !self.ended.contains(&other.id));
        if let Some(earlier) = earlier {
            return Some(format!("step {id} of batch {batch} began before {} had ended", earlier.id));
        }
        let is_first = !self.steps.values().any(|other| other.batch == Some(batch) && self.ended.contains(&other.id));
        (is_first && self.failed_workers.len() > self.max_failures)
            .then(|| format!("batch {batch} began with {id} although {:?} had failed", self.failed_workers))
    }

    fn unplanned(&self, id: &str, changes: &[String]) -> Option<String> {
        let step = self.steps.get(id).filter(|_| !self.retried.contains(id))?;
        if !matches!(step.action, Action::Apply { .. } | Action::Certificates { .. }) {
            return None;
        }
        let planned: BTreeSet<String> = step.changes.iter().map(|change| object(&change.summary)).collect();
        // Half of a key pair may be there by now; the plan named both halves.
        let is_named = |change: &&String| {
            let mut paths = change.split(' ').filter(|word| word.starts_with('/'));
            paths.any(|path| step.changes.iter().any(|planned| planned.summary.contains(path)))
        };
        let is_planned = |change: &&String| planned.contains(&object(change)) || is_named(change);
        let surplus = changes.iter().find(|change| !is_planned(change))?;
        Some(format!("step {id} did what was not planned: {surplus}; planned: {planned:?}"))
    }

    /// What was planned and not done by a run in which nothing went wrong.
    pub(crate) fn undone(&self, events: &[Event]) -> Vec<String> {
        let mut undone = Vec::new();
        for event in events {
            let Event::StepSucceeded { step: id, changes, .. } = event else { continue };
            let Some(step) = self.steps.get(id).filter(|step| matches!(step.action, Action::Apply { .. })) else {
                continue;
            };
            let done: BTreeSet<String> = changes.iter().map(|change| object(change)).collect();
            // A package of the same step may bring a folder along.
            let is_folder = |summary: &str| summary.starts_with("create ") && summary.ends_with('/');
            let missing = step
                .changes
                .iter()
                .filter(|change| !done.contains(&object(&change.summary)) && !is_folder(&change.summary));
            undone.extend(missing.map(|change| format!("{id}: {}", change.summary)));
        }
        undone
    }
}

/// The thing that a change is about: a path, a unit, a parameter; else all of its words up to a parenthesis.
fn object(summary: &str) -> String {
    let is_thing = |word: &&str| word.starts_with('/') || word.ends_with(".service");
    let words = summary.split(' ').map(|word| word.trim_end_matches([':', ',', '/']));
    if let Some(thing) = words.into_iter().find(is_thing) {
        return thing.rsplit('/').next().unwrap_or(thing).to_owned();
    }
    if let Some(parameter) = ["set ", "keep "].iter().find_map(|verb| summary.strip_prefix(verb)) {
        return parameter.split(' ').next().unwrap_or(parameter).to_owned();
    }
    if summary.starts_with("install ") {
        return "packages".to_owned();
    }
    summary.split(" (").next().unwrap_or(summary).to_owned()
}

/// The same plan with every step in it twice, the second after the first.
pub(crate) fn doubled(plan: &Plan) -> Plan {
    let again = |id: &str| format!("{id}-again");
    let mut doubled = plan.clone();
    doubled.steps.clear();
    for step in &plan.steps {
        let needs: Vec<String> = step.needs.iter().map(|need| again(need)).collect();
        let first = Step { needs, ..step.clone() };
        let second = Step { id: again(&step.id), needs: vec![step.id.clone()], ..step.clone() };
        doubled.steps.extend([first, second]);
    }
    doubled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thing_of_a_change() {
        assert_eq!(object("enable and start containerd.service"), "containerd.service");
        assert_eq!(object("restart containerd.service (/etc/containerd/config.toml changed)"), "containerd.service");
        assert_eq!(object("set net.ipv4.ip_forward = 1 (was 0)"), "net.ipv4.ip_forward");
        assert_eq!(object("renew /etc/naru/pki/kubelet.crt: there is none"), "kubelet.crt");
    }
}
