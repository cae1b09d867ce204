//! The local provider: machines out of systemd-nspawn on this computer.
//!
//! A cluster is a folder below the state folder, with a record that is written before anything is made. Whatever a run
//! that died left behind, the next `ensure` completes and `delete` removes. Whether a machine runs is asked of the
//! kernel (its control groups), never remembered.

mod cgroups;
mod config;
mod disk;
mod image;
mod keys;
mod manager;
mod network;
mod power;
mod record;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub use config::{Config, check_computer};
pub(crate) use image::{publish, remove_folder};

use crate::lock::Lock;
use crate::spec::is_label;
use crate::{ClusterSpec, Error, Group, ImageSpec, Machine, Power, Progress, Provider, Result};
use disk::Disk;
use manager::Manager;
use record::{ClusterRecord, MachineRecord, write_atomically};

/// How long a machine may take from its start until sshd answers; a loaded computer of two cores needs 30 s.
pub const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// More folders in the state folder than this are not clusters.
const CLUSTERS_MAX: usize = 4096;

/// Makes machines on this computer. Needs root.
#[derive(Debug, Clone)]
pub struct Local {
    config: Config,
}

impl Local {
    /// A provider with its folders. Nothing is made yet.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The folders in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes the root file system of a wish if it is not cached; returns its folder, which must not be written to.
    pub fn ensure_image(&self, spec: &ImageSpec, progress: &(dyn Fn(Progress) + Sync)) -> Result<PathBuf> {
        check_computer()?;
        image::ensure_image(&self.config.cache, spec, |key| progress(Progress::MakingImage { image: key.to_owned() }))
    }

    /// Names of all clusters in the state folder.
    pub fn clusters(&self) -> Result<Vec<String>> {
        let entries = match fs_err::read_dir(&self.config.state) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.take(CLUSTERS_MAX).flatten().filter(|entry| entry.path().join("cluster.json").exists());
        let mut names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// The private key that logs in to a cluster's machines.
    pub fn key_path(&self, cluster: &str) -> PathBuf {
        self.config.cluster(cluster).join("id_ed25519")
    }

    /// Host keys of a cluster's machines, in the format of OpenSSH's `known_hosts`.
    pub fn known_hosts(&self, cluster: &str) -> PathBuf {
        self.config.cluster(cluster).join("known_hosts")
    }

    /// What a machine's consoles said since it was made: the place to look when it does not boot.
    pub fn console_log(&self, cluster: &str, host: &str) -> PathBuf {
        Disk::new(&self.config, cluster, host).console()
    }

    /// OpenSSH's client, ready to log in to a machine with its host key pinned; add the remote command.
    pub fn ssh(&self, machine: &Machine) -> Command {
        let cluster = machine.name.strip_suffix(&format!("-{}", machine.host)).unwrap_or(&machine.name);
        let mut command = Command::new("ssh");
        command.arg("-i").arg(self.key_path(cluster)).args(["-F", "none", "-o", "BatchMode=yes"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts(cluster).display()));
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"]);
        command.arg("-p").arg(machine.port.to_string()).arg(format!("{}@{}", machine.user, machine.address));
        command
    }

    /// A program of a machine's image in that machine's network: what happens to the cable, not to the machine. The
    /// image's, because programs such as nft read only what their own version and older ones wrote.
    pub fn in_network(&self, machine: &Machine, program: &str) -> Result<Command> {
        let cluster = machine.name.strip_suffix(&format!("-{}", machine.host)).unwrap_or(&machine.name);
        let record = self.record(cluster)?;
        let found = record.machine(&machine.host).ok_or_else(|| Error::Unknown { name: machine.name.clone() })?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network::namespace_path(&machine.name).display()));
        command.arg("chroot").arg(image::image_root(&self.config.cache, &found.image_key)).arg(program);
        Ok(command)
    }

    fn lock(&self, cluster: &str) -> Result<Lock> {
        if !is_label(cluster) {
            return Err(Error::Unknown { name: cluster.to_owned() });
        }
        Lock::take(&self.config.state.join(format!(".{cluster}.lock")))
    }

    fn record(&self, cluster: &str) -> Result<ClusterRecord> {
        ClusterRecord::load(&self.config, cluster)?.ok_or_else(|| Error::Unknown { name: cluster.to_owned() })
    }

    /// Writes down what will be made: the cluster with its subnet, and every machine that is not there yet.
    fn plan(&self, spec: &ClusterSpec) -> Result<ClusterRecord> {
        let _computer = Lock::take(config::computer_lock())?;
        let mut record = match ClusterRecord::load(&self.config, &spec.name)? {
            Some(record) => record,
            None => {
                let others = self.clusters()?;
                let taken = others.iter().filter_map(|name| ClusterRecord::load(&self.config, name).transpose());
                let taken = taken.map(|record| record.map(|record| record.subnet)).collect::<Result<Vec<_>>>()?;
                let subnet = network::choose_subnet(&taken)?;
                ClusterRecord { name: spec.name.clone(), subnet, machines: Vec::new() }
            }
        };
        for (host, Group { role, image, .. }) in spec.hosts() {
            if record.machine(&host).is_some() {
                continue;
            }
            let machine = MachineRecord {
                host,
                role: *role,
                image: image.clone(),
                image_key: image::image_key(image),
                octet: record.free_octet()?,
                prepared: false,
            };
            self.refuse_foreign(&record.machine_name(&machine))?;
            record.machines.push(machine);
        }
        record.save(&self.config)?;
        // From here on others see the subnet in the routes, not only in our record.
        network::ensure_bridge(&record)?;
        Ok(record)
    }

    /// Names are unique on the computer, records only in this state folder.
    fn refuse_foreign(&self, name: &str) -> Result<()> {
        let namespace = network::namespace_path(name);
        let groups = Manager::of_this_computer().groups(name)?;
        match std::iter::once(namespace).chain(groups).find(|path| path.exists()) {
            Some(path) => Err(Error::Taken { what: path.display().to_string() }),
            None => Ok(()),
        }
    }

    fn make_images(&self, record: &ClusterRecord, progress: &(dyn Fn(Progress) + Sync)) -> Result<()> {
        for machine in &record.machines {
            // An older recipe's root that is still cached stays in use by its machines.
            if image::image_root(&self.config.cache, &machine.image_key).is_dir() {
                continue;
            }
            if machine.prepared && machine.image_key != image::image_key(&machine.image) {
                let (host, key) = (&machine.host, &machine.image_key);
                let message =
                    format!("the root file system of {host} ({key}) is gone from the cache; delete the machine");
                return Err(Error::specification(&record.name, message));
            }
            self.ensure_image(&machine.image, progress)?;
        }
        Ok(())
    }

    fn make_disks(&self, record: &mut ClusterRecord) -> Result<()> {
        let login = keys::make(&self.key_path(&record.name), &format!("naru {}", record.name))?;
        let cluster = record.clone();
        for machine in record.machines.iter_mut().filter(|machine| !machine.prepared) {
            // The root may have been made by a newer recipe than the one that was written down.
            machine.image_key = image::image_key(&machine.image);
            Disk::new(&self.config, &cluster.name, &machine.host).make(&cluster, machine, &login)?;
            machine.prepared = true;
        }
        record.save(&self.config)?;
        self.write_known_hosts(record)
    }

    fn write_known_hosts(&self, record: &ClusterRecord) -> Result<()> {
        let mut text = String::new();
        for machine in record.machines.iter().filter(|machine| machine.prepared) {
            let key = keys::public(&Disk::new(&self.config, &record.name, &machine.host).host_key())?;
            text.push_str(&format!("{} {key}\n", record.address(machine.octet)));
        }
        write_atomically(&self.known_hosts(&record.name), text.as_bytes(), 0o644)
    }

    fn describe(&self, record: &ClusterRecord, machine: &MachineRecord) -> Result<Machine> {
        let host_key = Disk::new(&self.config, &record.name, &machine.host).host_key();
        Ok(Machine {
            name: record.machine_name(machine),
            host: machine.host.clone(),
            role: machine.role,
            address: record.address(machine.octet).to_string(),
            port: 22,
            user: "root".to_owned(),
            key_path: Some(self.key_path(&record.name)),
            host_key: if host_key.exists() { Some(keys::public(&host_key)?) } else { None },
            power: self.power(record, machine)?,
        })
    }

    fn power(&self, record: &ClusterRecord, machine: &MachineRecord) -> Result<Power> {
        let groups = Manager::of_this_computer().groups(&record.machine_name(machine))?;
        Ok(if cgroups::processes(&groups).is_empty() { Power::Off } else { Power::On })
    }
}

