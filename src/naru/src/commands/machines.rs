//! `naru machines`: the machines of the inventory's provider, apart from what runs on them.

use std::time::Duration;

use clap::{Args, Subcommand};
use naru_inventory::Inventory;
use naru_machines::{Machine, Power, Provider};

use super::print;
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::machines::{blocking, ensure, local};
use crate::screen::{Output, Screen, seconds};
use crate::session::{InventoryFlag, read_inventory};
use crate::table::table;

const START_DEADLINE: Duration = Duration::from_secs(90);

#[derive(Debug, Subcommand)]
pub(crate) enum Machines {
    /// Show them.
    List(InventoryFlag),
    /// Make what is missing, start what is off.
    Start(Selection),
    /// Shut down in order.
    Stop(Selection),
    /// Cut the power, as a failure does.
    PowerCut(Selection),
    /// Remove them and everything on them.
    Delete(Selection),
}

#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Which; all if none is named.
    hosts: Vec<String>,
    #[command(flatten)]
    inventory: InventoryFlag,
}

impl Machines {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        match self {
            Self::List(inventory) => {
                let inventory = read_inventory(&inventory.file)?;
                let cluster = inventory.name().to_owned();
                let machines = blocking(move || local().list(&cluster)).await?;
                print(&list(&machines))
            }
            Self::Start(selection) => selection.start(terminal).await,
            Self::Stop(selection) => selection.each(|cluster, host| local().stop(cluster, host)).await,
            Self::PowerCut(selection) => selection.each(|cluster, host| local().power_cut(cluster, host)).await,
            Self::Delete(selection) if selection.hosts.is_empty() => {
                let inventory = selection.open()?;
                let cluster = inventory.name().to_owned();
                blocking(move || local().delete(&cluster)).await?;
                Ok(Exit::Done)
            }
            Self::Delete(selection) => selection.each(|cluster, host| local().delete_machine(cluster, host)).await,
        }
    }
}

impl Selection {
    fn open(&self) -> Result<Inventory, Failure> {
        let inventory = read_inventory(&self.inventory.file)?;
        if inventory.spec.machines.is_none() {
            return Err(Failure::user(format!("cluster {} has hosts of its own, no provider", inventory.name())));
        }
        Ok(inventory)
    }

    /// Does something with each machine, one after the other.
    async fn each(
        self,
        act: impl Fn(&str, &str) -> naru_machines::Result<()> + Send + Clone + 'static,
    ) -> Result<Exit, Failure> {
        let inventory = self.open()?;
        let cluster = inventory.name().to_owned();
        let hosts = if self.hosts.is_empty() { inventory.host_names() } else { self.hosts };
        for host in hosts {
            let (cluster, act) = (cluster.clone(), act.clone());
            blocking(move || act(&cluster, &host)).await?;
        }
        Ok(Exit::Done)
    }

    async fn start(self, terminal: Terminal) -> Result<Exit, Failure> {
        if !self.hosts.is_empty() {
            return self
                .each(|cluster, host| {
                    local().power_on(cluster, host)?;
                    local().wait_for_ssh(cluster, host, START_DEADLINE)
                })
                .await;
        }
        let inventory = self.open()?;
        let screen = Screen::new(Output::Text, terminal);
        ensure(&inventory, move |progress| {
            use naru_machines::Progress::{MakingImage, Ready, Starting};
            screen.remark(&match progress {
                MakingImage { image } => format!("making the machine image {image}; the first time takes a while …"),
                Starting { machine } => format!("{machine}: starting …"),
                Ready { machine, elapsed_ms } => format!("{machine}: answers after {}", seconds(elapsed_ms)),
            });
        })
        .await?;
        Ok(Exit::Done)
    }
}

fn list(machines: &[Machine]) -> String {
    let rows: Vec<Vec<String>> = machines
        .iter()
        .map(|machine| {
            let power = match machine.power {
                Power::On => "on",
                Power::Off => "off",
                Power::Unknown => "unknown",
            };
            vec![machine.host.clone(), machine.address.clone(), power.to_owned(), machine.name.clone()]
        })
        .collect();
    table(&["MACHINE", "ADDRESS", "POWER", "NAME"], &rows)
}
