//! The plan while it is made: steps that know their name and rung, the rules of what waits for what, and the order in
//! which all could run one by one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use naru_resources::Change;

use crate::desired::Stage;
use crate::plan::{Action, Finding, Note, NoteKind, Step};

/// Names of steps that belong to no stage.
pub(super) mod name {
    pub(crate) const MACHINE: &str = "machine";
    pub(crate) const UPLOAD: &str = "upload";
    pub(crate) const ETCD_MOVE_LEADER: &str = "etcd-move-leader";
    pub(crate) const ETCD_REMOVE: &str = "etcd-remove";
    pub(crate) const ETCD_ADD: &str = "etcd-add";
    pub(crate) const ETCD_PROMOTE: &str = "etcd-promote";
    pub(crate) const API: &str = "api";
    pub(crate) const CORDON: &str = "cordon";
    pub(crate) const DRAIN: &str = "drain";
    pub(crate) const READY: &str = "ready";
    pub(crate) const UNCORDON: &str = "uncordon";
    pub(crate) const LABELS: &str = "labels";
    pub(crate) const DELETE_NODE: &str = "delete-node";
    pub(crate) const RESET: &str = "reset";
    pub(crate) const MANIFEST: &str = "manifest";
}

/// Where a step is looked for that another one waits for.
#[derive(Clone, Copy)]
pub(super) enum Place {
    SameHost,
    /// The control plane that signs and is asked first.
    Lead,
}

use Place::{Lead, SameHost};

/// The order of things: each kind of step with what it waits for, in an order in which all could run one by one. Of
/// what a step would have to wait for, only what is really in the plan counts.
const RULES: [(&str, &[(Place, &str)]); 26] = [
    (name::MACHINE, &[]),
    ("prepare", &[]),
    (name::UPLOAD, &[]),
    ("files", &[(SameHost, "prepare")]),
    ("network", &[(SameHost, "prepare"), (SameHost, "files")]),
    ("runtime", &[(SameHost, "prepare"), (SameHost, "network"), (SameHost, name::DRAIN), (SameHost, name::CORDON)]),
    ("identity", &[(SameHost, "prepare"), (Lead, "identity")]),
    ("certificates", &[(SameHost, "prepare"), (SameHost, "identity"), (Lead, "identity")]),
    ("etcd-certificates", &[(SameHost, "prepare"), (SameHost, "identity"), (Lead, "identity")]),
    (name::ETCD_MOVE_LEADER, &[]),
    (name::ETCD_REMOVE, &[(SameHost, name::ETCD_MOVE_LEADER)]),
    (name::ETCD_ADD, &[(SameHost, name::ETCD_REMOVE), (SameHost, "etcd-certificates")]),
    (
        "etcd",
        &[
            (SameHost, "prepare"),
            (SameHost, "network"),
            (SameHost, "etcd-certificates"),
            (SameHost, name::ETCD_ADD),
            (SameHost, name::ETCD_MOVE_LEADER),
        ],
    ),
    (name::ETCD_PROMOTE, &[(SameHost, "etcd")]),
    (
        "control-plane",
        &[
            (SameHost, "prepare"),
            (SameHost, name::UPLOAD),
            (SameHost, "network"),
            (SameHost, "identity"),
            (SameHost, "certificates"),
            (SameHost, "etcd"),
            (SameHost, name::ETCD_PROMOTE),
        ],
    ),
    (name::API, &[(SameHost, "control-plane"), (SameHost, "etcd")]),
    (name::CORDON, &[(Lead, name::API)]),
    (name::DRAIN, &[(SameHost, name::CORDON), (Lead, name::API)]),
    (
        "node",
        &[
            (SameHost, "prepare"),
            (SameHost, name::UPLOAD),
            (SameHost, "files"),
            (SameHost, "network"),
            (SameHost, "runtime"),
            (SameHost, "certificates"),
            (SameHost, name::CORDON),
            (SameHost, name::DRAIN),
            (SameHost, name::API),
            (Lead, name::API),
        ],
    ),
    (name::READY, &[(SameHost, "node"), (SameHost, "runtime"), (Lead, name::API)]),
    (name::UNCORDON, &[(SameHost, name::READY), (SameHost, "node"), (Lead, name::API)]),
    (name::LABELS, &[(SameHost, name::READY), (SameHost, "node"), (Lead, name::API)]),
    (
        name::RESET,
        &[
            (SameHost, name::DRAIN),
            (SameHost, name::CORDON),
            (SameHost, name::ETCD_MOVE_LEADER),
            (SameHost, name::ETCD_REMOVE),
        ],
    ),
    // A node program that still runs would register its node again.
    (
        name::DELETE_NODE,
        &[
            (SameHost, name::DRAIN),
            (SameHost, name::CORDON),
            (SameHost, name::ETCD_REMOVE),
            (SameHost, name::RESET),
            (Lead, name::API),
        ],
    ),
    (name::MANIFEST, &[(Lead, name::API), (Lead, name::READY)]),
    ("hook", &[]),
];

