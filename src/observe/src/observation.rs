//! The observation as data.

use std::collections::BTreeMap;

use naru_agent::{Entry, Facts};
use naru_resources::Change;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ClusterObservation, Problem};

/// Everything that the planner may know about the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub hosts: BTreeMap<String, HostObservation>,
    pub cluster: ClusterObservation,
    /// Whether hosts reach each other; asked only when a host is going to be set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
}

/// What hosts found when they tried to reach each other and names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    /// Connections that were tried.
    pub tried: usize,
    pub unreachable: Vec<Unreachable>,
    /// Names that a host could not resolve, by host.
    pub unresolved: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    pub from: String,
    pub to: String,
    pub port: u16,
    /// What the port is for: `API server`, `kubelet`, `etcd peers`.
    pub purpose: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum HostObservation {
    /// A machine that its provider has not made yet, or that is switched off.
    Missing {
        /// Made but off.
        is_off: bool,
    },
    Unreachable(Problem),
    Reached(Box<Reached>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    pub facts: Facts,
    /// How far the host's clock is ahead of the operator's, or behind it, in seconds.
    #[serde(default)]
    pub clock_skew_seconds: i64,
    /// What differs from the desired resources; indices point into them.
    pub changes: Vec<Change>,
    /// Artifacts that the desired resources need and the host lacks (sha256).
    pub missing_artifacts: Vec<String>,
    /// Everything that Naru put on the host, by path or name.
    #[serde(default)]
    pub manifest: BTreeMap<String, Entry>,
    /// Entries of the manifest that are not as Naru left them.
    #[serde(default)]
    pub drifted: Vec<String>,
    /// Why the host's desired state could not be told or compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Observation {
    #[must_use]
    pub fn reached(&self, host: &str) -> Option<&Reached> {
        match self.hosts.get(host) {
            Some(HostObservation::Reached(reached)) => Some(reached),
            _ => None,
        }
    }

    /// Hash of everything that a plan depends on. What moves by itself is left out: clocks, free disk and memory, ports
    /// in use, unit states (a difference that matters shows in the changes), addresses of pods' interfaces.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Hash(Sha256::new());
        // Host by host, so that a large fleet is not in memory twice.
        for (name, host) in &self.hosts {
            hash.add(&(name, still(host.clone())));
        }
        hash.add(&self.cluster);
        let mut preflight = self.preflight.clone();
        for unreachable in preflight.iter_mut().flat_map(|preflight| &mut preflight.unreachable) {
            unreachable.reason.clear();
        }
        hash.add(&preflight);
        hex::encode(hash.0.finalize())
    }
}

/// What is seen of a host without what moves by itself.
fn still(mut host: HostObservation) -> HostObservation {
    match &mut host {
        HostObservation::Reached(reached) => {
            let Facts { machine_id, hostname, os_id, os_version_id, architecture, authority, .. } =
                std::mem::take(&mut reached.facts);
            reached.facts =
                Facts { machine_id, hostname, os_id, os_version_id, architecture, authority, ..Facts::default() };
            reached.clock_skew_seconds = 0;
        }
        HostObservation::Unreachable(problem) => (problem.detail, problem.primary) = (None, String::new()),
        HostObservation::Missing { .. } => {}
    }
    host
}

struct Hash(Sha256);

impl Hash {
    fn add(&mut self, value: &impl Serialize) {
        serde_json::to_writer(self, value).expect("an observation is plain data with text keys");
    }
}

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation() -> Observation {
        let reached = Reached { facts: Facts { machine_id: "a".into(), ..Facts::default() }, ..Reached::default() };
        Observation {
            hosts: [("w1".to_owned(), HostObservation::Reached(Box::new(reached)))].into(),
            cluster: ClusterObservation::default(),
            preflight: None,
        }
    }

    #[test]
    fn fingerprint_ignores_clocks_and_sees_changes() {
        let before = observation();
        let mut later = before.clone();
        let HostObservation::Reached(reached) = later.hosts.get_mut("w1").unwrap() else { panic!() };
        reached.facts.unix_time_ms = 5;
        assert_eq!(before.fingerprint(), later.fingerprint());
        let HostObservation::Reached(reached) = later.hosts.get_mut("w1").unwrap() else { panic!() };
        reached.changes.push(Change { resource: 0, summary: "x".into(), diff: None, disruption: None });
        assert_ne!(before.fingerprint(), later.fingerprint());
        let text = serde_json::to_string(&later).unwrap();
        assert_eq!(serde_json::from_str::<Observation>(&text).unwrap(), later);
    }
}
