//! The trait of everything that hosts come from, and the simplest provider: hosts that exist.

use serde::{Deserialize, Serialize};

use crate::{ClusterSpec, Machine, Power, Result, Role};

/// What a provider tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// An image is being made; takes up to minutes the first time.
    MakingImage {
        /// Which, for people.
        image: String,
    },
    /// A machine is being started.
    Starting {
        /// Its name.
        machine: String,
    },
    /// A machine answers on SSH.
    Ready {
        /// Its name.
        machine: String,
        /// Milliseconds since its start was asked for.
        elapsed_ms: u64,
    },
}

/// Makes, finds and removes the machines of a cluster. Calls block.
pub trait Provider: Send + Sync {
    /// The word in an inventory's `machines.provider`.
    fn name(&self) -> &'static str;

    /// Machines that there are, in stable order. Changes nothing; an unknown cluster has none.
    fn list(&self, cluster: &str) -> Result<Vec<Machine>>;

    /// Makes what is missing, starts what is off, waits until each answers on SSH. Machines that are there but not
    /// wished for stay: removing them is a decision of its own.
    fn ensure(&self, spec: &ClusterSpec, progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<Machine>>;

    /// Removes one machine and everything of it. Nothing to do is no error.
    fn delete_machine(&self, cluster: &str, host: &str) -> Result<()>;

    /// Removes all machines of a cluster and everything around them. Nothing to do is no error.
    fn delete(&self, cluster: &str) -> Result<()>;
}

/// A host that the user lists in the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GivenHost {
    /// Name of the host.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Address or name where sshd listens.
    pub address: String,
    /// Port of sshd.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// Private key to log in with.
    pub key_path: Option<std::path::PathBuf>,
    /// Pinned host key.
    pub host_key: Option<String>,
}

/// Hosts that exist already: nothing is ever made or removed.
#[derive(Debug, Clone, Default)]
pub struct Given {
    hosts: Vec<GivenHost>,
}

impl Given {
    /// The hosts of an inventory.
    pub fn new(hosts: Vec<GivenHost>) -> Self {
        Self { hosts }
    }
}

impl Provider for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn list(&self, _cluster: &str) -> Result<Vec<Machine>> {
        let machine = |host: &GivenHost| Machine {
            name: host.name.clone(),
            host: host.name.clone(),
            role: host.role,
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            key_path: host.key_path.clone(),
            host_key: host.host_key.clone(),
            power: Power::Unknown,
        };
        Ok(self.hosts.iter().map(machine).collect())
    }

    fn ensure(&self, spec: &ClusterSpec, _progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<Machine>> {
        self.list(&spec.name)
    }

    fn delete_machine(&self, _cluster: &str, _host: &str) -> Result<()> {
        Ok(())
    }

    fn delete(&self, _cluster: &str) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageSpec;

    #[test]
    fn given_hosts_are_what_the_user_lists() {
        let host = GivenHost {
            name: "cp1".to_owned(),
            role: Role::ControlPlane,
            address: "192.0.2.11".to_owned(),
            port: 2222,
            user: "admin".to_owned(),
            key_path: None,
            host_key: None,
        };
        let spec = ClusterSpec::simple("prod", 1, 0, &ImageSpec::default());
        let machines = Given::new(vec![host]).ensure(&spec, &|_| {}).unwrap();
        assert_eq!(machines.len(), 1);
        assert_eq!((machines[0].address.as_str(), machines[0].port), ("192.0.2.11", 2222));
        assert_eq!(machines[0].power, Power::Unknown);
    }
}
