//! The connection to a host's agent, shared by all steps that work on the host.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use naru_agent::{Client, ClientError, Host, Request, Response, Stop, serve};
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWrite};
use tokio::sync::Mutex;

use crate::channel::Watch;
use crate::link::Started;
use crate::session::late;
use crate::{Deadlines, HostError, HostLink, Session};

const PIPE_BYTES: usize = 1024 * 1024;
/// Added to the time that something may take by itself.
const MARGIN: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Once for a program that is missing, once for one that is damaged and then missing.
const MAX_STARTS: usize = 3;

type AgentClient = Client<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

/// A host's agent. Clones share the one connection; calls wait for each other.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    agent: Mutex<Agent>,
    /// None for the agent in this process.
    link: Option<HostLink>,
    deadlines: Deadlines,
    requests: AtomicU64,
}

struct Agent {
    client: AgentClient,
    remote: Option<Remote>,
}

struct Remote {
    watch: Watch,
    session: Arc<Session>,
    /// Until then it may be that there is no agent at all.
    has_answered: bool,
}

impl Agent {
    fn remote(started: Started) -> Self {
        let Started { command, session } = started;
        let client = Client::new(Box::new(command.stdout) as _, Box::new(command.stdin) as _);
        Self { client, remote: Some(Remote { watch: command.watch, session, has_answered: false }) }
    }
}

