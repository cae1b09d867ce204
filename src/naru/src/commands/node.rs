//! `naru node`: adds, removes, replaces, empties and opens nodes. The first three edit the inventory, comments kept,
//! and apply it.

mod add;
mod replace;

use clap::{Args, Subcommand};
use naru_inventory::{HostState, Inventory, edit};
use naru_plan::{Action, Colour, Note, NoteKind, Plan, Step};

use super::{apply, tell};
use crate::cli::Terminal;
use crate::edit::File;
use crate::exit::{Exit, Failure};
use crate::flow::{Ended, Flow, Planner, RunFlags};
use crate::report::{left_out, summary};
use crate::session::{InventoryFlag, Reach, Session};

/// What a step about a Node object may take beyond what it waits for.
const STEP_SECONDS: u32 = 60;
const EXIT_CODES: &str = "Exit codes: 0 done, 1 a mistake of yours or the answer was no, 2 something was not done.";

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Add a machine to the inventory and make it a node.
    Add(add::Add),
    /// Drain a node, take it out of the cluster, clean its host, and take it out of the inventory.
    Remove(Remove),
    /// Put another machine in a host's place, whether that is dead or lives.
    Replace(replace::Replace),
    /// Evict a node's pods, respecting disruption budgets, and let no new ones in.
    Drain(Drain),
    /// Let new pods onto a node again.
    Uncordon(Uncordon),
}

impl Node {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        match self {
            Self::Add(add) => add.run(terminal).await,
            Self::Remove(remove) => remove.run(terminal).await,
            Self::Replace(replace) => replace.run(terminal).await,
            Self::Drain(drain) => drain.run(terminal).await,
            Self::Uncordon(uncordon) => uncordon.run(terminal).await,
        }
    }
}

/// What all of them take: where the inventory is, how the run goes, how hosts are reached.
#[derive(Debug, Args)]
struct Changing {
    #[command(flatten)]
    inventory: InventoryFlag,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    reach: Reach,
}

impl Changing {
    fn flow(&self, terminal: Terminal) -> Flow {
        Flow::new(&self.run, terminal)
    }

    fn file(&self) -> Result<File, Failure> {
        File::read(&self.inventory.file)
    }

    /// Of an inventory that lies, or will lie, in the file.
    async fn session(&self, inventory: Inventory) -> Result<Session, Failure> {
        Session::of(inventory, &self.inventory.file, &self.reach).await
    }

    /// Of the file as it is, which must know this host.
    async fn session_with(&self, host: &str) -> Result<Session, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        session.host(host)?;
        Ok(session)
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Remove {
    /// The host.
    name: String,
    #[command(flatten)]
    changing: Changing,
}

impl Remove {
    async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let flow = self.changing.flow(terminal);
        let file = self.changing.file()?;
        let leaving = match file.parse(&file.text)?.host(&self.name).is_some_and(|host| host.state.is_present()) {
            true => Leaving::of(&file, &self.name)?,
            false => Leaving::new(&file, file.text.clone(), &self.name)?,
        };
        leaving.tell(terminal.stderr);
        let session = self.changing.session(file.parse(&leaving.text)?).await?;
        leaving.go(&flow, &session, &|session, seen| session.plan(seen)).await
    }
}

/// A host on its way out: `absent` in the inventory first, and taken out of it once it is out of the cluster.
struct Leaving<'a> {
    file: &'a File,
    text: String,
    name: &'a str,
}

impl<'a> Leaving<'a> {
    /// A host that was present until now.
    fn of(file: &'a File, name: &'a str) -> Result<Self, Failure> {
        // First what comes last, so that an inventory which would be none without the host is told before anything.
        edit::remove_host(&file.text, name)?;
        Self::new(file, edit::set_host_state(&file.text, name, HostState::Absent)?, name)
    }

    /// By a text in which it is absent.
    fn new(file: &'a File, text: String, name: &'a str) -> Result<Self, Failure> {
        edit::remove_host(&text, name)?;
        Ok(Self { file, text, name })
    }

    fn tell(&self, colour: Colour) {
        tell(&self.file.diff(&self.text, colour));
        tell(&format!("  and without {} as soon as it is out of the cluster\n\n", self.name));
    }