impl Provider for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn list(&self, cluster: &str) -> Result<Vec<Machine>> {
        let Some(record) = ClusterRecord::load(&self.config, cluster)? else { return Ok(Vec::new()) };
        record.machines.iter().map(|machine| self.describe(&record, machine)).collect()
    }

    fn ensure(&self, spec: &ClusterSpec, progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<Machine>> {
        spec.validate()?;
        check_computer()?;
        let _lock = self.lock(&spec.name)?;
        let mut record = self.plan(spec)?;
        self.make_images(&record, progress)?;
        self.make_disks(&mut record)?;
        let wished: Vec<String> = spec.hosts().map(|(host, _)| host).collect();
        let machines: Vec<&MachineRecord> =
            record.machines.iter().filter(|machine| wished.contains(&machine.host)).collect();
        self.power_on_all(&record, &machines, progress)?;
        machines.into_iter().map(|machine| self.describe(&record, machine)).collect()
    }

    fn delete_machine(&self, cluster: &str, host: &str) -> Result<()> {
        check_computer()?;
        let _lock = self.lock(cluster)?;
        let Some(mut record) = ClusterRecord::load(&self.config, cluster)? else { return Ok(()) };
        let Some(machine) = record.machine(host).cloned() else { return Ok(()) };
        self.remove_machine(&record, &machine)?;
        record.machines.retain(|other| other.host != host);
        record.save(&self.config)?;
        self.write_known_hosts(&record)
    }

    fn delete(&self, cluster: &str) -> Result<()> {
        check_computer()?;
        let lock = self.lock(cluster)?;
        if let Some(record) = ClusterRecord::load(&self.config, cluster)? {
            for machine in &record.machines {
                self.remove_machine(&record, machine)?;
            }
            let _computer = Lock::take(config::computer_lock())?;
            network::remove_bridge(&record)?;
            network::remove_empty_mount();
            // The record goes last: until then the next run knows what is left to do.
            remove_folder(&self.config.cluster(cluster).join("machines"))?;
            for file in
                [self.key_path(cluster), self.key_path(cluster).with_extension("pub"), self.known_hosts(cluster)]
            {
                let _ = fs_err::remove_file(file);
            }
            remove_folder(&self.config.cluster(cluster))?;
        }
        // Left by a run that died after the record had gone.
        let _ = fs_err::remove_dir(self.config.cluster(cluster));
        let _ = fs_err::remove_file(self.config.state.join(format!(".{cluster}.lock")));
        drop(lock);
        let _ = fs_err::remove_dir(&self.config.state);
        Ok(())
    }
}
