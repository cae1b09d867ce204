//! `naru apply`: shows the plan, asks, executes, and says what to try next.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use fs_err as fs;
use naru_execute::{Executor, Header, Journal, Limits, Outcome, Random};
use naru_observe::{Fleet, HostObservation};
use naru_plan::{NoteKind, PLAN_FORMAT, Plan};
use tokio::sync::watch;

use super::{agreed, print, status, tell};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::machines;
use crate::screen::{Output, Screen, seconds};
use crate::session::{InventoryFile, Reach, Session};

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The inventory, or a plan saved by `naru plan -o`.
    #[command(flatten)]
    inventory: InventoryFile,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// How progress is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    reach: Reach,
}

impl Apply {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let screen = Screen::new(self.output, terminal);
        let interrupt = interruptions();
        let (session, plan) = if self.inventory.file.extension().is_some_and(|extension| extension == "json") {
            saved(&self.inventory.file, &self.reach).await?
        } else {
            let mut session = Session::open(&self.inventory.file, &self.reach).await?;
            let mut plan = observed_plan(&session).await;
            if plan.machines_to_make().next().is_some() {
                self.show(&plan, terminal);
                if !agreed("Do this?", self.yes, terminal)? {
                    return Ok(Exit::UserMistake);
                }
                bring_up(&session, &screen).await?;
                session = Session::open(&self.inventory.file, &self.reach).await?;
                plan = observed_plan(&session).await;
                // The question was answered for everything that follows from these machines.
                return self.finish(session, plan, screen, interrupt, terminal, true).await;
            }
            (session, plan)
        };
        self.finish(session, plan, screen, interrupt, terminal, false).await
    }

    fn show(&self, plan: &Plan, terminal: Terminal) {
        if self.output == Output::Text {
            tell(&naru_plan::render(plan, terminal.stderr));
        }
    }

    async fn finish(
        &self,
        session: Session,
        plan: Plan,
        screen: Screen,
        interrupt: watch::Receiver<bool>,
        terminal: Terminal,
        is_agreed: bool,
    ) -> Result<Exit, Failure> {
        self.show(&plan, terminal);
        if plan.is_refused() {
            return Ok(Exit::OurFailure);
        }
        if plan.is_empty() {
            return Ok(if plan.is_incomplete() { Exit::OurFailure } else { Exit::Done });
        }
        if !is_agreed && !agreed("Do this?", self.yes, terminal)? {
            return Ok(Exit::UserMistake);
        }
        let outcome = execute(&session, &session.fleet, &plan, &screen, interrupt).await?;
        if self.output == Output::Text {
            summary(&outcome);
            let left_out = left_out(&plan);
            tell(&left_out);
            if outcome.is_success() {
                let observation = session.observe(&|_, _| {}).await;
                print(&format!("\n{}", status::nodes_table(&observation)))?;
                if left_out.is_empty() {
                    self.next_steps();
                }
            }
        }
        Ok(if outcome.is_success() && !plan.is_incomplete() { Exit::Done } else { Exit::OurFailure })
    }

    /// What other verbs take is the inventory, and a saved plan does not know where that lies.
    fn next_steps(&self) {
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
    }
}

/// The hosts that the plan had to leave out: without this the last words of a run would be that all is done.
fn left_out(plan: &Plan) -> String {
    let skipped = plan.notes.iter().filter(|note| note.kind == NoteKind::Skipped);
    let hosts: Vec<&str> = skipped.filter_map(|note| note.host.as_deref()).collect();
    if hosts.is_empty() {
        return String::new();
    }
    format!("Left out: {} (see above why). Run the same command again for what is missing there.\n", hosts.join(", "))
}

async fn observed_plan(session: &Session) -> Plan {
    let tell_problem = |host: &str, observed: &HostObservation| {
        if let HostObservation::Unreachable(problem) = observed {
            tracing::info!(host, problem = problem.primary, "a host cannot be reached");
        }
    };
    let observation = session.observe(&tell_problem).await;
    session.plan(&observation)
}

/// A saved plan, if the world is still the one that it was made for.
async fn saved(file: &Path, reach: &Reach) -> Result<(Session, Plan), Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::user(error.to_string()))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        Failure::user(format!("{} is not a saved plan: {error}", file.display()))
            .hint("naru plan -o PLAN.json saves one")
    })?;
    if plan.format != PLAN_FORMAT {
        return Err(Failure::user(format!("{} was saved by another version of naru", file.display())));
    }
    if plan.machines_to_make().next().is_some() {
        return Err(Failure::user(
            "this plan begins with machines that do not run, so it does not say all that follows",
        )
        .hint("apply the inventory instead, or start the machines and plan again"));
    }
    let session = Session::of(plan.inventory.clone(), reach).await?;
    let now = session.plan(&session.observe(&|_, _| {}).await);
    if now != plan {
        return Err(Failure::user("the world has moved since this plan was saved; nothing was changed")
            .hint("make and look at a new plan"));
    }
    Ok((session, plan))
}

async fn bring_up(session: &Session, screen: &Screen) -> Result<(), Failure> {
    let face = screen.clone();
    machines::ensure(&session.inventory, move |progress| {
        use naru_machines::Progress::{MakingImage, Ready, Starting};
        face.remark(&match progress {
            MakingImage { image } => format!("making the machine image {image}; the first time takes a while …"),
            Starting { machine } => format!("{machine}: starting …"),
            Ready { machine, elapsed_ms } => format!("{machine}: answers after {}", seconds(elapsed_ms)),
        });
    })
    .await
}

/// Executes a plan with journal and screen.
pub(crate) async fn execute(
    session: &Session,
    fleet: &dyn Fleet,
    plan: &Plan,
    screen: &Screen,
    interrupt: watch::Receiver<bool>,
) -> Result<Outcome, Failure> {
    let owner = owner();
    screen.keep(Journal::create(&Header::new(plan.inventory.name(), &owner, &plan.fingerprint))?);
    let executor = Executor {
        fleet,
        programs: &session.found.files,
        sink: screen,
        limits: Limits::default(),
        interrupt,
        owner,
        lock_wait: None,
        random: Random::from_system(),
    };
    let held = executor.lock(&plan.inventory).await?;
    Ok(executor.execute(&held, plan).await)
}

/// Who we are, for whoever finds the lock taken.
fn owner() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host} (naru process {})", std::process::id())
}

pub(crate) fn summary(outcome: &Outcome) {
    let finish = outcome.finish;
    let mut text = format!("\n{} done in {}", finish.succeeded, seconds(finish.elapsed_ms));
    if finish.failed > 0 {
        let failed: Vec<&str> = outcome.failed.iter().map(|(step, _)| step.as_str()).collect();
        text += &format!(", {} FAILED: {}", finish.failed, failed.join(", "));
    }
    if finish.skipped > 0 {
        text += &format!(", {} not done: {}", finish.skipped, outcome.skipped.join(", "));
    }
    text += ".\n";
    tell(&text);
    if !outcome.is_success() {
        tell("Run the same command again to go on from here.\n");
    }
}

/// True after the first Ctrl-C; the second ends the program at once, which is safe as well.
pub(crate) fn interruptions() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            tell("\nInterrupted: running steps are finished, no new ones begin. Once more stops at once.\n");
            let _ = sender.send(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(Exit::OurFailure as i32);
            }
        }
        // Without a signal handler there is nothing to hear; the sender must live as long as the run.
        tokio::time::sleep(Duration::MAX).await;
    });
    receiver
}
