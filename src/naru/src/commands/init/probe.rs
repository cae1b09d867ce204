//! A look at the machines before the inventory is written: what they are, so that names and roles can be proposed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt as _;
use naru_agent::{Facts, Request, Response};
use naru_inventory::{Host, Inventory, Role};
use naru_observe::Fleet;
use sha2::{Digest, Sha256};

use crate::artifacts;
use crate::fleet::SshFleet;
use crate::table::table;

const DEADLINE: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 16;
/// Fewer than this is too little for a control plane and pods.
const LITTLE_MEMORY_BYTES: u64 = 1 << 30;
/// Longer texts are cut off.
const MAX_COMMENT_CHARACTERS: usize = 200;
/// Names that installers give to every machine.
const NO_NAMES: [&str; 4] = ["localhost", "debian", "ubuntu", "host"];

/// What was found, by address; in the file's words why there is nothing.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) found: BTreeMap<String, Result<Facts, String>>,
    /// Why no host was looked at.
    pub(super) remark: Option<String>,
}

/// Connects to all hosts and asks each what it is. What does not work is a remark.
pub(super) async fn look(inventory: &Inventory, artifacts: Option<&Path>, accepts_new_host_keys: bool) -> Looked {
    let found = match artifacts::find(artifacts) {
        Ok(found) => found,
        Err(failure) => {
            let text = failure.render(naru_plan::Colour::Never);
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            return Looked { remark: Some(format!("The hosts were not looked at: {first}.")), ..Looked::default() };
        }
    };
    let fleet = SshFleet::new(inventory, &found, accepts_new_host_keys);
    let looks = inventory.spec.hosts.iter().map(|host| {
        let fleet = &fleet;
        async move {
            let facts = tokio::time::timeout(DEADLINE, facts(fleet, host)).await;
            let late = || Err(format!("no answer within {} s", DEADLINE.as_secs()));
            (host.address.clone(), facts.unwrap_or_else(|_| late()))
        }
    });
    let found = futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    Looked { found, remark: None }
}

async fn facts(fleet: &SshFleet, host: &Host) -> Result<Facts, String> {
    let agent = fleet.connect(host).await.map_err(|problem| problem.primary)?;
    match agent.call(Request::Facts).await {
        Ok(Response::Facts(facts)) => Ok(*facts),
        Ok(_) => Err("it answered with something else than what it is".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Looked {
    fn facts(&self, address: &str) -> Option<&Facts> {
        self.found.get(address).and_then(|found| found.as_ref().ok())
    }

    /// The same hosts with the control plane where there is most memory, and with the machines' own names where those
    /// can be names of nodes.
    pub(super) fn propose(&self, mut hosts: Vec<Host>) -> Vec<Host> {
        let memory = |host: &Host| self.facts(&host.address).map(|facts| facts.memory_bytes);
        // Of equals the first that was named.
        let largest =
            hosts.iter().enumerate().filter_map(|(index, host)| Some((memory(host)?, std::cmp::Reverse(index))));
        let control_plane = largest.max().map_or(0, |(_, index)| index.0);
        let own: Vec<Option<String>> =
            hosts.iter().map(|host| self.facts(&host.address).and_then(|facts| own_name(&facts.hostname))).collect();
        let mut taken: BTreeSet<String> = own
            .iter()
            .flatten()
            .filter(|name| own.iter().flatten().filter(|other| other == name).count() == 1)
            .cloned()
            .collect();
        let mut workers = 0;
        for (index, host) in hosts.iter_mut().enumerate() {
            host.role = if index == control_plane { Role::ControlPlane } else { Role::Worker };
            let own_name = own[index].as_ref().filter(|name| taken.contains(*name));
            host.name = match own_name {
                Some(name) => name.clone(),
                None if host.role == Role::ControlPlane => free("cp", 1, &taken),
                None => {
                    workers += 1;
                    free("w", workers, &taken)
                }
            };
            taken.insert(host.name.clone());
        }
        hosts
    }

    /// What a comment behind the host says.
    pub(super) fn comment(&self, host: &Host) -> Option<String> {
        let text = match self.found.get(&host.address)? {
            Err(reason) => format!("not reached: {reason}"),
            Ok(facts) => {
                let mut text = format!("{}, {}, {} cpus", system(facts), memory(facts), facts.cpus);
                if facts.memory_bytes < LITTLE_MEMORY_BYTES {
                    text += "; that is little memory";
                }
                for other in &facts.other_kubernetes {
                    text += &format!("; {other} lives here already");
                }
                text
            }
        };
        Some(on_one_line(&text))
    }

    /// What was found, for the terminal.
    pub(super) fn table(&self, hosts: &[Host]) -> Option<String> {
        if let Some(remark) = &self.remark {
            return Some(format!("{remark}\n"));
        }
        let rows: Vec<Vec<String>> = hosts
            .iter()
            .filter_map(|host| {
                let role = if host.role == Role::ControlPlane { "control-plane" } else { "worker" };
                let rest = match self.found.get(&host.address)? {
                    Ok(facts) => [system(facts), memory(facts), facts.cpus.to_string()],
                    Err(reason) => [format!("not reached: {reason}"), String::new(), String::new()],
                };
                let first = [host.address.clone(), host.name.clone(), role.to_owned()];
                Some(first.iter().chain(&rest).map(|cell| on_one_line(cell)).collect())
            })
            .collect();
        (!rows.is_empty()).then(|| table(&["ADDRESS", "NAME", "ROLE", "SYSTEM", "MEMORY", "CPUS"], &rows))
    }
}

/// The first part of the machine's name, if a node can be called so and it tells machines apart.
fn own_name(hostname: &str) -> Option<String> {
    let name = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_label = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    (is_label && !NO_NAMES.contains(&name.as_str())).then_some(name)
}

fn free(prefix: &str, first: usize, taken: &BTreeSet<String>) -> String {
    let mut names = (first..).map(|number| format!("{prefix}{number}"));
    names.find(|name| !taken.contains(name)).expect("numbers do not end before names do")
}

/// What a machine says of itself could otherwise become fields of the inventory, or play with the terminal.
fn on_one_line(text: &str) -> String {
    let harmless = |character: char| match character {
        '\u{2028}' | '\u{2029}' => ' ',
        control if control.is_control() => ' ',
        other => other,
    };
    text.chars().map(harmless).take(MAX_COMMENT_CHARACTERS).collect()
}

fn system(facts: &Facts) -> String {
    if facts.os_pretty_name.is_empty() { "an unknown system".to_owned() } else { facts.os_pretty_name.clone() }
}

fn memory(facts: &Facts) -> String {
    let tenths = facts.memory_bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// `SHA256:…` of a public key, as ssh shows it.
pub(super) fn fingerprint(key: &str) -> String {
    let blob = key.split_whitespace().nth(1).unwrap_or_default();
    match base64::engine::general_purpose::STANDARD.decode(blob) {
        Ok(bytes) => {
            let digest = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(bytes));
            format!("SHA256:{digest}")
        }
        Err(_) => "a key that cannot be read".to_owned(),
    }
}
