//! `naru plan`: what apply would do.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::Args;

use super::{print, tell};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::private;
use crate::saved::Saved;
use crate::session::{InventoryFile, Look, LookFlags, Reach, Session};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 a mistake of yours, 2 a host was left out or nothing can be done, 3 there is \
                  something to do (with --detailed-exitcode)."
)]
pub(crate) struct Plan {
    #[command(flatten)]
    inventory: InventoryFile,
    /// Save the plan; `naru apply PLAN.json` executes exactly it.
    #[arg(short, long, value_name = "PLAN.json")]
    output: Option<PathBuf>,
    /// The plan as JSON on standard output, as it would be saved.
    #[arg(long)]
    json: bool,
    /// Exit with 3 if there is something to do.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    look: LookFlags,
    /// Hosts that are looked at at the same time. Default: 256.
    #[arg(long, value_name = "N")]
    parallel: Option<NonZeroU16>,
    #[command(flatten)]
    reach: Reach,
}

impl Plan {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let look = Look::of(&self.look).parallel(self.parallel);
        let session = Session::open(&self.inventory.file, &self.reach).await?.looking(look.clone());
        session.check_names(&self.look.only)?;
        let observation = session.observe(&|_, _| {}).await;
        let plan = session.plan(&observation);
        let saved = Saved::new(plan.clone(), &observation, &look, &self.inventory.file);
        match self.json {
            true => print(&saved.text())?,
            false => print(&naru_plan::render(&plan, terminal.stdout))?,
        };
        if let Some(path) = &self.output {
            private::write(path, &saved.text()).map_err(|error| Failure::user(error.to_string()))?;
            tell(&format!("Saved. To execute exactly this: naru apply {}\n", path.display()));
        }
        Ok(match (plan.is_incomplete(), plan.is_empty()) {
            (true, _) => Exit::OurFailure,
            (false, false) if self.detailed_exitcode => Exit::Pending,
            (false, _) => Exit::Done,
        })
    }
}
