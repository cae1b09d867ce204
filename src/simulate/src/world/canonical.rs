//! The state of a fleet as it is compared: what lies and runs where, without times, counters and serial numbers.

use std::collections::BTreeMap;

use super::State;
use crate::kubernetes;
use crate::machine::{Body, Machine};

/// A difference of more lines is cut.
const MAX_LINES: usize = 40;

impl State {
    /// One line for each thing that an operator cares about.
    #[must_use]
    pub fn canonical(&self) -> BTreeMap<String, String> {
        let mut lines = BTreeMap::new();
        let makers = Makers::of(self.machines.values());
        for machine in self.machines.values() {
            of_machine(machine, &makers, &mut lines);
        }
        for cluster in self.clusters.values() {
            let is_served = self
                .machines
                .keys()
                .any(|host| self.api_at(host).and_then(|number| self.clusters.get(&number)) == Some(cluster));
            if !is_served {
                continue;
            }
            for (path, object) in cluster.objects.iter().filter(|(path, _)| !path.contains("/pods/")) {
                lines.insert(format!("api {path}"), of_object(object));
            }
        }
        for etcd in self.etcd.values() {
            for member in &etcd.members {
                let role = if member.is_learner { "learner" } else { "voter" };
                lines.insert(format!("etcd {}", member.peer_url), format!("{} {role}", member.name));
            }
        }
        lines
    }
}

fn of_machine(machine: &Machine, makers: &Makers<'_>, lines: &mut BTreeMap<String, String>) {
    let host = &machine.name;
    for (path, file) in &machine.files {
        let body = match &file.body {
            Body::PrivateKey(key) => format!("private key of {}", makers.of_key(key)),
            Body::PublicKey(key) => format!("public key of {}", makers.of_key(key)),
            Body::Authority(signer) => format!("authority {} of {}", signer.common_name, makers.of_key(&signer.key)),
            Body::Certificate(issued) => format!(
                "certificate {} {:?} {:?} for {} by {}",
                issued.common_name,
                issued.organizations,
                issued.alternative_names,
                makers.of_key(&issued.key),
                makers.of_key(&issued.signer.key)
            ),
            Body::Folder => "folder".to_owned(),
            other => other.sha256(),
        };
        lines.insert(format!("{host} {path}"), format!("{:04o} {body}", file.mode));
    }
    for (name, unit) in machine.units.iter().filter(|(_, unit)| unit.is_loaded) {
        let state = format!("active {} enabled {} masked {}", unit.is_active, unit.enabled, unit.masked);
        lines.insert(format!("{host} unit {name}"), state);
    }
    for name in machine.stale_units() {
        lines.insert(format!("{host} stale {name}"), "runs with something older than what lies there".to_owned());
    }
    // Artifacts that nothing uses any more are pruned in their time.
    for (path, entry) in machine.manifest.iter().filter(|(_, entry)| entry.kind != "artifact") {
        // Whoever copies keys notes them as part of the authority.
        let kind = if entry.kind == "keyPair" { "authority" } else { &entry.kind };
        // After a power cut a file may be listed without the hash of what was written, which is as good.
        let there = machine.files.get(path).filter(|_| !entry.sha256.is_empty());
        let is_other = there.is_some_and(|file| file.body.sha256() != entry.sha256);
        lines.insert(format!("{host} manifest {path}"), format!("{kind}{}", if is_other { ", drifted" } else { "" }));
    }
    lines.insert(format!("{host} packages"), format!("{:?}", machine.packages));
    lines.insert(format!("{host} parameters"), format!("{:?}", machine.parameters));
    lines.insert(format!("{host} images"), format!("{:?}", machine.images));
    lines.insert(format!("{host} swap"), machine.swap_active.to_string());
}

/// Who made a key. Any control plane may be the first and make what all of them share, so keys that are known on
/// several hosts are numbered instead.
struct Makers<'a> {
    shared: BTreeMap<&'a str, usize>,
}

impl<'a> Makers<'a> {
    fn of(machines: impl Iterator<Item = &'a Machine>) -> Self {
        let mut known_on: BTreeMap<&str, &str> = BTreeMap::new();
        let mut shared = BTreeMap::new();
        for machine in machines {
            for file in machine.files.values() {
                let key = match &file.body {
                    Body::PrivateKey(key) | Body::PublicKey(key) => key,
                    Body::Authority(signer) => &signer.key,
                    Body::Certificate(issued) => &issued.signer.key,
                    Body::Folder | Body::Text(_) | Body::Program(_) | Body::Link => continue,
                };
                if *known_on.entry(key).or_insert(&machine.name) != machine.name {
                    let number = shared.len() + 1;
                    shared.entry(&**key).or_insert(number);
                }
            }
        }
        Self { shared }
    }

    fn of_key(&self, key: &str) -> String {
        match self.shared.get(key) {
            Some(number) => format!("shared {number}"),
            None => key.split('#').next().unwrap_or_default().to_owned(),
        }
    }
}

fn of_object(object: &serde_json::Value) -> String {
    if object["kind"] != "Node" {
        let mut object = object.clone();
        for field in ["resourceVersion", "uid", "creationTimestamp"] {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove(field);
            }
        }
        return object.to_string();
    }
    let mut taints: Vec<String> =
        object["spec"]["taints"].as_array().into_iter().flatten().map(ToString::to_string).collect();
    taints.sort();
    format!(
        "ready {} version {} cordoned {} labels {} annotations {} taints {taints:?}",
        kubernetes::is_ready(object),
        object["status"]["nodeInfo"]["kubeletVersion"],
        object["spec"]["unschedulable"] == true,
        object["metadata"]["labels"],
        object["metadata"]["annotations"],
    )
}

/// What two states differ in, for a person.
#[must_use]
pub fn difference(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in wanted {
        match found.get(name) {
            Some(other) if other == value => {}
            Some(other) => lines.push(format!("{name}: wanted {value}, found {other}")),
            None => lines.push(format!("{name}: wanted {value}, found nothing")),
        }
    }
    let surplus = found.iter().filter(|(name, _)| !wanted.contains_key(*name));
    lines.extend(surplus.map(|(name, value)| format!("{name}: wanted nothing, found {value}")));
    lines.truncate(MAX_LINES);
    lines
}