/// A step with what only the planner needs to know of it.
pub(super) struct Planned {
    pub(super) step: Step,
    /// Its kind, as in the rules.
    pub(super) name: &'static str,
    /// The version that it leads to, where several are on the way.
    pub(super) rung: Option<String>,
    /// Numbers of further steps that it waits for.
    pub(super) after: Vec<usize>,
    is_dropped: bool,
}

#[derive(Default)]
pub(super) struct Draft {
    pub(super) steps: Vec<Planned>,
    pub(super) notes: Vec<Note>,
    pub(super) findings: Vec<Finding>,
    pub(super) unavailable: Vec<String>,
    /// Hosts whose pods are moved away.
    pub(super) drained: BTreeSet<String>,
    /// Numbers of steps by host, in the order in which they were added.
    by_host: HashMap<String, Vec<usize>>,
}

/// A line of a step that changes no resource.
pub(super) fn line(summary: String) -> Change {
    Change { resource: 0, summary, diff: None, disruption: None }
}

impl Draft {
    /// Adds a step and answers with its number.
    pub(super) fn add(
        &mut self,
        host: &str,
        name: &'static str,
        title: &str,
        action: Action,
        changes: Vec<Change>,
    ) -> usize {
        self.add_as(host, None, name, name, title, action, changes)
    }

