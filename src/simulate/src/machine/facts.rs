//! What a host says about itself.

use std::collections::BTreeMap;

use naru_agent::{AGENT_VERSION, CertificateFact, Facts, NetworkLink, Route, UnitState};

use super::{Body, Machine};
use crate::machine::files::sha256;

const AUTHORITY: &str = "/etc/naru/pki/ca.crt";
const MTU: u32 = 1_500;

impl Machine {
    #[must_use]
    pub fn facts(&self) -> Facts {
        let state = |(name, unit): (&String, &super::UnitModel)| UnitState {
            name: name.clone(),
            active_state: match (unit.is_active, unit.has_failed) {
                (true, _) => "active",
                (_, true) => "failed",
                _ => "inactive",
            }
            .to_owned(),
            started_unix_ms: if unit.is_active { unit.started_unix_ms } else { 0 },
        };
        let certificate = |(path, file): (&String, &super::FileModel)| match &file.body {
            Body::Certificate(issued) => {
                Some(CertificateFact { path: path.clone(), not_after_unix_ms: issued.not_after_ms })
            }
            _ => None,
        };
        let versions = [("containerd", "1.7.24"), ("runc", "1.1.15"), ("nftables", "1.1.3")];
        Facts {
            hostname: self.name.clone(),
            machine_id: sha256(self.name.as_bytes())[..32].to_owned(),
            boot_id: format!("{}-{}", self.name, self.boot),
            os_id: self.os_id.clone(),
            os_version_id: self.os_version_id.clone(),
            os_pretty_name: format!("Debian GNU/Linux {}", self.os_version_id),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: "6.12.0".to_owned(),
            cgroup_version: 2,
            init: "systemd".to_owned(),
            memory_bytes: self.memory_bytes,
            memory_available_bytes: self.memory_bytes / 2,
            cpus: 4,
            disk_free_bytes: self.disk_free_bytes,
            addresses: vec![self.address.clone()],
            resolvers: vec!["10.0.0.1".to_owned()],
            swap_active: self.swap_active,
            can_lower_oom_score: true,
            unix_time_ms: self.clock_unix_ms,
            clock_synchronised: Some(self.skew_ms == 0),
            links: vec![NetworkLink {
                name: "eth0".to_owned(),
                mtu: MTU,
                addresses: vec![format!("{}/16", self.address)],
            }],
            routes: vec![Route { destination: "0.0.0.0/0".to_owned(), interface: "eth0".to_owned() }],
            listening: Vec::new(),
            proxy: BTreeMap::new(),
            other_kubernetes: Vec::new(),
            certificates: self.files.iter().filter_map(certificate).collect(),
            fence: self.fence,
            versions: versions
                .iter()
                .filter(|(package, _)| self.packages.contains(*package))
                .map(|(package, version)| (package.replace("nftables", "nft"), (*version).to_owned()))
                .collect(),
            units: self.units.iter().filter(|(_, unit)| unit.is_loaded).map(state).collect(),
            authority: Some(self.authority(AUTHORITY).map(|signer| signer.fingerprint()).unwrap_or_default()),
            agent_version: AGENT_VERSION.to_owned(),
        }
    }
}
