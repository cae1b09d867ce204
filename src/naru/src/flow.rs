//! How a change is made, for every verb that makes one: look, plan, show, ask, lock, look again, execute. Nothing is
//! executed that was not planned from what was seen under the lock, and nothing that nobody agreed to.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::Args;
use naru_execute::{ExecuteError, Executor, Header, Held, Journal, Limits, Outcome, Random, Shell};
use naru_observe::{HostObservation, Observation, ProblemKind};
use naru_plan::{NoteKind, Plan};

use crate::ask::{agreed, agreed_by_word};
use crate::cli::Terminal;
use crate::commands::tell;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupts;
use crate::owner::owner;
use crate::saved::changed_steps;
use crate::screen::{Output, Screen};
use crate::session::Session;
use crate::style::names;

/// How often a plan may be out of date by the time that it was agreed to.
const MAX_LOOKS: usize = 3;

/// Flags of all verbs that change hosts.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RunFlags {
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// How progress is shown.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Steps that run at the same time, and hosts that are looked at. Default: 64 and 256.
    #[arg(long, value_name = "N")]
    pub(crate) parallel: Option<NonZeroU16>,
    /// How long to wait if another naru is changing the cluster. Default: not at all.
    #[arg(long, value_name = "SECONDS")]
    wait_for_lock: Option<u32>,
}

/// Where a plan comes from.
pub(crate) type Planner<'a> = dyn Fn(&Session, &Observation) -> Plan + Sync + 'a;

/// What is done at the moment of agreement, before the first step.
pub(crate) type Agreed<'a> = dyn Fn() -> Result<(), Failure> + Sync + 'a;

/// How a flow ended.
pub(crate) enum Ended {
    /// The answer was no.
    Declined,
    /// There was nothing to do, or nothing could be done.
    Nothing(Plan),
    Executed(Plan, Outcome),
}

impl Ended {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Declined => Exit::UserMistake,
            Self::Nothing(plan) if plan.is_incomplete() => Exit::OurFailure,
            Self::Nothing(_) => Exit::Done,
            Self::Executed(plan, outcome) if outcome.is_success() && !plan.is_incomplete() => Exit::Done,
            Self::Executed(..) => Exit::OurFailure,
        }
    }

    /// Whether everything is as the plan wanted it.
    pub(crate) fn is_success(&self) -> bool {
        self.exit() == Exit::Done
    }
}

/// One run of a verb that changes hosts.
pub(crate) struct Flow {
    flags: RunFlags,
    /// For what cannot be taken back: the question, and the word that has to be typed.
    word: Option<(String, String)>,
    /// Whether it goes on where too few control planes answer for the lock; none where nobody is offered that.
    without_lock: Option<bool>,
    terminal: Terminal,
    pub(crate) screen: Screen,
    pub(crate) interrupts: Interrupts,
    owner: String,
}

impl Flow {
    pub(crate) fn new(flags: &RunFlags, terminal: Terminal) -> Self {
        let screen = Screen::new(flags.output, terminal);
        let (interrupts, owner) = (Interrupts::listen(), owner());
        Self { flags: flags.clone(), word: None, without_lock: None, terminal, screen, interrupts, owner }
    }

    /// The same for what cannot be taken back; refused at once where nobody can be asked and nobody said yes.
    pub(crate) fn with_word(self, question: String, word: String) -> Result<Self, Failure> {
        if !self.flags.yes && !self.terminal.can_ask {
            return Err(Failure::user("this cannot be taken back, and there is no terminal to ask on")
                .hint("--yes goes on without asking"));
        }
        Ok(Self { word: Some((question, word)), ..self })
    }

    /// The same with `--without-lock`, and whether it was given.
    pub(crate) fn with_choice_of_no_lock(self, without_lock: bool) -> Self {
        Self { without_lock: Some(without_lock), ..self }
    }

    /// Whether there is somebody to ask who wants to be asked.
    pub(crate) fn asks(&self) -> bool {
        !self.flags.yes && self.terminal.can_ask
    }

    pub(crate) fn shows_text(&self) -> bool {
        self.flags.output == Output::Text
    }

    pub(crate) fn ask(&self) -> Result<bool, Failure> {
        match &self.word {
            Some((question, word)) => agreed_by_word(question, word, self.flags.yes),
            None => agreed("Do this?", self.flags.yes, self.terminal),
        }
    }

    /// The whole of it. `is_agreed`: the question was answered already for whatever comes.
    pub(crate) async fn go(
        &self,
        session: &Session,
        planner: &Planner<'_>,
        at_agreement: &Agreed<'_>,
        is_agreed: bool,
    ) -> Result<Ended, Failure> {
        let executor = self.executor(session);
        if is_agreed || !self.asks() {
            let held = match self.lock(&executor, session).await {
                Ok(held) => held,
                Err(error) => return self.without_lock(session, planner, error).await,
            };
            let plan = self.look(session, planner).await;
            self.show(&plan);
            if plan.is_refused() || plan.is_empty() {
                return Ok(Ended::Nothing(plan));
            }
            return self.execute(&executor, &held, plan, at_agreement).await;
        }
        self.asking(session, planner, at_agreement, &executor).await
    }