    pub(super) fn add_stage(
        &mut self,
        host: &str,
        rung: Option<&str>,
        stage: Stage,
        action: Action,
        changes: Vec<Change>,
    ) -> usize {
        self.add_as(host, rung, stage.name(), stage.name(), stage.title(), action, changes)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a step is made")]
    pub(super) fn add_as(
        &mut self,
        host: &str,
        rung: Option<&str>,
        name: &'static str,
        shown: &str,
        title: &str,
        action: Action,
        changes: Vec<Change>,
    ) -> usize {
        let shown = match rung {
            Some(version) => format!("{version}/{shown}"),
            None => shown.to_owned(),
        };
        let step = Step::new(host, &shown, title, action).with_changes(changes);
        let number = self.steps.len();
        self.steps.push(Planned { step, name, rung: rung.map(str::to_owned), after: Vec::new(), is_dropped: false });
        self.by_host.entry(host.to_owned()).or_default().push(number);
        number
    }

    pub(super) fn reason(&mut self, number: usize, text: impl Into<String>) {
        self.steps[number].step.reasons.push(text.into());
    }

    /// Takes all steps of a host back.
    pub(super) fn drop_host(&mut self, host: &str) {
        for number in self.by_host.remove(host).unwrap_or_default() {
            self.steps[number].is_dropped = true;
        }
    }

    pub(super) fn wait(&mut self, number: usize, on: impl IntoIterator<Item = usize>) {
        self.steps[number].after.extend(on.into_iter().filter(|other| *other != number));
    }

    /// Numbers of a host's steps.
    pub(super) fn of_host(&self, host: &str) -> &[usize] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// The step of this name that a step of this rung means: of the same rung, else of none, else of the last.
    pub(super) fn find(&self, host: &str, rung: Option<&str>, name: &str) -> Option<usize> {
        let named = || self.of_host(host).iter().copied().filter(|number| self.steps[*number].name == name);
        let of = |rung: Option<&str>| named().find(|number| self.steps[*number].rung.as_deref() == rung);
        rung.and_then(|rung| of(Some(rung))).or_else(|| of(None)).or_else(|| named().next_back())
    }

    /// Whether the host's step of this stage stops or starts something.
    pub(super) fn disturbs(&self, host: &str, stage: Stage) -> bool {
        self.find(host, None, stage.name()).is_some_and(|number| !self.steps[number].step.disruptions.is_empty())
    }

    pub(super) fn note(&mut self, kind: NoteKind, host: Option<&str>, text: impl Into<String>) -> &mut Note {
        let host = host.map(str::to_owned);
        self.notes.push(Note { kind, host, text: text.into(), detail: None, hint: None });
        self.notes.last_mut().expect("one was just added")
    }

    /// The steps in an order in which they could run one by one, each with the ids that it waits for.
    pub(super) fn into_steps(mut self, lead: Option<&str>) -> (Vec<Step>, Vec<Note>, Vec<Finding>, Vec<String>) {
        for number in 0..self.steps.len() {
            let Planned { step, name, rung, .. } = &self.steps[number];
            let rules = RULES.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, needs)| *needs);
            let found: Vec<usize> = rules
                .iter()
                .filter_map(|(place, name)| {
                    let host = match place {
                        SameHost => step.host.as_str(),
                        Lead => lead?,
                    };
                    self.find(host, rung.as_deref(), name)
                })
                .collect();
            self.wait(number, found);
        }
        let dropped: Vec<bool> = self.steps.iter().map(|planned| planned.is_dropped).collect();
        for planned in &mut self.steps {
            planned.after.retain(|number| !dropped[*number]);
        }
        let order = order(&self.steps);
        let ids: Vec<String> = self.steps.iter().map(|planned| planned.step.id.clone()).collect();
        let mut steps: Vec<Option<Planned>> = self.steps.into_iter().map(Some).collect();
        let sorted = order.into_iter().filter_map(|number| {
            let Planned { mut step, after, .. } = steps[number].take().filter(|planned| !planned.is_dropped)?;
            let needs: BTreeSet<&String> = after.iter().map(|number| &ids[*number]).collect();
            step.needs = needs.into_iter().cloned().collect();
            Some(step)
        });
        (sorted.collect(), self.notes, self.findings, self.unavailable)
    }
}

/// Numbers so that each comes after those it waits for; among those that could come next, the earlier batch first, then
/// by the rules' order, then as added.
fn order(steps: &[Planned]) -> Vec<usize> {
    let rank: HashMap<&str, usize> = RULES.iter().enumerate().map(|(rank, (name, _))| (*name, rank)).collect();
    let key = |number: usize| {
        let planned = &steps[number];
        (planned.step.batch.unwrap_or(0), rank.get(planned.name).copied().unwrap_or(0), number)
    };
    let mut open: Vec<usize> = Vec::with_capacity(steps.len());
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (number, planned) in steps.iter().enumerate() {
        let after: BTreeSet<usize> = planned.after.iter().copied().collect();
        open.push(after.len());
        for other in after {
            waiting[other].push(number);
        }
    }
    let mut next: BinaryHeap<Reverse<(u32, usize, usize)>> =
        (0..steps.len()).filter(|number| open[*number] == 0).map(|number| Reverse(key(number))).collect();
    let mut sorted = Vec::with_capacity(steps.len());
    while let Some(Reverse((_, _, number))) = next.pop() {
        sorted.push(number);
        for &other in &waiting[number] {
            open[other] -= 1;
            if open[other] == 0 {
                next.push(Reverse(key(other)));
            }
        }
    }
    debug_assert_eq!(sorted.len(), steps.len(), "the rules have no circle");
    sorted
}