impl Connection {
    pub(crate) fn on(link: HostLink, started: Started) -> Self {
        let (name, deadlines) = (link.name().to_owned(), link.route().deadlines);
        let agent = Mutex::new(Agent::remote(started));
        let inner = Inner { name, agent, link: Some(link), deadlines, requests: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The agent in this process, for `connection: local`.
    #[must_use]
    pub fn local(name: &str, host: Host) -> Self {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (far_reader, far_writer) = tokio::io::split(far);
        tokio::spawn(async move {
            if let Err(error) = serve(far_reader, far_writer, host, Stop::default()).await {
                tracing::debug!(%error, "the agent in this process ended");
            }
        });
        Self::over(name, near)
    }

    /// An agent at the other end of this stream.
    #[must_use]
    pub fn over(name: &str, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let agent = Agent { client: Client::new(Box::new(reader) as _, Box::new(writer) as _), remote: None };
        let (name, agent, deadlines) = (name.to_owned(), Mutex::new(agent), Deadlines::default());
        Self { inner: Arc::new(Inner { name, agent, link: None, deadlines, requests: AtomicU64::new(0) }) }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Requests that were answered or tried so far, each of which is one round trip.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// One request, one response, within what such a request may take; `Response::Failed` comes as an error.
    pub async fn call(&self, request: &Request) -> Result<Response, HostError> {
        self.call_within(request, self.deadline(request)).await
    }

    pub async fn call_within(&self, request: &Request, deadline: Duration) -> Result<Response, HostError> {
        let mut agent = self.inner.agent.lock().await;
        for _ in 0..MAX_STARTS {
            self.count();
            let response = self.exchange(&mut agent, request, deadline).await?;
            let Agent { remote, .. } = &mut *agent;
            match (response, remote, &self.inner.link) {
                (Err(ClientError::Ended | ClientError::Frame(_)), Some(remote), Some(link)) if !remote.has_answered => {
                    let started = link.mend(&remote.session, &remote.watch).await?;
                    *agent = Agent::remote(started);
                }
                (response, remote, _) => {
                    if let (Ok(_), Some(remote)) = (&response, remote) {
                        remote.has_answered = true;
                    }
                    return self.judge(response);
                }
            }
        }
        let reason = format!("the agent did not start in {MAX_STARTS} attempts");
        Err(HostError::Broken { host: self.inner.name.clone(), reason })
    }

    /// The request goes out with the command that starts the agent; whether it started is watched beside.
    async fn exchange(
        &self,
        agent: &mut Agent,
        request: &Request,
        deadline: Duration,
    ) -> Result<Result<Response, ClientError>, HostError> {
        let Agent { client, remote } = agent;
        let calling = client.call(request, deadline);
        let Some(Remote { watch, session, has_answered: false }) = remote else { return Ok(calling.await) };
        let start = self.inner.deadlines.start;
        let late_start = async {
            if watch.until(start, |now| now.has_begun).await.is_some() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            response = calling => Ok(response),
            () = late_start => Err(late(session.host(), "starting the agent", start)),
        }
    }

    /// Sends a file, from this offset on, as the artifact of this hash; `sent` hears how many bytes of the whole are
    /// over there.
    pub async fn upload(
        &self,
        sha256: &str,
        path: &Path,
        offset_bytes: u64,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), HostError> {
        self.start_for_upload(sha256).await?;
        let program =
            |source| HostError::Program { host: self.inner.name.clone(), path: path.display().to_string(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(program)?;
        file.seek(SeekFrom::Start(offset_bytes)).await.map_err(program)?;
        let size_bytes = file.metadata().await.map_err(program)?.len();
        self.count();
        let mut agent = self.inner.agent.lock().await;
        let deadline = self.inner.deadlines.upload;
        let response = agent.client.upload(sha256, size_bytes, offset_bytes, file, sent, deadline).await;
        self.judge(response).map(drop)
    }

    /// Megabytes do not go to an agent of which nobody knows whether it is there.
    async fn start_for_upload(&self, sha256: &str) -> Result<(), HostError> {
        let is_known = self.inner.agent.lock().await.remote.as_ref().is_none_or(|remote| remote.has_answered);
        if !is_known {
            self.call(&Request::MissingArtifacts { sha256: vec![sha256.to_owned()] }).await?;
        }
        Ok(())
    }

    /// False once a call was cut off or the line broke: then only a new connection helps.
    pub async fn is_usable(&self) -> bool {
        let agent = self.inner.agent.lock().await;
        let is_open = agent.remote.as_ref().is_none_or(|remote| {
            let has_ended = remote.watch.progress().has_ended && remote.has_answered;
            !remote.session.is_closed() && !has_ended
        });
        is_open && agent.client.is_usable()
    }

    /// Lets the agent end in peace; dropping the last clone ends it too.
    pub async fn close(self) {
        self.inner.agent.lock().await.client.close(CLOSE_DEADLINE).await;
    }

    fn count(&self) {
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(link) = &self.inner.link {
            link.count_request();
        }
    }

    fn judge(&self, response: Result<Response, ClientError>) -> Result<Response, HostError> {
        let host = || self.inner.name.clone();
        match response {
            Ok(Response::Failed(failure)) => Err(HostError::Failed { host: host(), failure }),
            Ok(response) => Ok(response),
            Err(ClientError::Deadline { deadline }) => Err(HostError::Deadline {
                host: host(),
                what: "an answer of the agent".to_owned(),
                seconds: deadline.as_secs(),
            }),
            Err(source) => Err(HostError::Client { host: host(), source }),
        }
    }

    fn deadline(&self, request: &Request) -> Duration {
        let Deadlines { question, change, .. } = self.inner.deadlines;
        match request {
            Request::Apply { .. } | Request::Reset => change,
            Request::Api(request) => Duration::from_millis(request.timeout_ms) + MARGIN,
            Request::Run { deadline_ms, .. } | Request::FetchArtifact { deadline_ms, .. } => {
                Duration::from_millis(*deadline_ms) + MARGIN
            }
            Request::Probe { timeout_ms, .. } => Duration::from_millis(*timeout_ms) + question,
            _ => question,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_agent_in_this_process_answers_several_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::local("here", Host::below(folder.path(), Vec::new()));
        let ask = || {
            let connection = connection.clone();
            async move { connection.call(&Request::MissingArtifacts { sha256: vec!["0".repeat(64)] }).await }
        };
        let (one, two) = tokio::join!(ask(), ask());
        assert!(
            matches!(one, Ok(Response::MissingArtifacts { .. }))
                && matches!(two, Ok(Response::MissingArtifacts { .. }))
        );
        let request = Request::MissingArtifacts { sha256: vec!["../x".to_owned()] };
        let refused = connection.call(&request).await.unwrap_err();
        assert!(refused.to_string().starts_with("here: "), "{refused}");
        assert!(connection.is_usable().await);
        assert_eq!(connection.requests(), 3);
        connection.close().await;
    }
}
