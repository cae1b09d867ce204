//! `naru apply`: shows the plan, asks, executes, and says what to try next.

use clap::Args;

use super::{print, status, tell};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, RunFlags};
use crate::machines;
use crate::report::{left_out, summary};
use crate::saved::Saved;
use crate::screen::{Screen, seconds};
use crate::session::{InventoryFile, Look, LookFlags, Reach, Session};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done or nothing to do, 1 a mistake of yours or the answer was no, 2 something was not \
                  done."
)]
pub(crate) struct Apply {
    /// The inventory, or a plan saved by `naru plan -o`.
    #[command(flatten)]
    inventory: InventoryFile,
    #[command(flatten)]
    look: LookFlags,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    reach: Reach,
}

impl Apply {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let flow = Flow::new(&self.run, terminal);
        let (session, ended) = if self.inventory.is_saved_plan() {
            self.look.refuse_for_saved_plan()?;
            self.saved(&flow).await?
        } else {
            let look = Look::of(&self.look).parallel(self.run.parallel);
            let session = Session::open(&self.inventory.file, &self.reach).await?.looking(look);
            session.check_names(&self.look.only)?;
            converge(&flow, session, &self.reach).await?
        };
        self.last_words(&flow, &session, &ended).await?;
        Ok(ended.exit())
    }

    /// Executes exactly the plan that was saved, or refuses.
    async fn saved(&self, flow: &Flow) -> Result<(Session, Ended), Failure> {
        let saved = Saved::read(&self.inventory.file)?;
        let session = Session::of(saved.plan.inventory.clone(), saved.inventory_file(), &self.reach).await?;
        let session = session.looking(Look::of_saved(&saved).parallel(self.run.parallel));
        flow.show(&saved.plan);
        if saved.plan.is_refused() || saved.plan.is_empty() {
            return Ok((session, Ended::Nothing(saved.plan)));
        }
        if !flow.ask()? {
            return Ok((session, Ended::Declined));
        }
        if saved.plan.machines_to_make().next().is_some() {
            let observation = flow.observe(&session).await;
            saved.still_holds(&session.plan(&observation), &observation)?;
            let session = bring_up(flow, session, &self.reach).await?;
            // What comes after the machines could not be part of the plan; whoever can be asked is asked.
            let ended = flow.go(&session, &|session, seen| session.plan(seen), &|| Ok(()), !flow.asks()).await?;
            return Ok((session, ended));
        }
        let ended = {
            let executor = flow.executor(&session);
            let held = executor.lock(&session.inventory).await?;
            let observation = flow.observe(&session).await;
            saved.still_holds(&session.plan(&observation), &observation)?;
            flow.execute(&executor, &held, saved.plan, &|| Ok(())).await?
        };
        Ok((session, ended))
    }

    async fn last_words(&self, flow: &Flow, session: &Session, ended: &Ended) -> Result<(), Failure> {
        if !flow.shows_text() || !conclude(flow, session, ended).await? {
            return Ok(());
        }
        // What other verbs take is the inventory, and a saved plan does not know where that lies.
        let file = self.inventory.file.display().to_string();
        let file = match file.as_str() {
            "cluster.yaml" => String::new(),
            saved if saved.ends_with(".json") => " INVENTORY".to_owned(),
            other => format!(" {other}"),
        };
        tell(&format!(
            "\nTry next:\n  naru kubeconfig{file} > kubeconfig && export KUBECONFIG=$PWD/kubeconfig\n  \
             kubectl get nodes -o wide\n  naru status{file}\n"
        ));
        Ok(())
    }
}

/// Plans and executes what the session's inventory says, machines first.
pub(crate) async fn converge(flow: &Flow, session: Session, reach: &Reach) -> Result<(Session, Ended), Failure> {
    let planner = |session: &Session, seen: &_| session.plan(seen);
    if !session.lacks_machines() {
        let ended = flow.go(&session, &planner, &|| Ok(()), false).await?;
        return Ok((session, ended));
    }
    let plan = flow.look(&session, &planner).await;
    flow.show(&plan);
    if plan.is_refused() || plan.is_empty() {
        return Ok((session, Ended::Nothing(plan)));
    }
    if !flow.ask()? {
        return Ok((session, Ended::Declined));
    }
    let session = bring_up(flow, session, reach).await?;
    // The question was answered for everything that follows from these machines.
    let ended = flow.go(&session, &planner, &|| Ok(()), true).await?;
    Ok((session, ended))
}

async fn bring_up(flow: &Flow, session: Session, reach: &Reach) -> Result<Session, Failure> {
    let running = flow.interrupts.running();
    make_machines(&session.inventory, &flow.screen).await?;
    drop(running);
    session.again(reach).await
}

async fn make_machines(inventory: &naru_inventory::Inventory, screen: &Screen) -> Result<(), Failure> {
    let face = screen.clone();
    machines::ensure(inventory, move |progress| {
        use naru_machines::Progress::{MakingImage, Ready, Starting};
        face.remark(&match progress {
            MakingImage { image } => format!("making the machine image {image}; the first time takes a while …"),
            Starting { machine } => format!("{machine}: starting …"),
            Ready { machine, elapsed_ms } => format!("{machine}: answers after {}", seconds(elapsed_ms)),
        });
    })
    .await
}

/// Says how it ended, with the nodes if it ended well; answers whether all is as it should be.
pub(crate) async fn conclude(flow: &Flow, session: &Session, ended: &Ended) -> Result<bool, Failure> {
    let Ended::Executed(plan, outcome) = ended else { return Ok(false) };
    if !flow.shows_text() {
        return Ok(ended.is_success());
    }
    tell(&summary(plan, outcome));
    tell(&left_out(plan));
    if outcome.is_success() {
        let observation = flow.observe(session).await;
        print(&format!("\n{}", status::nodes_table(&observation)))?;
    }
    Ok(ended.is_success())
}
