//! Programs on their way to hosts: from here to the first, from there to all others, as a tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use naru_resources::Change;

use super::draft::{Draft, line, name};
use super::world::{Part, World};
use crate::plan::{Action, Artifact};

/// How many hosts get a program from the same neighbour.
const FAN_OUT: usize = 4;
/// Further neighbours that are named in case the first cannot give it.
const SPARE_NEIGHBOURS: usize = 2;
const BYTES_PER_MEGABYTE: u64 = 1_000_000;

pub(super) fn upload_line(artifact: &Artifact) -> Change {
    line(format!("upload {} ({})", artifact.name, megabytes(artifact.size_bytes)))
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / BYTES_PER_MEGABYTE, bytes % BYTES_PER_MEGABYTE / (BYTES_PER_MEGABYTE / 10))
}

/// What a host lacks of what changes there.
pub(super) fn add(world: &World<'_>, part: &Part<'_>, draft: &mut Draft) {
    if part.reached.missing_artifacts.is_empty() {
        return;
    }
    let needed: BTreeSet<&str> = part
        .reached
        .changes
        .iter()
        .filter_map(|change| part.desired.wanted.get(change.resource)?.resource.artifact())
        .filter(|sha256| part.reached.missing_artifacts.iter().any(|missing| missing == sha256))
        .collect();
    let Some(programs) = world.blueprint.programs.versions.get(&world.blueprint.inventory.spec.version) else { return };
    let artifacts: Vec<Artifact> = [&programs.control_plane, &programs.node]
        .into_iter()
        .filter(|artifact| needed.contains(artifact.sha256.as_str()))
        .cloned()
        .collect();
    if !artifacts.is_empty() {
        let changes = artifacts.iter().map(upload_line).collect();
        let action = Action::Upload { artifacts, neighbours: Vec::new() };
        draft.add(&part.host.name, name::UPLOAD, "upload programs", action, changes);
    }
}

/// Names neighbours for every upload of something that another host has, or will have by then.
pub(super) fn spread(world: &World<'_>, draft: &mut Draft) {
    let uploads: Vec<usize> = (0..draft.steps.len())
        .filter(|number| matches!(draft.steps[*number].step.action, Action::Upload { .. }))
        .collect();
    let mut wanted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &number in &uploads {
        if let Action::Upload { artifacts, .. } = &draft.steps[number].step.action {
            for artifact in artifacts {
                wanted.entry(artifact.sha256.clone()).or_default().push(number);
            }
        }
    }
    let mut given: HashMap<usize, Vec<String>> = HashMap::new();
    for (sha256, numbers) in wanted {
        let mut givers = holders(world, &sha256);
        let roots = givers.len().max(1);
        for (position, number) in numbers.into_iter().enumerate() {
            let place = givers.len();
            let parent = place.checked_sub(roots).map(|beyond| beyond / FAN_OUT);
            if let Some(parent) = parent.filter(|parent| *parent < place) {
                let spares =
                    (0..SPARE_NEIGHBOURS).map(|spare| (parent + 1 + spare + position) % place.min(roots + position));
                let mut named: Vec<&String> =
                    std::iter::once(parent).chain(spares).map(|index| &givers[index]).collect();
                let mut seen = BTreeSet::new();
                named.retain(|host| seen.insert(host.as_str()));
                given.entry(number).or_default().extend(named.into_iter().cloned());
            }
            givers.push(draft.steps[number].step.host.clone());
        }
    }
    for (number, hosts) in given {
        let step = &mut draft.steps[number].step;
        if let Action::Upload { neighbours, .. } = &mut step.action {
            for host in hosts {
                if !neighbours.contains(&host) && host != step.host {
                    neighbours.push(host);
                }
            }
        }
    }
}

/// Usable hosts that have this artifact already.
fn holders(world: &World<'_>, sha256: &str) -> Vec<String> {
    let has = |part: &&Part<'_>| {
        let installed = part.reached.manifest.values().any(|entry| entry.sha256 == sha256);
        let needs = || part.desired.wanted.iter().any(|wanted| wanted.resource.artifact() == Some(sha256));
        installed || needs() && !part.reached.missing_artifacts.iter().any(|missing| missing == sha256)
    };
    world.usable().iter().filter(has).map(|part| part.host.name.clone()).collect()
}
