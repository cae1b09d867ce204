//! Folding: hosts whose steps look the same are one block, findings and notes that say the same are one line.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use naru_inventory::{Host, Role};
use naru_resources::Change;

use crate::names::ranges;
use crate::{Action, Finding, Note, Plan, Severity, Step};

/// What stands for a host's own name and address where hosts are compared.
const NAME: &str = "\u{1}";
const ADDRESS: &str = "\u{2}";
/// Hosts with the same steps; or what is done for the whole cluster.
pub(super) struct Block<'a> {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) steps: Vec<Cow<'a, Step>>,
}

pub(super) fn blocks(plan: &Plan) -> Vec<Block<'_>> {
    let hosts: HashMap<&str, &Host> = plan.inventory.spec.hosts.iter().map(|host| (host.name.as_str(), host)).collect();
    let mut of_host: HashMap<&str, Vec<&Step>> = HashMap::new();
    let mut of_cluster = Vec::new();
    for step in &plan.steps {
        match step.action {
            Action::Manifest { .. } => of_cluster.push(Cow::Borrowed(step)),
            _ => of_host.entry(&step.host).or_default().push(step),
        }
    }
    let names = plan.inventory.host_names();
    let mut order: Vec<(Vec<&str>, u64)> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for name in &names {
        let Some(steps) = of_host.get(name.as_str()) else { continue };
        let looks = looks(steps, name, hosts.get(name.as_str()).copied());
        match places.get(&looks) {
            Some(place) => order[*place].0.push(name),
            None => {
                places.insert(looks, order.len());
                order.push((vec![name], looks));
            }
        }
    }
    let mut blocks: Vec<Block<'_>> =
        order.into_iter().map(|(names, _)| block(&names, &of_host[names[0]], &hosts)).collect();
    if !of_cluster.is_empty() {
        blocks.push(Block {
            title: "cluster".to_owned(),
            about: format!("  {}", plan.inventory.name()),
            steps: of_cluster,
        });
    }
    blocks
}

fn block<'a>(names: &[&str], steps: &[&'a Step], hosts: &HashMap<&str, &Host>) -> Block<'a> {
    let host = hosts.get(names[0]).copied();
    let role = host.map(|host| match host.role {
        Role::ControlPlane => "control plane",
        Role::Worker => "worker",
    });
    if let [name] = names {
        let about = host.zip(role).map(|(host, role)| format!("  {}, {role}", host.address)).unwrap_or_default();
        return Block {
            title: (*name).to_owned(),
            about,
            steps: steps.iter().map(|step| Cow::Borrowed(*step)).collect(),
        };
    }
    let about = format!("  {} hosts{}", names.len(), role.map(|role| format!(", {role}s")).unwrap_or_default());
    let steps = steps.iter().map(|step| Cow::Owned(for_all(step, names[0], host))).collect();
    Block { title: ranges(names), about, steps }
}

/// The step with words instead of the first host's own name, address and place in the rollout.
fn for_all(step: &Step, name: &str, host: Option<&Host>) -> Step {
    let mut step = step.clone();
    for change in &mut step.changes {
        let words = |text: &str| general(text, name, host).replace(NAME, "HOST").replace(ADDRESS, "ADDRESS");
        change.summary = words(&change.summary);
        change.diff = change.diff.as_deref().map(|diff| diff.lines().map(|line| words(line) + "\n").collect());
    }
    step.reasons.retain(|reason| !is_of_batch(reason));
    step
}

fn is_of_batch(reason: &str) -> bool {
    reason.starts_with("batch ")
}

/// A hash of how a host's steps look, whatever its name, address and batch are.
fn looks(steps: &[&Step], name: &str, host: Option<&Host>) -> u64 {
    let mut hasher = DefaultHasher::new();
    host.map(|host| host.role == Role::Worker).hash(&mut hasher);
    for step in steps {
        step.title.hash(&mut hasher);
        step.id.split_once('/').map(|(_, rest)| rest).hash(&mut hasher);
        for reason in step.reasons.iter().filter(|reason| !is_of_batch(reason)) {
            reason.hash(&mut hasher);
        }
        for Change { summary, diff, disruption, .. } in &step.changes {
            general(summary, name, host).hash(&mut hasher);
            disruption.as_ref().map(std::mem::discriminant).hash(&mut hasher);
            diff.as_deref().map(|diff| general(diff, name, host)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// A text without what is a host's own: its name as a whole word, its address, the hash of its settings.
fn general(text: &str, name: &str, host: Option<&Host>) -> String {
    let address = host.map_or("", |host| host.address.as_str());
    let mut general = String::with_capacity(text.len());
    let is_word = |character: char| character.is_alphanumeric() || matches!(character, '-' | '.');
    for line in text.split_inclusive('\n') {
        if let Some((before, _)) = line.split_once("X-Naru-Settings=") {
            general.push_str(before);
            general.push_str("X-Naru-Settings=…");
            general.push_str(if line.ends_with('\n') { "\n" } else { "" });
            continue;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
            match &rest[..end] {
                word if word == name => general.push_str(NAME),
                word if word == address => general.push_str(ADDRESS),
                word => general.push_str(word),
            }
            let gap = rest[end..].find(is_word).unwrap_or(rest.len() - end);
            general.push_str(&rest[end..end + gap]);
            rest = &rest[end + gap..];
        }
    }
    general
}

/// A line of the table of findings.
pub(super) struct Row {
    pub(super) severity: Severity,
    pub(super) hosts: String,
    pub(super) code: String,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

pub(super) fn findings(findings: &[Finding]) -> Vec<Row> {
    let mut same: BTreeMap<(Severity, String, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for finding in findings {
        let code = serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned));
        let key = (finding.severity, code.unwrap_or_default(), finding.text.as_str(), finding.hint.as_deref());
        same.entry(key).or_default().extend(finding.host.as_deref());
    }
    let rows = same.into_iter().map(|((severity, code, text, hint), hosts)| Row {
        severity,
        hosts: if hosts.is_empty() { "-".to_owned() } else { ranges(&hosts) },
        code,
        text: text.to_owned(),
        hint: hint.map(str::to_owned),
    });
    rows.collect()
}

/// Notes that differ only in their host are one.
pub(super) fn notes(notes: &[Note]) -> Vec<Note> {
    let mut folded: Vec<(Note, Vec<&str>)> = Vec::new();
    let mut places: HashMap<Likeness<'_>, usize> = HashMap::new();
    for note in notes {
        let key = (note.kind as u8, note.text.as_str(), note.detail.as_deref(), note.hint.as_deref());
        match places.get(&key) {
            Some(place) => folded[*place].1.extend(note.host.as_deref()),
            None => {
                places.insert(key, folded.len());
                folded.push((note.clone(), note.host.as_deref().into_iter().collect()));
            }
        }
    }
    let named =
        folded.into_iter().map(|(note, hosts)| Note { host: (!hosts.is_empty()).then(|| ranges(&hosts)), ..note });
    named.collect()
}

type Likeness<'a> = (u8, &'a str, Option<&'a str>, Option<&'a str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_hosts_own_is_general() {
        let host = Host::new("w1", Role::Worker, "10.0.0.21");
        let text = general("+name: \"w1\"\n+address: 10.0.0.21 w10 10.0.0.211\n", "w1", Some(&host));
        assert_eq!(text, format!("+name: \"{NAME}\"\n+address: {ADDRESS} w10 10.0.0.211\n"));
    }
}
