//! Versions: one minor per step of the control planes, nodes never newer than they and at most three minors behind.
//! With several minors on the way the plan is a ladder: on each rung the control planes one by one; nodes go up as
//! seldom as they may, for each time they are drained.

use std::collections::{BTreeMap, HashMap};

use naru_resources::{Change, Disruption, Resource};

use super::draft::{Draft, line, name};
use super::uploads::upload_line;
use super::world::{Part, World};
use super::{Refusal, control_planes, rollout};
use crate::desired::{
    Blueprint, CONTROL_PLANE_PROGRAM, CONTROL_PLANE_UNIT, NODE_PROGRAM, NODE_UNIT, ProgramVersion, Stage,
};
use crate::plan::{Action, Artifact, FindingCode};

/// How many minors a node may be behind its control plane.
const MAX_MINORS_BEHIND: u64 = 3;
const NODE: &str = "naru-node";
const CONTROL_PLANE: &str = "naru-control-plane";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// `v0.1.0`, also without the `v` or with something behind: `0.1.0+dirty`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let mut numbers = text.split(['-', '+', '~']).next()?.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self { major, minor, patch: numbers.next().flatten().unwrap_or(0) })
    }

    fn is_other_minor(self, other: Self) -> bool {
        (self.major, self.minor) != (other.major, other.minor)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The way up.
#[derive(Default)]
pub(super) struct Climb {
    /// The versions on the way, the wanted one last.
    pub(super) rungs: Vec<String>,
    /// From which version a control plane goes up.
    pub(super) control_planes: BTreeMap<String, Version>,
    /// Nodes that go up or down, with their version now.
    pub(super) nodes: HashMap<String, Version>,
    /// Nodes that must go up on a rung before the last: by rung.
    stops: Vec<Vec<String>>,
}

impl Climb {
    pub(super) fn is_ladder(&self) -> bool {
        self.rungs.len() > 1
    }

    /// What the last rung is called in ids.
    pub(super) fn last(&self) -> Option<&str> {
        if self.is_ladder() { self.rungs.last().map(String::as_str) } else { None }
    }

    pub(super) fn rung_of(&self, host: &str, stage: Stage) -> Option<&str> {
        let moves = match stage {
            Stage::ControlPlane => self.control_planes.contains_key(host),
            Stage::Node => self.nodes.contains_key(host),
            _ => false,
        };
        self.last().filter(|_| moves)
    }

    pub(super) fn is_upgrade(&self, host: &str) -> bool {
        self.control_planes.contains_key(host) || self.nodes.contains_key(host)
    }

    /// Whether the node changes its minor at the last rung, so that it has to be drained.
    pub(super) fn crosses_minor(&self, host: &str) -> bool {
        let target = self.rungs.last().and_then(|target| Version::parse(target));
        let stopped = self.stops.iter().enumerate().rev().find(|(_, hosts)| hosts.iter().any(|name| name == host));
        let from = match stopped {
            Some((rung, _)) => Version::parse(&self.rungs[rung]),
            None => self.nodes.get(host).copied(),
        };
        from.zip(target).is_some_and(|(from, target)| from.is_other_minor(target))
    }
}

pub(super) fn running(part: &Part<'_>, program: &str) -> Option<Version> {
    part.reached.facts.versions.get(program).and_then(|text| Version::parse(text))
}

/// The folder in which a missing version is looked for.
fn folder_hint(version: &str) -> String {
    format!("--artifacts DIR, with DIR/{version}/naru-node and DIR/{version}/naru-control-plane")
}

/// The wanted version itself must be at hand, else no host can be compared with it.
pub(super) fn at_hand(blueprint: &Blueprint<'_>) -> Result<(), Refusal> {
    let version = &blueprint.inventory.spec.version;
    if blueprint.programs.versions.contains_key(version) {
        return Ok(());
    }
    let text = format!("the programs of {version} are not at hand, so no host is changed");
    let refusal = Refusal { code: Some(FindingCode::VersionMissing), ..Refusal::new(text) };
    Err(refusal.hint(folder_hint(version)))
}

/// The way from what runs to the wanted version.
pub(super) fn climb(world: &World<'_>) -> Result<Climb, Refusal> {
    let wanted = &world.blueprint.inventory.spec.version;
    let Some(target) = Version::parse(wanted) else { return Ok(Climb::default()) };
    let mut climb = Climb::default();
    let mut lowest = target;
    for part in world.usable_control_planes() {
        let Some(version) = running(part, CONTROL_PLANE) else { continue };
        if version > target {
            let text = format!("{} runs {version}; a control plane does not go back to {wanted}", part.host.name);
            let refusal = Refusal::of(FindingCode::VersionSkew, part.host, text);
            return Err(refusal.hint(format!("write `version: {version}`, or restore a snapshot from before")));
        }
        if version < target {
            if !world.options.means(&part.host.name) {
                only_older(world, part, version)?;
                continue;
            }
            lowest = lowest.min(version);
            climb.control_planes.insert(part.host.name.clone(), version);
        }
    }
    for part in world.parts() {
        if let Some(version) = running(part, NODE).filter(|version| *version != target) {
            climb.nodes.insert(part.host.name.clone(), version);
        }
    }
    climb.rungs = between(world, lowest, target)?;
    climb.rungs.push(wanted.clone());
    climb.stops = stops(&climb);
    Ok(climb)
}

/// A node must not become newer than a control plane that this run leaves as it is.
fn only_older(world: &World<'_>, control_plane: &Part<'_>, version: Version) -> Result<(), Refusal> {
    let Some(part) = world.parts().find(|part| !part.is_control_plane()) else { return Ok(()) };
    let text = format!(
        "{} would be newer than its control plane {}, which runs {version}",
        part.host.name, control_plane.host.name
    );
    let refusal = Refusal::of(FindingCode::VersionSkew, part.host, text);
    Err(refusal.hint(format!("--only {} first", control_plane.host.name)))
}

/// One version of each minor between these two, the newest at hand.
fn between(world: &World<'_>, from: Version, to: Version) -> Result<Vec<String>, Refusal> {
    let mut rungs = Vec::new();
    if from.major != to.major {
        return Ok(rungs);
    }
    for minor in from.minor + 1..to.minor {
        let of_minor = world.blueprint.programs.versions.keys().filter_map(|name| {
            let version = Version::parse(name)?;
            (version.major == to.major && version.minor == minor).then_some((version, name))
        });
        let Some((_, name)) = of_minor.max() else {
            let missing = Version { minor, patch: 0, ..to };
            let text = format!(
                "the way from {from} to {to} leads over v{}.{minor}, whose programs are not at hand: \
                 a control plane goes up one minor at a time",
                to.major
            );
            let refusal = Refusal { code: Some(FindingCode::VersionMissing), ..Refusal::new(text) };
            return Err(refusal.hint(folder_hint(&missing.to_string())));
        };
        rungs.push(name.clone());
    }
    Ok(rungs)
}

/// Which nodes must go up before the control planes take the rung after each one.
fn stops(climb: &Climb) -> Vec<Vec<String>> {
    let mut now = climb.nodes.clone();
    let mut stops = Vec::new();
    for pair in climb.rungs.windows(2) {
        let (Some(here), Some(next)) = (Version::parse(&pair[0]), Version::parse(&pair[1])) else { continue };
        let mut of_rung: Vec<String> = now
            .iter()
            .filter(|(_, version)| **version < here && next.minor.saturating_sub(version.minor) > MAX_MINORS_BEHIND)
            .map(|(host, _)| host.clone())
            .collect();
        of_rung.sort();
        for host in &of_rung {
            now.insert(host.clone(), here);
        }
        stops.push(of_rung);
    }
    stops
}

/// Steps of all rungs but the last, which is the hosts' desired state.
pub(super) fn add_rungs(world: &World<'_>, lead: &Part<'_>, climb: &Climb, draft: &mut Draft) {
    let asked = control_planes::asked(world, lead);
    for (index, rung) in climb.rungs.iter().enumerate().take(climb.rungs.len().saturating_sub(1)) {
        let (Some(version), Some(programs)) = (Version::parse(rung), world.blueprint.programs.versions.get(rung))
        else {
            continue;
        };
        for (host, from) in climb.control_planes.iter().filter(|(_, from)| **from < version) {
            let Some(part) = world.part(host) else { continue };
            let before = if index == 0 { from.to_string() } else { climb.rungs[index - 1].clone() };
            let replaced = (&programs.control_plane, CONTROL_PLANE_PROGRAM, CONTROL_PLANE_UNIT);
            replace(part, rung, &before, Stage::ControlPlane, replaced, draft);
            draft.add_as(
                host,
                Some(rung),
                name::API,
                name::API,
                "wait for the API server",
                Action::WaitForApi,
                Vec::new(),
            );
        }
        for host in &climb.stops[index] {
            let Some(part) = world.part(host) else { continue };
            node_stop(world, part, rung, programs, &asked, draft);
        }
    }
}

fn node_stop(
    world: &World<'_>,
    part: &Part<'_>,
    rung: &str,
    programs: &ProgramVersion,
    asked: &[String],
    draft: &mut Draft,
) {
    let before = running(part, NODE).map(|version| version.to_string()).unwrap_or_default();
    let number = replace(part, rung, &before, Stage::Node, (&programs.node, NODE_PROGRAM, NODE_UNIT), draft);
    draft.reason(number, format!("a node may be at most {MAX_MINORS_BEHIND} minors behind its control plane"));
    let action = Action::WaitForNode { control_planes: asked.to_vec() };
    draft.add_as(
        &part.host.name,
        Some(rung),
        name::READY,
        name::READY,
        "wait until the node is Ready",
        action,
        Vec::new(),
    );
    rollout::drain(world, part, Some(rung), asked, draft);
}

/// Upload and exchange of one program at a rung.
fn replace(
    part: &Part<'_>,
    rung: &str,
    before: &str,
    stage: Stage,
    (artifact, path, unit): (&Artifact, &str, &str),
    draft: &mut Draft,
) -> usize {
    let host = &part.host.name;
    let is_there = part.reached.manifest.values().any(|entry| entry.sha256 == artifact.sha256);
    let upload = Action::Upload { artifacts: vec![artifact.clone()], neighbours: Vec::new() };
    let existing =
        draft.of_host(host).iter().copied().find(|number| {
            draft.steps[*number].name == name::UPLOAD && draft.steps[*number].rung.as_deref() == Some(rung)
        });
    match existing {
        _ if is_there => {}
        Some(number) => {
            let step = &mut draft.steps[number].step;
            step.changes.push(upload_line(artifact));
            if let Action::Upload { artifacts, .. } = &mut step.action {
                artifacts.push(artifact.clone());
            }
        }
        None => {
            let shown = vec![upload_line(artifact)];
            draft.add_as(host, Some(rung), name::UPLOAD, name::UPLOAD, "upload programs", upload, shown);
        }
    }
    let unit_of_desired = part.desired.wanted.iter().map(|wanted| &wanted.resource);
    let unit_of_desired =
        unit_of_desired.filter(|resource| matches!(resource, Resource::Unit { name, .. } if name == unit));
    let binary = Resource::Binary { path: path.to_owned(), sha256: artifact.sha256.clone() };
    let resources = std::iter::once(binary).chain(unit_of_desired.cloned()).collect();
    let changes = vec![
        line(format!("replace {path} ({before} by {rung})")),
        Change { disruption: Some(Disruption::RestartUnit(unit.to_owned())), ..line(format!("restart {unit}")) },
    ];
    let action = Action::Apply { resources, revert_after_seconds: None };
    draft.add_stage(host, Some(rung), stage, action, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("v0.10.0") > version("v0.9.3") && version("0.1.0") == version("v0.1.0+dirty"));
        assert!(
            version("v0.2.0").is_other_minor(version("v0.1.9")) && !version("v0.2.1").is_other_minor(version("v0.2.0"))
        );
        assert_eq!(Version::parse("latest"), None);
    }
}