    async fn go(&self, flow: &Flow, session: &Session, planner: &Planner<'_>) -> Result<Exit, Failure> {
        let Self { file, text, name } = self;
        let write = || file.write(&file.text, text);
        let ended = flow.go(session, planner, &write, false).await?;
        match &ended {
            Ended::Declined => return Ok(ended.exit()),
            Ended::Nothing(plan) if plan.is_empty() && self.is_free(plan) => {
                if !flow.ask()? {
                    return Ok(Exit::UserMistake);
                }
                write()?;
            }
            Ended::Nothing(_) => {
                tell("The inventory is as it was.\n");
                return Ok(ended.exit());
            }
            Ended::Executed(..) => {}
        }
        let is_done = match &ended {
            Ended::Executed(plan, outcome) => outcome.is_success() && self.is_free(plan),
            _ => true,
        };
        apply::conclude(flow, session, &ended).await?;
        if is_done {
            file.write(text, &edit::remove_host(text, name)?)?;
            tell(&format!("{name} is out of the cluster and out of {}.\n", file.path().display()));
        } else {
            tell(&format!(
                "{name} stays in the inventory, as `state: absent`, until that is done: the same command goes on, and \
                 `naru apply` would take it out as well, without waiting for anything.\n"
            ));
        }
        Ok(ended.exit())
    }

    /// Whether nothing keeps this very host in the cluster; others that are away are another matter.
    fn is_free(&self, plan: &Plan) -> bool {
        let keeps = |note: &Note| match note.kind {
            NoteKind::Skipped => note.host.as_deref().is_none_or(|host| host == self.name),
            NoteKind::Later => note.host.as_deref() == Some(self.name),
            _ => false,
        };
        !plan.is_refused() && !plan.notes.iter().any(keeps)
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Drain {
    /// The host.
    name: String,
    /// How long it may take. Default: the inventory's `rollout.drainTimeoutSeconds`.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    #[command(flatten)]
    changing: Changing,
}

impl Drain {
    async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = self.changing.session_with(&self.name).await?;
        let rollout = &session.inventory.spec.rollout;
        let timeout_seconds = self.timeout.unwrap_or(rollout.drain_timeout_seconds);
        let control_planes = control_planes(&session)?;
        let steps = vec![
            step(
                &self.name,
                "cordon",
                "no new pods on the node",
                Action::Cordon { control_planes: control_planes.clone() },
            ),
            Step {
                needs: vec![format!("{}/cordon", self.name)],
                deadline_seconds: timeout_seconds.saturating_add(STEP_SECONDS),
                ..step(&self.name, "drain", "evict its pods", Action::Drain { control_planes, timeout_seconds })
            },
        ];
        execute(&session, steps, &self.changing.flow(terminal)).await
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Uncordon {
    /// The host.
    name: String,
    #[command(flatten)]
    changing: Changing,
}

impl Uncordon {
    async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = self.changing.session_with(&self.name).await?;
        let control_planes = control_planes(&session)?;
        let steps =
            vec![step(&self.name, "uncordon", "new pods on the node again", Action::Uncordon { control_planes })];
        execute(&session, steps, &self.changing.flow(terminal)).await
    }
}

fn control_planes(session: &Session) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = session.inventory.control_planes().map(|host| host.name.clone()).collect();
    if names.is_empty() {
        return Err(Failure::ours("no control plane runs").hint("`naru apply` makes and starts machines"));
    }
    Ok(names)
}

fn step(host: &str, name: &str, title: &str, action: Action) -> Step {
    Step { deadline_seconds: STEP_SECONDS, ..Step::new(host, name, title, action) }
}

/// Executes steps that no observation has to be made for.
async fn execute(session: &Session, steps: Vec<Step>, flow: &Flow) -> Result<Exit, Failure> {
    let plan = Plan::of(session.inventory.clone(), steps);
    flow.show(&plan);
    if !flow.ask()? {
        return Ok(Exit::UserMistake);
    }
    let ended = flow.just(session, plan).await?;
    if let Ended::Executed(plan, outcome) = &ended
        && flow.shows_text()
    {
        tell(&summary(plan, outcome));
        tell(&left_out(plan));
    }
    Ok(ended.exit())
}
