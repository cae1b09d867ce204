//! The planner: who does what after whom, and why.

mod cluster;
mod control_planes;
mod draft;
mod etcd;
mod hooks;
mod removal;
mod rollout;
mod stages;
mod uploads;
mod versions;
mod world;

use std::collections::BTreeSet;

use naru_inventory::{Host, Inventory};
use naru_observe::{HostObservation, Observation};

use crate::desired::{Blueprint, Programs};
use crate::lint;
use crate::plan::{Action, Finding, FindingCode, NoteKind, PLAN_FORMAT, Plan, Severity};

pub use removal::reset_stops;

use draft::{Draft, line, name};
use world::{Part, World};

/// What the operator says about this one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these hosts are changed; empty: all.
    pub only: BTreeSet<String>,
    /// Whether hosts that cannot be reached are left out without the run counting as incomplete.
    pub skip_unreachable: bool,
}

impl Options {
    pub(crate) fn means(&self, host: &str) -> bool {
        self.only.is_empty() || self.only.contains(host)
    }
}

/// Everything to do so that the observed world becomes the inventory's.
#[must_use]
pub fn plan(inventory: &Inventory, observation: &Observation, programs: &Programs, options: &Options) -> Plan {
    let blueprint = Blueprint::new(inventory, programs);
    let mut draft = Draft::default();
    let lead = decide(&blueprint, observation, options, &mut draft);
    let drained = rollout::drained(&draft, inventory);
    let (steps, notes, mut findings, mut unavailable) = draft.into_steps(lead.as_deref());
    unavailable.splice(0..0, drained);
    findings.sort();
    findings.dedup();
    Plan {
        format: PLAN_FORMAT,
        inventory: inventory.clone(),
        fingerprint: observation.fingerprint(),
        steps,
        notes,
        findings,
        unavailable,
        max_failures: inventory.spec.rollout.max_failures,
    }
}

/// All choices, in the order in which they build on each other; answers with the control plane that signs.
fn decide(
    blueprint: &Blueprint<'_>,
    observation: &Observation,
    options: &Options,
    draft: &mut Draft,
) -> Option<String> {
    let inventory = blueprint.inventory;
    if let Some(unknown) = unknown_host(inventory, options) {
        let known = inventory.host_names().join(", ");
        let note = draft.note(NoteKind::Refused, None, format!("there is no host {unknown} in the inventory"));
        note.detail = Some(format!("its hosts: {known}"));
        return None;
    }
    machines(inventory, observation, options, draft);
    draft.findings = lint::check(blueprint, observation, options);
    if let Err(refusal) = versions::at_hand(blueprint) {
        let world = World::new(blueprint, observation, options, draft);
        refuse(draft, &world, refusal);
        return None;
    }
    let world = World::new(blueprint, observation, options, draft);
    let lead = match control_planes::lead(&world, draft) {
        Ok(Some(lead)) => lead,
        Ok(None) => {
            notes_of_left_out(&world, draft);
            return None;
        }
        Err(refusal) => {
            refuse(draft, &world, refusal);
            return None;
        }
    };
    let climb = match versions::climb(&world) {
        Ok(climb) => climb,
        Err(refusal) => {
            refuse(draft, &world, refusal);
            return None;
        }
    };
    notes_of_left_out(&world, draft);
    let parts: Vec<&Part<'_>> = world.parts().collect();
    for part in &parts {
        uploads::add(&world, part, draft);
        stages::add(&world, part, lead, &climb, draft);
    }
    versions::add_rungs(&world, lead, &climb, draft);
    uploads::spread(&world, draft);
    cluster::wait_for_apis(&world, lead, &climb, draft);
    cluster::node_side(&world, lead, &climb, draft);
    removal::add(&world, lead, draft);
    etcd::add(&world, lead, draft);
    cluster::manifests(&world, lead, draft);
    rollout::arrange(&world, lead, &climb, draft);
    hooks::add(&world, &climb, draft);
    cluster::strangers(&world, draft);
    Some(lead.host.name.clone())
}

/// Why nothing at all is done.
struct Refusal {
    code: Option<FindingCode>,
    host: Option<String>,
    text: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Refusal {
    fn new(text: impl Into<String>) -> Self {
        Self { code: None, host: None, text: text.into(), detail: None, hint: None }
    }

    fn of(code: FindingCode, host: &Host, text: impl Into<String>) -> Self {
        Self { code: Some(code), host: Some(host.name.clone()), ..Self::new(text) }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Takes back all steps: a plan that is refused does nothing.
fn refuse(draft: &mut Draft, world: &World<'_>, refusal: Refusal) {
    let findings = std::mem::take(&mut draft.findings);
    let notes = std::mem::take(&mut draft.notes);
    *draft = Draft::default();
    draft.findings = findings;
    let Refusal { code, host, text, detail, hint } = refusal;
    if let Some(code) = code {
        let finding =
            Finding { severity: Severity::Error, code, host: host.clone(), text: text.clone(), hint: hint.clone() };
        draft.findings.push(finding);
    }
    let note = draft.note(NoteKind::Refused, host.as_deref(), text);
    (note.detail, note.hint) = (detail, hint);
    draft.notes.extend(notes.into_iter().filter(|note| note.kind == NoteKind::Refused));
    let told = host;
    for note in world.left_out() {
        if note.host != told {
            draft.notes.push(note);
        }
    }
}

fn notes_of_left_out(world: &World<'_>, draft: &mut Draft) {
    draft.notes.extend(world.left_out());
}

fn unknown_host(inventory: &Inventory, options: &Options) -> Option<String> {
    if options.only.is_empty() {
        return None;
    }
    let known: BTreeSet<String> = inventory.host_names().into_iter().collect();
    options.only.iter().find(|name| !known.contains(*name)).cloned()
}

fn machines(inventory: &Inventory, observation: &Observation, options: &Options, draft: &mut Draft) {
    let mut names = Vec::new();
    for host in inventory.host_names() {
        let Some(HostObservation::Missing { is_off }) = observation.hosts.get(&host) else { continue };
        if !options.means(&host) {
            continue;
        }
        let verb = if *is_off { "start" } else { "create" };
        let changes = vec![line(format!("{verb} machine {host}"))];
        draft.add(&host, name::MACHINE, "bring up the machine", Action::MakeMachine, changes);
        names.push(host);
    }
    if !names.is_empty() {
        let text = format!("what is to do on {} is planned as soon as machines run", names.join(", "));
        draft.note(NoteKind::Later, None, text);
    }
}
