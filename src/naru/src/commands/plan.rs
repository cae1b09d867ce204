//! `naru plan`: what apply would do.

use std::path::PathBuf;

use clap::Args;

use super::{print, tell};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::private;
use crate::session::{InventoryFile, Reach, Session};

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    inventory: InventoryFile,
    /// Save the plan; `naru apply PLAN.json` executes exactly it.
    #[arg(short, long, value_name = "PLAN.json")]
    output: Option<PathBuf>,
    /// Exit with 3 if there is something to do.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Plan {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        let observation = session.observe(&|_, _| {}).await;
        let plan = session.plan(&observation);
        print(&naru_plan::render(&plan, terminal.stdout))?;
        if let Some(path) = &self.output {
            let text = serde_json::to_string_pretty(&plan).expect("a plan is plain data") + "\n";
            private::write(path, &text).map_err(|error| Failure::user(error.to_string()))?;
            tell(&format!("Saved. To execute exactly this: naru apply {}\n", path.display()));
        }
        Ok(match (plan.is_incomplete(), plan.is_empty()) {
            (true, _) => Exit::OurFailure,
            (false, false) if self.detailed_exitcode => Exit::Pending,
            (false, _) => Exit::Done,
        })
    }
}
