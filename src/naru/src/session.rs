//! What most verbs begin with: read the inventory, find machines and programs, observe, plan.

use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use naru_inventory::{Host, Inventory};
use naru_observe::{HostObservation, Observation, ObserveOptions};
use naru_plan::{Plan, desired};

use crate::artifacts::{self, Found};
use crate::exit::Failure;
use crate::fleet::SshFleet;
use crate::machines;

/// Flags of all verbs that reach hosts.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Folder that holds naru-node and naru-control-plane. Default: that of this program.
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    /// Trust host keys that nobody has pinned yet, and remember them in known_hosts.
    #[arg(long)]
    pub(crate) accept_new_host_keys: bool,
}

/// The file argument of all verbs that read an inventory.
#[derive(Debug, Clone, Args)]
pub(crate) struct InventoryFile {
    /// The inventory.
    #[arg(value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
}

/// The same for verbs whose arguments are hosts or files of other kinds.
#[derive(Debug, Clone, Args)]
pub(crate) struct InventoryFlag {
    /// The inventory.
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
}

pub(crate) fn read_inventory(file: &Path) -> Result<Inventory, Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        let failure = Failure::user(error.to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint("`naru init` writes one"),
            _ => failure,
        }
    })?;
    Ok(naru_inventory::parse(&file.to_string_lossy(), &text)?)
}

/// An inventory with its hosts, and the way to them.
pub(crate) struct Session {
    pub(crate) inventory: Inventory,
    pub(crate) found: Found,
    pub(crate) fleet: SshFleet,
    off: Vec<String>,
}

impl Session {
    pub(crate) async fn open(file: &Path, reach: &Reach) -> Result<Self, Failure> {
        Self::of(read_inventory(file)?, reach).await
    }

    pub(crate) async fn of(inventory: Inventory, reach: &Reach) -> Result<Self, Failure> {
        let found = artifacts::find(reach.artifacts.as_deref())?;
        let (inventory, off) = machines::with_hosts(inventory).await?;
        let fleet = SshFleet::new(&inventory, &found, reach.accept_new_host_keys);
        Ok(Self { inventory, found, fleet, off })
    }

    pub(crate) async fn observe(&self, done: &(dyn Fn(&str, &HostObservation) + Sync)) -> Observation {
        let desire = |host: &Host, facts: &naru_agent::Facts| {
            desired(&self.inventory, host, facts, &self.found.programs).map(|desired| desired.resources())
        };
        let mut observation =
            naru_observe::observe(&self.inventory, &self.fleet, &desire, &ObserveOptions::default(), done).await;
        for host in &self.off {
            observation.hosts.insert(host.clone(), HostObservation::Missing { is_off: true });
        }
        observation
    }

    pub(crate) fn plan(&self, observation: &Observation) -> Plan {
        naru_plan::plan(&self.inventory, observation, &self.found.programs, &naru_plan::Options::default())
    }

    /// The host of this name.
    pub(crate) fn host(&self, name: &str) -> Result<&Host, Failure> {
        self.inventory.host(name).ok_or_else(|| {
            let names = self.inventory.host_names().join(", ");
            let failure = Failure::user(format!("there is no host {name} in cluster {}", self.inventory.name()));
            match self.inventory.host_names().iter().any(|known| known == name) {
                true => failure.detail("its machine does not run").hint("`naru apply` makes and starts machines"),
                false => failure.detail(format!("its hosts: {names}")),
            }
        })
    }
}
