//! What is wished for (groups of machines) and what there is (machines).

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Most machines of one cluster; the addresses .11 to .250 of its subnet.
pub(crate) const MACHINES_MAX: usize = 240;
/// Kernel names (interfaces aside) and host names are at most 64 characters long.
const MACHINE_NAME_MAX: usize = 64;

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the control plane.
    ControlPlane,
    /// Runs workloads only.
    Worker,
}

/// Debian release of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    #[default]
    Trixie,
}

impl Release {
    /// The suite's name on a mirror.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// Which root file system machines start from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ImageSpec {
    /// Debian release.
    pub release: Release,
    /// With containerd, runc and the CNI plugins installed already, so that a cluster comes up fast; plain otherwise.
    pub prepared: bool,
    /// Further Debian packages.
    pub packages: Vec<String>,
}

impl ImageSpec {
    /// A machine as one gets it from an installer: sshd and nothing for containers.
    pub fn plain(release: Release) -> Self {
        Self { release, ..Self::default() }
    }

    /// A machine that has the container runtime already.
    pub fn prepared(release: Release) -> Self {
        Self { release, prepared: true, ..Self::default() }
    }
}

/// Machines that are alike, as an inventory lists them under `machines.groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// First part of the host names: `w` makes `w1`, `w2`.
    pub name: String,
    /// What they are for.
    pub role: Role,
    /// How many.
    pub count: u32,
    /// Their root file system.
    #[serde(default)]
    pub image: ImageSpec,
}

/// A named set of machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Names of machines begin with it.
    pub name: String,
    /// The machines.
    pub groups: Vec<Group>,
}

impl ClusterSpec {
    /// One control plane (`cp1`…) and workers (`w1`…), all from one image.
    pub fn simple(name: &str, control_planes: u32, workers: u32, image: &ImageSpec) -> Self {
        let group = |group: &str, role, count| Group { name: group.to_owned(), role, count, image: image.clone() };
        let groups = vec![group("cp", Role::ControlPlane, control_planes), group("w", Role::Worker, workers)];
        Self { name: name.to_owned(), groups: groups.into_iter().filter(|group| group.count > 0).collect() }
    }

    /// Host names of all machines with their groups, in the order of the wish.
    pub fn hosts(&self) -> impl Iterator<Item = (String, &Group)> {
        self.groups.iter().flat_map(|group| (1..=group.count).map(move |n| (format!("{}{n}", group.name), group)))
    }

    /// Says what cannot be, before anything is made.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::specification(&self.name, message));
        if !is_label(&self.name) {
            return fail("the name must be lower-case letters, digits and hyphens, and begin with a letter".to_owned());
        }
        // Counted before names are made: a count of a billion must not fill the memory first.
        let count: u64 = self.groups.iter().map(|group| u64::from(group.count)).sum();
        if count == 0 || count > MACHINES_MAX as u64 {
            return fail(format!("{count} machines are wished for; between 1 and {MACHINES_MAX} are possible"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (host, group) in self.hosts() {
            if !is_label(&group.name) {
                return fail(format!(
                    "group {:?}: the name must be lower-case letters, digits and hyphens",
                    group.name
                ));
            }
            if machine_name(&self.name, &host).len() > MACHINE_NAME_MAX {
                return fail(format!("the name of machine {host} would be longer than {MACHINE_NAME_MAX} characters"));
            }
            if !seen.insert(host.clone()) {
                return fail(format!("two groups make a machine named {host}"));
            }
        }
        Ok(())
    }
}

/// `<cluster>-<host>`: unique on this computer.
pub(crate) fn machine_name(cluster: &str, host: &str) -> String {
    format!("{cluster}-{host}")
}

fn is_label(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.ends_with('-')
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Its processes live (it may still be booting).
    On,
    /// Nothing of it runs.
    Off,
    /// Not of our making; nobody here knows.
    Unknown,
}

/// A machine and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Unique on this computer: `<cluster>-<group><n>`.
    pub name: String,
    /// Host name, unique in its cluster: `<group><n>`. The inventory's name of the host.
    pub host: String,
    /// What it is for.
    pub role: Role,
    /// Where sshd listens: an address or, for given hosts, a name.
    pub address: String,
    /// Port of sshd.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// Private key that logs in, when the provider made one.
    pub key_path: Option<PathBuf>,
    /// Public host key as `ssh-ed25519 AAAA…`, to be pinned, when the provider made it.
    pub host_key: Option<String>,
    /// Whether it runs.
    pub power: Power,
}

impl Machine {
    /// The address as an IPv4 address; machines of the local provider always have one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.address.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_numbered_by_group() {
        let spec = ClusterSpec::simple("demo", 1, 2, &ImageSpec::default());
        let hosts: Vec<String> = spec.hosts().map(|(host, _)| host).collect();
        assert_eq!(hosts, ["cp1", "w1", "w2"]);
        spec.validate().unwrap();
    }

    #[test]
    fn impossible_wishes_are_told() {
        let image = ImageSpec::default();
        let mut spec = ClusterSpec::simple("Demo", 1, 0, &image);
        assert!(spec.validate().unwrap_err().to_string().contains("lower-case"));
        spec.name = "demo".to_owned();
        spec.groups[0].count = u32::MAX;
        assert!(spec.validate().unwrap_err().to_string().contains("between 1 and 240"));
        spec.groups = vec![];
        assert!(spec.validate().unwrap_err().to_string().contains("0 machines"));
        let group =
            |name: &str, count| Group { name: name.to_owned(), role: Role::Worker, count, image: image.clone() };
        spec.groups = vec![group("w1", 1), group("w", 11)];
        assert!(spec.validate().unwrap_err().to_string().contains("two groups make a machine named w11"));
    }

    #[test]
    fn groups_read_as_an_inventory_writes_them() {
        let text = r#"{"name": "cp", "role": "control-plane", "count": 1, "image": {"release": "bookworm"}}"#;
        let group: Group = serde_json::from_str(text).unwrap();
        assert_eq!(group.role, Role::ControlPlane);
        assert_eq!(group.image, ImageSpec::plain(Release::Bookworm));
        assert!(serde_json::from_str::<Group>(r#"{"name":"w","role":"worker","count":1,"colour":1}"#).is_err());
    }
}
