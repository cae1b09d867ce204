//! `naru machines`: the machines of the inventory's provider, apart from what runs on them.

use std::time::Duration;

use clap::{Args, Subcommand};
use naru_inventory::Inventory;
use naru_machines::{Machine, Power, Provider};

use super::print;
use crate::ask::agreed;
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
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Which; all if none is named.
    hosts: Vec<String>,
    #[command(flatten)]
    inventory: InventoryFlag,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

impl Delete {
    async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let inventory = self.selection.open()?;
        let cluster = inventory.name().to_owned();
        let hosts = match self.selection.hosts.as_slice() {
            [] => inventory.host_names(),
            named => named.to_vec(),
        };
        let question = format!("Delete {} of cluster {cluster}, and everything on them?", hosts.join(", "));
        if !agreed(&question, self.yes, terminal)? {
            return Ok(Exit::UserMistake);
        }
        if self.selection.hosts.is_empty() {
            blocking(move || local().delete(&cluster)).await?;
            return Ok(Exit::Done);
        }
        self.selection.each(|cluster, host| local().delete_machine(cluster, host)).await
    }
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
            Self::Delete(delete) => delete.run(terminal).await,
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
