//! One host's agent. Three connections, each opened when first needed: one for changes, which may take minutes and
//! holds the lock, one for uploads beside them, one for questions, which must wait for neither.

use std::path::Path;

use futures::future::BoxFuture;
use naru_agent::{Failure, FailureKind, Request, Response};
use naru_hosts::{Connection, HostError, HostErrorKind};
use naru_observe::{AgentError, HostAgent, Problem, ProblemKind};
use tokio::sync::Mutex;

use super::way::Way;

pub(super) struct RemoteAgent {
    way: Way,
    changes: Mutex<Link>,
    uploads: Mutex<Link>,
    questions: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    /// Who holds the lock on this connection; asked for again when it had to be opened anew.
    owner: Option<String>,
}

impl RemoteAgent {
    pub(super) fn new(way: Way) -> Self {
        Self { way, changes: Mutex::default(), uploads: Mutex::default(), questions: Mutex::default() }
    }

    /// Opens the connection for questions, so that a host that cannot be reached is known at once.
    pub(super) async fn reach(&self) -> Result<(), HostError> {
        let mut link = self.questions.lock().await;
        self.connection(&mut link).await.map(drop)
    }

    /// Closes the connections that nobody uses; the next call opens new ones. One in use finds out by itself.
    pub(super) fn reset(&self) {
        for link in [&self.changes, &self.uploads, &self.questions] {
            if let Ok(mut link) = link.try_lock() {
                link.connection = None;
            }
        }
    }

    fn link(&self, request: &Request) -> &Mutex<Link> {
        match request {
            Request::Apply { .. } | Request::Lock { .. } => &self.changes,
            _ => &self.questions,
        }
    }

    /// The link's connection, with the lock if this link has held it.
    async fn connection(&self, link: &mut Link) -> Result<Connection, HostError> {
        if let Some(connection) = &link.connection
            && connection.is_usable().await
        {
            return Ok(connection.clone());
        }
        link.connection = None;
        let connection = self.way.open().await?;
        if let Some(owner) = link.owner.clone() {
            // Our own earlier agent may not have noticed yet that its connection is gone.
            let soon = |error| match error {
                HostError::Failed { host, failure } => {
                    HostError::Failed { host, failure: Failure { kind: FailureKind::Transient, ..failure } }
                }
                other => other,
            };
            connection.call(Request::Lock { owner }).await.map_err(soon)?;
        }
        link.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn ask(&self, request: Request) -> Result<Response, HostError> {
        let mut link = self.link(&request).lock().await;
        let connection = self.connection(&mut link).await?;
        let owner = match &request {
            Request::Lock { owner } => Some(owner.clone()),
            _ => None,
        };
        let response = connection.call(request).await?;
        link.owner = owner.or(link.owner.take());
        Ok(response)
    }

    async fn send(
        &self,
        sha256: &str,
        path: &Path,
        offset_bytes: u64,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), HostError> {
        let mut link = self.uploads.lock().await;
        self.connection(&mut link).await?.upload(sha256, path, offset_bytes, sent).await
    }
}

impl HostAgent for RemoteAgent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        Box::pin(async move { self.ask(request).await.map_err(agent_error) })
    }

    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        path: &'a Path,
        offset_bytes: u64,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(async move { self.send(sha256, path, offset_bytes, sent).await.map_err(agent_error) })
    }
}

fn agent_error(error: HostError) -> AgentError {
    let detail = error.detail();
    match error {
        HostError::Failed { failure, .. } => AgentError::Failed(failure),
        HostError::Deadline { host, what, seconds } => AgentError::Deadline { host, what, seconds },
        HostError::Broken { host, reason } => AgentError::Connection { host, reason },
        HostError::Client { host, .. } => {
            AgentError::Connection { host, reason: detail.unwrap_or_else(|| "the agent does not answer".to_owned()) }
        }
        other => AgentError::Connect { host: host(&other).to_owned(), problem: problem(&other) },
    }
}

/// The host that every message of this error begins with.
fn host(error: &HostError) -> String {
    error.to_string().split([':', ' ']).next().unwrap_or_default().to_owned()
}

/// The same as data, without the host's name in front: whoever shows it says the name.
pub(super) fn problem(error: &HostError) -> Problem {
    let text = error.to_string();
    let primary = text.strip_prefix(&format!("{}: ", host(error))).unwrap_or(&text).to_owned();
    Problem {
        kind: match error.kind() {
            HostErrorKind::Unreachable => ProblemKind::Unreachable,
            HostErrorKind::Authentication => ProblemKind::Authentication,
            HostErrorKind::HostKey => ProblemKind::HostKey,
            HostErrorKind::Agent => ProblemKind::Agent,
        },
        primary,
        detail: error.detail(),
        hint: error.hint(),
    }
}

#[cfg(test)]
mod tests {
    use naru_agent::Host;
    use naru_resources::Resource;

    use super::*;

    fn agent(root: &Path) -> RemoteAgent {
        RemoteAgent::new(Way::Local { name: "here".to_owned(), host: Host::rooted(root) })
    }

    #[tokio::test]
    async fn checks_applies_and_finds_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path());
        let resources = vec![Resource::Directory { path: "/etc/naru".to_owned(), mode: 0o755 }];
        for (is_check, expected) in [(true, 1), (false, 1), (true, 0)] {
            let resources = resources.clone();
            let request = if is_check {
                Request::Check { resources }
            } else {
                Request::Apply { resources, revert_after_seconds: None }
            };
            let Response::Changes { changes, .. } = agent.call(request).await.unwrap() else { panic!() };
            assert_eq!(changes.len(), expected);
        }
        assert!(folder.path().join("etc/naru").is_dir());
    }

    #[tokio::test]
    async fn uploads_and_keeps_the_lock_over_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        fs_err::write(&file, "program").unwrap();
        let (sha256, _) = crate::artifacts::hash_file(&file).unwrap();
        let (first, second) = (agent(folder.path()), agent(folder.path()));
        let lock = |owner: &str| Request::Lock { owner: owner.to_owned() };
        assert!(matches!(first.call(lock("first")).await.unwrap(), Response::Locked { .. }));
        first.upload(&sha256, &file, 0, &|_| {}).await.unwrap();
        let missing = first.call(Request::MissingArtifacts { sha256: vec![sha256] }).await.unwrap();
        assert_eq!(missing, Response::MissingArtifacts { missing: vec![] });
        assert!(second.call(lock("second")).await.unwrap_err().to_string().contains("first"));
        first.reset();
        // The next change opens a new connection and takes the lock before anything else. Until the old agent has
        // seen its end that fails for a moment, as something that passes.
        let apply = || Request::Apply { resources: vec![], revert_after_seconds: None };
        let mut result = first.call(apply()).await;
        for _ in 0..1000 {
            match &result {
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    result = first.call(apply()).await;
                }
                _ => break,
            }
        }
        result.unwrap();
        assert!(second.call(lock("second")).await.is_err());
    }
}
