//! What is written down about a cluster, before anything of it is made.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Config;
use crate::spec::{MACHINES_MAX, machine_name};
use crate::{Error, ImageSpec, Result, Role};

/// Machines get the addresses from here on; those below are for the bridge and for people.
const FIRST_OCTET: u8 = 11;
/// Three ranges of 256 subnets each; 10.244 (pods) and 10.96 (services) are not among them.
const RANGES: [(u8, u8); 3] = [(10, 201), (172, 29), (192, 168)];
/// How many subnets there are to choose from.
pub(super) const SUBNETS: u16 = 256 * RANGES.len() as u16;

/// A cluster as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterRecord {
    pub(super) name: String,
    /// Which of the candidate subnets; names of interfaces derive from it, for they may be 15 characters long only.
    pub(super) subnet: u16,
    pub(super) machines: Vec<MachineRecord>,
}

/// A machine as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineRecord {
    pub(super) host: String,
    pub(super) role: Role,
    pub(super) image: ImageSpec,
    /// Key of the cached root: an overlay must keep its lower folder even when recipes change.
    pub(super) image_key: String,
    /// Last part of the address.
    pub(super) octet: u8,
    /// The files of the machine are complete.
    pub(super) prepared: bool,
}

impl ClusterRecord {
    pub(super) fn load(config: &Config, cluster: &str) -> Result<Option<Self>> {
        let path = config.cluster(cluster).join("cluster.json");
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| Error::Record { path, source })
    }

    pub(super) fn save(&self, config: &Config) -> Result<()> {
        let folder = config.cluster(&self.name);
        fs_err::create_dir_all(&folder)?;
        let text = serde_json::to_vec_pretty(self).expect("plain data always has a JSON form");
        write_atomically(&folder.join("cluster.json"), &text, 0o600)
    }

    pub(super) fn machine(&self, host: &str) -> Option<&MachineRecord> {
        self.machines.iter().find(|machine| machine.host == host)
    }

    /// The lowest free last part of an address.
    pub(super) fn free_octet(&self) -> Result<u8> {
        let taken: Vec<u8> = self.machines.iter().map(|machine| machine.octet).collect();
        (FIRST_OCTET..=FIRST_OCTET + (MACHINES_MAX - 1) as u8)
            .find(|octet| !taken.contains(octet))
            .ok_or_else(|| Error::specification(&self.name, format!("more than {MACHINES_MAX} machines")))
    }

    pub(super) fn bridge(&self) -> String {
        bridge_name(self.subnet)
    }

    pub(super) fn table(&self) -> String {
        format!("naru_machines_{}", self.subnet)
    }

    pub(super) fn address(&self, octet: u8) -> Ipv4Addr {
        subnet_address(self.subnet, octet)
    }

    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The host's end of a machine's cable.
    pub(super) fn interface(&self, machine: &MachineRecord) -> String {
        format!("naru{}-{}", self.subnet, machine.octet)
    }

    /// Stays the same over power cuts, so that nobody's neighbour table is wrong.
    pub(super) fn hardware_address(&self, machine: &MachineRecord) -> String {
        self.hardware(machine.octet)
    }

    pub(super) fn bridge_hardware_address(&self) -> String {
        self.hardware(1)
    }

    fn hardware(&self, octet: u8) -> String {
        let [high, low] = self.subnet.to_be_bytes();
        format!("02:6e:61:{high:02x}:{low:02x}:{octet:02x}")
    }

    pub(super) fn machine_name(&self, machine: &MachineRecord) -> String {
        machine_name(&self.name, &machine.host)
    }
}

pub(super) fn bridge_name(subnet: u16) -> String {
    format!("naru-br{subnet}")
}

/// An address in one of the candidate subnets.
pub(super) fn subnet_address(subnet: u16, octet: u8) -> Ipv4Addr {
    let (first, second) = RANGES[usize::from(subnet / 256) % RANGES.len()];
    Ipv4Addr::new(first, second, (subnet % 256) as u8, octet)
}

/// Replaces a file in one step and waits until it is on disk.
pub(super) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    let _ = fs_err::remove_file(&temporary);
    let mut file = fs_err::OpenOptions::new().create_new(true).write(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        fs_err::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(octets: &[u8]) -> ClusterRecord {
        let machine = |octet: &u8| MachineRecord {
            host: format!("w{octet}"),
            role: Role::Worker,
            image: ImageSpec::default(),
            image_key: String::new(),
            octet: *octet,
            prepared: false,
        };
        ClusterRecord { name: "demo".to_owned(), subnet: 767, machines: octets.iter().map(machine).collect() }
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        let record = record(&[250]);
        assert!(record.interface(&record.machines[0]).len() <= 15);
        assert!(record.bridge().len() <= 15);
        assert_eq!(record.gateway(), Ipv4Addr::new(192, 168, 255, 1));
    }

    #[test]
    fn a_removed_machine_gives_its_address_back() {
        assert_eq!(record(&[]).free_octet().unwrap(), 11);
        assert_eq!(record(&[11, 13]).free_octet().unwrap(), 12);
        let all: Vec<u8> = (11..=250).collect();
        assert!(record(&all).free_octet().is_err());
    }

    #[test]
    fn records_survive_a_round_trip_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { cache: folder.path().join("cache"), state: folder.path().join("state") };
        assert_eq!(ClusterRecord::load(&config, "demo").unwrap(), None);
        let record = record(&[11]);
        record.save(&config).unwrap();
        assert_eq!(ClusterRecord::load(&config, "demo").unwrap(), Some(record));
        fs_err::write(config.cluster("demo").join("cluster.json"), b"{").unwrap();
        assert!(matches!(ClusterRecord::load(&config, "demo"), Err(Error::Record { .. })));
    }
}