    async fn asking(
        &self,
        session: &Session,
        planner: &Planner<'_>,
        at_agreement: &Agreed<'_>,
        executor: &Executor<'_>,
    ) -> Result<Ended, Failure> {
        let mut plan = self.look(session, planner).await;
        let mut held = None;
        for _ in 0..MAX_LOOKS {
            self.show(&plan);
            if plan.is_refused() || plan.is_empty() {
                return Ok(Ended::Nothing(plan));
            }
            if !self.ask()? {
                return Ok(Ended::Declined);
            }
            let lock = match held.take() {
                Some(lock) => lock,
                None => self.lock(executor, session).await.map_err(|error| self.no_lock(error))?,
            };
            let now = self.look(session, planner).await;
            if is_same(&plan, &now) {
                return self.execute(executor, &lock, now, at_agreement).await;
            }
            tell(&format!(
                "\nMeanwhile something has changed: {}. The plan is this now:\n\n",
                names(&changed(&plan, &now))
            ));
            (plan, held) = (now, Some(lock));
        }
        Err(Failure::ours(format!("the plan was another one after each of {MAX_LOOKS} answers; nothing was changed"))
            .hint("find out who changes these hosts, or run it with --yes"))
    }

    /// Too few control planes answer: what was seen says why better than the lock does.
    async fn without_lock(
        &self,
        session: &Session,
        planner: &Planner<'_>,
        error: ExecuteError,
    ) -> Result<Ended, Failure> {
        if !matches!(error, ExecuteError::NoMajority { .. }) {
            return Err(self.no_lock(error));
        }
        let plan = self.look(session, planner).await;
        self.show(&plan);
        if plan.is_refused() { Ok(Ended::Nothing(plan)) } else { Err(self.no_lock(error)) }
    }

    async fn lock(&self, executor: &Executor<'_>, session: &Session) -> Result<Held, ExecuteError> {
        match executor.lock(&session.inventory).await {
            Err(error @ ExecuteError::NoMajority { .. }) if self.without_lock == Some(true) => {
                self.screen.remark(&format!("{error}; going on without it, as asked"));
                executor.lock_without_majority(&session.inventory).await
            }
            done => done,
        }
    }

    fn no_lock(&self, error: ExecuteError) -> Failure {
        let is_offered = self.without_lock == Some(false) && matches!(error, ExecuteError::NoMajority { .. });
        // What refuses us lives: how to get in is the better hint.
        let are_silent = match &error {
            ExecuteError::NoMajority { problems, .. } => {
                problems.iter().all(|(_, problem)| problem.kind == ProblemKind::Unreachable)
            }
            _ => false,
        };
        let failure = Failure::from(error);
        match is_offered && are_silent {
            true => failure.hint("if they are gone for good: --without-lock goes on with the hosts that answer"),
            false => failure,
        }
    }

    pub(crate) fn executor<'a>(&'a self, session: &'a Session) -> Executor<'a> {
        Executor {
            fleet: &session.fleet,
            programs: &session.found.files,
            sink: &self.screen,
            commands: &Shell,
            limits: match self.flags.parallel {
                Some(steps) => Limits { steps: usize::from(steps.get()), ..Limits::default() },
                None => Limits::default(),
            },
            interrupt: self.interrupts.wanted(),
            owner: self.owner.clone(),
            lock_wait: self.flags.wait_for_lock.map(|seconds| Duration::from_secs(u64::from(seconds))),
            random: Random::from_system(),
        }
    }

    pub(crate) async fn look(&self, session: &Session, planner: &Planner<'_>) -> Plan {
        planner(session, &self.observe(session).await)
    }

    pub(crate) async fn observe(&self, session: &Session) -> Observation {
        session
            .observe(&|host, observed| {
                if let HostObservation::Unreachable(problem) = observed {
                    tracing::info!(host, problem = problem.primary, "a host cannot be reached");
                }
            })
            .await
    }

    pub(crate) fn show(&self, plan: &Plan) {
        match self.flags.output {
            Output::Text => tell(&naru_plan::render(plan, self.terminal.stderr)),
            Output::Json => self.screen.plan(plan),
        }
    }

    /// Executes a plan that no observation was needed for.
    pub(crate) async fn just(&self, session: &Session, plan: Plan) -> Result<Ended, Failure> {
        let executor = self.executor(session);
        let held = executor.lock(&session.inventory).await?;
        self.execute(&executor, &held, plan, &|| Ok(())).await
    }

    /// Executes a plan under a lock, with journal and screen.
    pub(crate) async fn execute(
        &self,
        executor: &Executor<'_>,
        held: &Held,
        plan: Plan,
        at_agreement: &Agreed<'_>,
    ) -> Result<Ended, Failure> {
        self.screen.keep(Journal::create(&Header::new(plan.inventory.name(), &self.owner, &plan.fingerprint))?);
        at_agreement()?;
        let running = self.interrupts.running();
        let outcome = executor.execute(held, &plan).await;
        drop(running);
        Ok(Ended::Executed(plan, outcome))
    }
}

/// Whether a person who agreed to one has agreed to the other: the same steps, for the same hosts left out.
fn is_same(agreed: &Plan, now: &Plan) -> bool {
    let left_out = |plan: &Plan| -> Vec<(NoteKind, Option<String>)> {
        plan.notes.iter().map(|note| (note.kind, note.host.clone())).collect()
    };
    agreed.steps == now.steps && left_out(agreed) == left_out(now)
}

fn changed<'a>(before: &'a Plan, now: &'a Plan) -> Vec<&'a str> {
    let hosts = changed_steps(before, now);
    if hosts.is_empty() { vec!["which hosts are left out"] } else { hosts }
}
