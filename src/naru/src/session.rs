//! What most verbs begin with: read the inventory, find machines and programs, observe, plan.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use naru_agent::Facts;
use naru_inventory::{Host, Inventory, Role};
use naru_observe::{HostObservation, Observation, ObserveOptions};
use naru_plan::{Options, Plan, desired};
use naru_resources::Resource;

use crate::artifacts::{self, Found};
use crate::exit::Failure;
use crate::fleet::SshFleet;
use crate::hooks::Hooked;
use crate::machines;
use crate::saved::Saved;

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

/// What is looked at, and what of it counts.
#[derive(Debug, Clone, Args)]
pub(crate) struct LookFlags {
    /// Change this host only. Repeat for more.
    #[arg(long, value_name = "HOST")]
    pub(crate) only: Vec<String>,
    /// Hosts that cannot be reached are left out without that counting as a failure.
    #[arg(long)]
    skip_unreachable: bool,
    /// Hosts do not try to reach each other before the first of them is set up.
    #[arg(long)]
    no_preflight: bool,
}

impl LookFlags {
    /// A saved plan says itself what it is about.
    pub(crate) fn refuse_for_saved_plan(&self) -> Result<(), Failure> {
        if self.only.is_empty() && !self.skip_unreachable && !self.no_preflight {
            return Ok(());
        }
        Err(Failure::user(
            "a saved plan is executed as it is: --only, --skip-unreachable and --no-preflight go to `naru plan`",
        ))
    }
}

/// How a session looks at hosts and plans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) options: Options,
    /// Whether hosts that are going to be set up try to reach the others.
    pub(crate) preflight: bool,
    /// Hosts that are looked at at the same time, if not as many as usual.
    pub(crate) parallel: Option<NonZeroU16>,
}

impl Look {
    /// All hosts, preflight included: for verbs that change hosts by the inventory.
    pub(crate) fn whole() -> Self {
        Self { preflight: true, ..Self::default() }
    }

    pub(crate) fn of(flags: &LookFlags) -> Self {
        let only = flags.only.iter().cloned().collect();
        let options = Options { only, skip_unreachable: flags.skip_unreachable };
        Self { options, preflight: !flags.no_preflight, parallel: None }
    }

    pub(crate) fn parallel(self, parallel: Option<NonZeroU16>) -> Self {
        Self { parallel, ..self }
    }

    pub(crate) fn of_saved(saved: &Saved) -> Self {
        Self { options: saved.options(), preflight: saved.preflight(), parallel: None }
    }
}

/// The file argument of all verbs that read an inventory.
#[derive(Debug, Clone, Args)]
pub(crate) struct InventoryFile {
    /// The inventory.
    #[arg(value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
}

impl InventoryFile {
    pub(crate) fn is_saved_plan(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == "json")
    }
}

/// The same for verbs whose arguments are hosts or files of other kinds.
#[derive(Debug, Clone, Args)]
pub(crate) struct InventoryFlag {
    /// The inventory.
    #[arg(short = 'f', long = "file", value_name = "FILE", default_value = "cluster.yaml")]
    pub(crate) file: PathBuf,
}

/// The same for verbs that take a host first: as a second argument, or by flag.
#[derive(Debug, Clone, Args)]
pub(crate) struct AnyInventory {
    /// The inventory. Default: cluster.yaml.
    #[arg(value_name = "FILE", conflicts_with = "flag")]
    file: Option<PathBuf>,
    /// The same by flag.
    #[arg(id = "flag", short = 'f', long = "file", value_name = "FILE")]
    flag: Option<PathBuf>,
}

impl AnyInventory {
    pub(crate) fn file(&self) -> &Path {
        self.file.as_deref().or(self.flag.as_deref()).unwrap_or(Path::new("cluster.yaml"))
    }
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
    pub(crate) fleet: Hooked<SshFleet>,
    off: Vec<String>,
    file: PathBuf,
    look: Look,
}

impl Session {
    pub(crate) async fn open(file: &Path, reach: &Reach) -> Result<Self, Failure> {
        Self::of(read_inventory(file)?, file, reach).await
    }

    /// Of an inventory that was read already; `file` is where it lies, for what it refers to.
    pub(crate) async fn of(inventory: Inventory, file: &Path, reach: &Reach) -> Result<Self, Failure> {
        let found = artifacts::find(reach.artifacts.as_deref())?;
        let (inventory, off) = machines::with_hosts(inventory).await?;
        let mut fleet = SshFleet::new(&inventory, &found, reach.accept_new_host_keys);
        fleet.set_inventory_file(file);
        let fleet = Hooked::new(&inventory, fleet);
        Ok(Self { inventory, found, fleet, off, file: file.to_owned(), look: Look::default() })
    }

    /// The same session, looking in this way.
    pub(crate) fn looking(self, look: Look) -> Self {
        Self { look, ..self }
    }

    /// The same once more, after machines were made.
    pub(crate) async fn again(self, reach: &Reach) -> Result<Self, Failure> {
        Ok(Self::of(self.inventory, &self.file, reach).await?.looking(self.look))
    }

    /// Whether a provider has machines to make or to start.
    pub(crate) fn lacks_machines(&self) -> bool {
        self.inventory.host_names().iter().any(|name| self.inventory.host(name).is_none())
    }

    pub(crate) async fn observe(&self, done: &(dyn Fn(&str, &HostObservation) + Sync)) -> Observation {
        let desire = |host: &Host, facts: &Facts| self.resources(host, facts);
        let mut options = ObserveOptions { preflight: self.look.preflight, ..ObserveOptions::default() };
        if let Some(parallel) = self.look.parallel {
            options.parallelism = usize::from(parallel.get());
        }
        let mut observation = naru_observe::observe(&self.inventory, &self.fleet, &desire, &options, done).await;
        let traffic = self.fleet.inner().traffic();
        tracing::info!(traffic.sessions, traffic.channels, traffic.requests, "looked at all hosts");
        for host in &self.off {
            observation.hosts.insert(host.clone(), HostObservation::Missing { is_off: true });
        }
        observation
    }

    pub(crate) fn plan(&self, observation: &Observation) -> Plan {
        naru_plan::plan(&self.inventory, observation, &self.found.programs, &self.look.options)
    }

    /// What a host of these facts should look like.
    pub(crate) fn resources(&self, host: &Host, facts: &Facts) -> Result<Vec<Resource>, String> {
        desired(&self.inventory, host, facts, &self.found.programs).map(|desired| desired.resources())
    }

    /// The role of a host whose machine does not run, and whether it is only switched off.
    pub(crate) fn is_missing(&self, name: &str) -> Option<(Role, bool)> {
        let groups = self.inventory.spec.machines.as_ref()?.groups.iter();
        let mut named = groups.flat_map(|group| group.machine_names().map(|name| (name, group.role)));
        let (_, role) = named.find(|(known, _)| known == name && self.inventory.host(name).is_none())?;
        Some((role, self.off.iter().any(|off| off == name)))
    }

    /// Refuses names that no host has.
    pub(crate) fn check_names(&self, names: &[String]) -> Result<(), Failure> {
        let known = self.inventory.host_names();
        match names.iter().find(|name| !known.contains(name)) {
            Some(name) => self.host(name).map(drop),
            None => Ok(()),
        }
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
