//! The world as the planner sees it: which hosts take part, which are left out and why, what is known of each.

use std::collections::{BTreeMap, HashMap};

use naru_inventory::{Host, Role};
use naru_observe::{ApiState, HostObservation, NodeObservation, Observation, Problem, Reached};
use naru_resources::Change;

use super::draft::Draft;
use super::{Options, stages};
use crate::desired::{Blueprint, Desired, NODE_UNIT};
use crate::plan::{CORDONED_ANNOTATION, Note, NoteKind, Severity};

/// A host that takes part in this plan.
pub(super) struct Part<'a> {
    pub(super) host: &'a Host,
    pub(super) reached: &'a Reached,
    pub(super) node: Option<&'a NodeObservation>,
    pub(super) desired: Desired,
    /// What differs, with what a check cannot know: files that are wanted no more, restarts that follow.
    pub(super) changes: Vec<Change>,
    /// Whether its node serves pods now, so that disturbing it is felt.
    pub(super) is_serving: bool,
}

impl Part<'_> {
    pub(super) fn is_control_plane(&self) -> bool {
        self.host.role == Role::ControlPlane
    }

    /// Cordoned by a run of ours that did not come to its end.
    pub(super) fn is_left_cordoned(&self) -> bool {
        self.node.is_some_and(|node| node.unschedulable && node.annotations.contains_key(CORDONED_ANNOTATION))
    }

    /// Cordoned by somebody, who alone may take it back.
    pub(super) fn is_cordoned_by_others(&self) -> bool {
        self.node.is_some_and(|node| node.unschedulable && !node.annotations.contains_key(CORDONED_ANNOTATION))
    }
}

pub(super) struct World<'a> {
    pub(super) blueprint: &'a Blueprint<'a>,
    pub(super) observation: &'a Observation,
    pub(super) options: &'a Options,
    /// In the order of control planes first.
    parts: Vec<Part<'a>>,
    /// Numbers of parts by host.
    numbers: HashMap<&'a str, usize>,
    /// Hosts that should take part and cannot, with the reason.
    left_out: Vec<Note>,
    pub(super) hosts: HashMap<&'a str, &'a Host>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        blueprint: &'a Blueprint<'a>,
        observation: &'a Observation,
        options: &'a Options,
        draft: &Draft,
    ) -> Self {
        let hosts = blueprint.inventory.spec.hosts.iter().map(|host| (host.name.as_str(), host)).collect();
        let mut errors: BTreeMap<&str, &str> = BTreeMap::new();
        for finding in draft.findings.iter().filter(|finding| finding.severity == Severity::Error) {
            if let Some(host) = &finding.host {
                errors.entry(host).or_insert(&finding.text);
            }
        }
        let mut world = Self {
            blueprint,
            observation,
            options,
            parts: Vec::new(),
            numbers: HashMap::new(),
            left_out: Vec::new(),
            hosts,
        };
        let present = || blueprint.inventory.present_hosts();
        let control_planes = present().filter(|host| host.role == Role::ControlPlane);
        let workers = present().filter(|host| host.role == Role::Worker);
        for host in control_planes.chain(workers) {
            match world.standing(host, errors.get(host.name.as_str()).copied()) {
                Some(Ok(part)) => {
                    world.numbers.insert(&host.name, world.parts.len());
                    world.parts.push(part);
                }
                Some(Err(note)) if options.means(&host.name) => world.left_out.push(note),
                Some(Err(_)) | None => {}
            }
        }
        world
    }

    /// A host as a part, or why it is none; nothing about a machine that is still to be made.
    fn standing(&self, host: &'a Host, error: Option<&str>) -> Option<Result<Part<'a>, Note>> {
        let reached = match self.observation.hosts.get(&host.name)? {
            HostObservation::Missing { .. } => return None,
            HostObservation::Unreachable(problem) => {
                let mut note = skipped(host, "it cannot be reached", problem);
                if self.options.skip_unreachable {
                    note.kind = NoteKind::Remark;
                    note.text = format!("left out, as asked: {}", note.text);
                }
                return Some(Err(note));
            }
            HostObservation::Reached(reached) => reached,
        };
        if let Some(text) = error {
            let text = format!("left out: {text}");
            let host = Some(host.name.clone());
            return Some(Err(Note { kind: NoteKind::Skipped, host, text, detail: None, hint: None }));
        }
        if let Some(problem) = &reached.problem {
            return Some(Err(skipped(host, "it cannot be used", problem)));
        }
        // The observation asked the same function, so a refusal is already its `problem`.
        let desired = self.blueprint.desired(host, &reached.facts).ok()?;
        let node = self.node(&host.name);
        let is_serving = match &self.observation.cluster.nodes {
            Some(_) => node.is_some_and(|node| node.ready),
            None => is_active(reached, NODE_UNIT),
        };
        let changes = stages::all_changes(reached, &desired);
        Some(Ok(Part { host, reached, node, desired, changes, is_serving }))
    }

    /// Hosts that this run may change.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| self.options.means(&part.host.name))
    }

    /// All usable hosts, those that this run must not change included.
    pub(super) fn usable(&self) -> &[Part<'a>] {
        &self.parts
    }

    pub(super) fn part(&self, host: &str) -> Option<&Part<'a>> {
        self.numbers.get(host).map(|number| &self.parts[*number])
    }

    pub(super) fn usable_control_planes(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.is_control_plane())
    }

    pub(super) fn left_out(&self) -> Vec<Note> {
        self.left_out.clone()
    }

    pub(super) fn node(&self, host: &str) -> Option<&'a NodeObservation> {
        self.observation.cluster.nodes.as_ref()?.get(host)
    }

    pub(super) fn api_is_ready(&self) -> bool {
        self.observation.cluster.api == ApiState::Ready
    }
}

fn skipped(host: &Host, what: &str, problem: &Problem) -> Note {
    Note {
        kind: NoteKind::Skipped,
        host: Some(host.name.clone()),
        text: format!("{what}: {}", problem.primary),
        detail: problem.detail.clone(),
        hint: problem.hint.clone(),
    }
}

/// Whether this unit runs, or is about to.
pub(super) fn is_active(reached: &Reached, unit: &str) -> bool {
    let active = |state: &str| matches!(state, "active" | "activating" | "reloading");
    reached.facts.units.iter().any(|state| state.name == unit && active(&state.active_state))
}
