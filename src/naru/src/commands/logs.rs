//! `naru logs`: last lines of a host's service journal.

use clap::Args;
use naru_agent::{Request, Response};
use naru_observe::Fleet;

use super::print;
use crate::exit::{Exit, Failure};
use crate::session::{InventoryFlag, Reach, Session};

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The host.
    host: String,
    /// The service.
    #[arg(short, long, default_value = naru_plan::NODE_UNIT)]
    unit: String,
    /// How many lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    #[command(flatten)]
    inventory: InventoryFlag,
    #[command(flatten)]
    reach: Reach,
}

impl Logs {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        let host = session.host(&self.host)?;
        let agent = session.fleet.connect(host).await.map_err(|problem| Failure::problem(&host.name, &problem))?;
        match agent.call(Request::UnitLog { unit: self.unit, lines: self.lines }).await? {
            Response::Log { lines } => print(&lines.into_iter().map(|line| line + "\n").collect::<String>()),
            _ => Err(Failure::ours(format!("{} answered with something else", self.host))),
        }
    }
}
