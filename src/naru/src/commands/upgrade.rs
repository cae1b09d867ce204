//! `naru upgrade`: another version of Naru's programs, into the inventory and onto the hosts.

use clap::Args;
use naru_inventory::edit;

use super::{apply, tell};
use crate::cli::Terminal;
use crate::edit::File;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, RunFlags};
use crate::session::{InventoryFile, Look, Reach, Session};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done or nothing to do, 1 a mistake of yours or the answer was no, 2 something was not \
                  done."
)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    inventory: InventoryFile,
    /// The version, as v0.2.0; its programs lie in the folder of that name below --artifacts.
    #[arg(long, value_name = "VERSION")]
    to: String,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    reach: Reach,
}

impl Upgrade {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let flow = Flow::new(&self.run, terminal);
        let file = File::read(&self.inventory.file)?;
        let edited = edit::set_version(&file.text, &self.to)?;
        tell(&file.diff(&edited, terminal.stderr));
        tell("\n");
        let session =
            Session::of(file.parse(&edited)?, &self.inventory.file, &self.reach).await?.looking(Look::whole());
        let write = || file.write(&file.text, &edited);
        let ended = flow.go(&session, &|session, seen| session.plan(seen), &write, false).await?;
        if let Ended::Nothing(plan) = &ended {
            // The hosts are of this version already; only the inventory did not say so.
            if !plan.is_incomplete() && edited != file.text && flow.ask()? {
                write()?;
            }
            return Ok(ended.exit());
        }
        apply::conclude(&flow, &session, &ended).await?;
        Ok(ended.exit())
    }
}
