//! The line to one host: an SSH session that all agents on it share. A further session is opened only when the host
//! lets no more commands in on the first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::channel::{Command, Watch};
use crate::session::late;
use crate::{AgentProgram, Connection, Dialer, ExecOutput, HostError, Route, Session};

/// Sessions to one host; with OpenSSH's usual limit of ten commands on each, more are never needed.
const MAX_SESSIONS: usize = 4;
/// After the end of its stream a command's status follows at once or never.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// One host of a run. Clones share the sessions.
#[derive(Clone)]
pub struct HostLink {
    inner: Arc<Inner>,
}

struct Inner {
    dialer: Arc<Dialer>,
    route: Route,
    program: Arc<AgentProgram>,
    sessions: Mutex<Vec<Arc<Session>>>,
    /// Held while the program goes to the host, so that it goes once.
    installing: Mutex<()>,
}

/// An agent that was asked for; whether it is there shows with its first answer.
pub(crate) struct Started {
    pub(crate) command: Command,
    pub(crate) session: Arc<Session>,
}

impl HostLink {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>, route: Route, program: Arc<AgentProgram>) -> Self {
        let inner = Inner { dialer, route, program, sessions: Mutex::default(), installing: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    #[must_use]
    pub fn route(&self) -> &Route {
        &self.inner.route
    }

    /// Connects and logs in, unless that is done.
    ///
    /// # Errors
    /// When the host cannot be reached or does not let us in.
    pub async fn reach(&self) -> Result<(), HostError> {
        self.session().await.map(drop)
    }

    /// A new agent on this host's session.
    ///
    /// # Errors
    /// When the host cannot be reached. That the agent cannot start shows at the first request.
    pub async fn agent(&self) -> Result<Connection, HostError> {
        let started = self.start().await?;
        Ok(Connection::on(self.clone(), started))
    }

    /// Runs a command in the user's login shell.
    ///
    /// # Errors
    /// When the host cannot be reached or the command does not end in time.
    pub async fn exec(&self, command: &str, deadline: Duration) -> Result<ExecOutput, HostError> {
        self.session().await?.exec(command, deadline).await
    }

    /// Ends all sessions.
    pub async fn close(&self) {
        for session in self.inner.sessions.lock().await.drain(..) {
            session.close().await;
        }
    }

    /// Forgets the sessions, so that the next one is new; what is at work on them goes on.
    pub fn hang_up(&self) {
        if let Ok(mut sessions) = self.inner.sessions.try_lock() {
            sessions.clear();
        }
    }

    pub(crate) fn count_request(&self) {
        self.inner.dialer.counters().requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn start(&self) -> Result<Started, HostError> {
        let script = self.inner.program.starting_script();
        let mut session = self.session().await?;
        for _ in 0..=MAX_SESSIONS {
            match self.launch(&session, &script).await {
                Ok(command) => return Ok(Started { command, session }),
                Err(error @ HostError::ChannelRefused { .. }) => session = self.another(&session, error).await?,
                // A session that does not even open a channel in time is a dead one.
                Err(error) => {
                    if matches!(error, HostError::Deadline { .. } | HostError::Broken { .. }) {
                        self.forget(&session).await;
                    }
                    return Err(error);
                }
            }
        }
        let reason = format!("{MAX_SESSIONS} connections are full");
        Err(HostError::ChannelRefused { host: self.name().to_owned(), reason })
    }

    async fn launch(&self, session: &Session, script: &str) -> Result<Command, HostError> {
        self.inner.dialer.counters().channels.fetch_add(1, Ordering::Relaxed);
        let route = &self.inner.route;
        // Both the channel and, with a password, each step of becoming root have this deadline.
        let whole = route.deadlines.start * 4;
        let starting = route.elevation.start(session, script, route.deadlines.start);
        timeout(whole, starting).await.map_err(|_| late(&route.host, "starting the agent", whole))?
    }

    /// An open session.
    async fn session(&self) -> Result<Arc<Session>, HostError> {
        let mut sessions = self.inner.sessions.lock().await;
        sessions.retain(|session| !session.is_closed());
        if let Some(session) = sessions.last() {
            return Ok(session.clone());
        }
        let session = Arc::new(self.inner.dialer.connect(&self.inner.route).await?);
        sessions.push(session.clone());
        Ok(session)
    }

    /// A session that is not this one, which is full.
    async fn another(&self, full: &Arc<Session>, error: HostError) -> Result<Arc<Session>, HostError> {
        let mut sessions = self.inner.sessions.lock().await;
        sessions.retain(|session| !session.is_closed());
        // Whoever came first has opened one, which stands behind this one.
        let at = sessions.iter().position(|session| Arc::ptr_eq(session, full));
        if let Some(next) = at.and_then(|at| sessions.get(at + 1)) {
            return Ok(next.clone());
        }
        if sessions.len() >= MAX_SESSIONS {
            return Err(error);
        }
        tracing::debug!(host = self.name(), %error, "a further session is opened");
        let session = Arc::new(self.inner.dialer.connect(&self.inner.route).await?);
        sessions.push(session.clone());
        Ok(session)
    }

    async fn forget(&self, dead: &Arc<Session>) {
        self.inner.sessions.lock().await.retain(|session| !Arc::ptr_eq(session, dead));
    }

    /// The agent ended before it answered anything: does what is needed and answers a new one, or says why there
    /// will be none.
    pub(crate) async fn mend(&self, session: &Arc<Session>, watch: &Watch) -> Result<Started, HostError> {
        let ended = watch.until(STATUS_DEADLINE, |_| false).await;
        let (progress, outcome) = (watch.progress(), watch.outcome());
        if ended.is_none() || session.is_closed() {
            self.forget(session).await;
            let reason = "the connection ended before the agent answered".to_owned();
            return Err(HostError::Broken { host: self.name().to_owned(), reason });
        }
        let Inner { program, route, dialer, .. } = &*self.inner;
        let _once = self.inner.installing.lock().await;
        if progress.has_begun {
            return self.verify(session, outcome.status, outcome.stderr).await;
        }
        let probe = program.probe(session, &outcome)?;
        let again = self.start().await?;
        // Somebody else may have put it there meanwhile; then there is nothing to upload.
        let begun = again.command.watch.until(route.deadlines.start, |now| now.has_begun).await;
        if begun.is_some_and(|now| now.has_begun) {
            return Ok(again);
        }
        program.upload(session, &route.elevation, &route.deadlines, probe, dialer.events()).await?;
        self.start().await
    }

    /// The program is there and does not work. One that was damaged is removed and put there anew.
    async fn verify(&self, session: &Arc<Session>, status: Option<u32>, stderr: String) -> Result<Started, HostError> {
        let verified = self.launch(session, &self.inner.program.verifying_script()).await?;
        let ended = verified.watch.until(self.inner.route.deadlines.start, |_| false).await;
        if ended.is_some() && verified.watch.outcome().status != Some(0) {
            tracing::warn!(host = self.name(), "the agent's program on the host is damaged and is put there anew");
            return self.start().await;
        }
        let (host, status) = (self.name().to_owned(), status.unwrap_or(u32::MAX));
        Err(HostError::Command { host, command: "the agent".to_owned(), status, output: stderr })
    }

    pub(crate) fn name(&self) -> &str {
        &self.inner.route.host.name
    }
}
