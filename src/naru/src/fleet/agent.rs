//! One host's agent. Several connections over one SSH session, each opened when first needed: one for changes, which
//! may take minutes and holds the lock, one for uploads beside them, one for questions, which must wait for neither,
//! and one for ports that are listened on while other hosts try to reach them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{EtcdRequest, Failure, FailureKind, Request, Response};
use naru_hosts::{Connection, HostError, HostErrorKind};
use naru_observe::{AgentError, HostAgent, Problem, ProblemKind};
use tokio::sync::Mutex;

use super::secrets::{Revealed, Secrets};
use super::way::Way;

/// Nobody holds the lock yet.
pub(super) const NO_FENCE: u64 = 0;
/// Well below what an agent that holds a lock waits for.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

pub(super) struct RemoteAgent {
    way: Way,
    secrets: Secrets,
    /// The fleet's, said first on every connection that changes something.
    fence: Arc<AtomicU64>,
    changes: Arc<Mutex<Link>>,
    uploads: Mutex<Link>,
    questions: Mutex<Link>,
    listening: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    /// Who holds the lock on this connection; asked for again when it had to be opened anew.
    owner: Option<String>,
    /// The fence that was said on this connection.
    fence: u64,
}

/// What a request is to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Asked again over a new connection when the first breaks.
    Question,
    /// Of objects of the API. It goes where questions go: no change of the host holds it up.
    ClusterChange,
    Change,
    Transfer,
    Listen,
}

fn sort(request: &Request) -> Sort {
    match request {
        Request::Facts
        | Request::Check { .. }
        | Request::MissingArtifacts { .. }
        | Request::Sign { .. }
        | Request::SealIdentity { .. }
        | Request::UnitLog { .. }
        | Request::Probe { .. }
        | Request::Diagnose
        | Request::Confirm { .. }
        | Request::Etcd(EtcdRequest::Members) => Sort::Question,
        Request::Api(request) if request.is_question() => Sort::Question,
        Request::Api(_) => Sort::ClusterChange,
        Request::Upload { .. } | Request::FetchArtifact { .. } | Request::ServeArtifacts { .. } => Sort::Transfer,
        Request::Listen { .. } => Sort::Listen,
        _ => Sort::Change,
    }
}

impl RemoteAgent {
    pub(super) fn new(way: Way, secrets: Secrets, fence: Arc<AtomicU64>) -> Self {
        let (uploads, questions, listening) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { way, secrets, fence, changes: Arc::default(), uploads, questions, listening }
    }

    /// Opens the connection for questions, so that a host that cannot be reached is known at once.
    pub(super) async fn reach(&self) -> Result<(), HostError> {
        let mut link = self.questions.lock().await;
        self.connection(&mut link, false).await.map(drop)
    }

    /// Closes the connections that nobody uses; the next call opens new ones. One in use finds out by itself.
    pub(super) fn reset(&self) {
        for link in [&*self.changes, &self.uploads, &self.questions, &self.listening] {
            if let Ok(mut link) = link.try_lock() {
                link.connection = None;
            }
        }
        self.way.hang_up();
    }

    fn link(&self, sort: Sort) -> &Mutex<Link> {
        match sort {
            Sort::Question | Sort::ClusterChange => &self.questions,
            Sort::Change => &self.changes,
            Sort::Transfer => &self.uploads,
            Sort::Listen => &self.listening,
        }
    }

    /// The link's connection, with the lock if this link has held it, and with the fence that is valid now.
    async fn connection(&self, link: &mut Link, says_fence: bool) -> Result<Connection, HostError> {
        let connection = match link.connection.take() {
            Some(connection) if connection.is_usable().await => connection,
            _ => {
                link.fence = NO_FENCE;
                let connection = self.way.open().await?;
                if let Some(owner) = link.owner.clone() {
                    connection.call(&Request::Lock { owner }).await.map_err(soon)?;
                }
                connection
            }
        };
        link.connection = Some(connection.clone());
        let fence = self.fence.load(Ordering::SeqCst);
        if says_fence && fence != link.fence {
            connection.call(&Request::Fence { fence }).await?;
            link.fence = fence;
        }
        Ok(connection)
    }

    async fn ask(&self, request: Request) -> Result<Response, HostError> {
        let sort = sort(&request);
        let revealed = self.secrets.reveal(request).map_err(|failure| self.failed(failure))?;
        if sort == Sort::Change {
            // Ports that were opened for a trial are free before what belongs there is started.
            self.listening.lock().await.connection = None;
        }
        let mut link = self.link(sort).lock().await;
        match self.exchange(&mut link, sort, &revealed).await {
            Err(HostError::Broken { .. } | HostError::Client { .. }) if sort == Sort::Question => {
                link.connection = None;
                self.exchange(&mut link, sort, &revealed).await
            }
            outcome => outcome,
        }
    }

    async fn exchange(&self, link: &mut Link, sort: Sort, revealed: &Revealed) -> Result<Response, HostError> {
        // Lock and fence are what a holder begins with; they stand for themselves.
        let is_claim = matches!(revealed.request(), Request::Lock { .. } | Request::Fence { .. });
        let says_fence = matches!(sort, Sort::ClusterChange | Sort::Change | Sort::Transfer) && !is_claim;
        let connection = self.connection(link, says_fence).await?;
        let response = connection.call(revealed.request()).await?;
        match revealed.request() {
            Request::Lock { owner } => {
                let is_first = link.owner.replace(owner.clone()).is_none();
                is_first.then(|| tokio::spawn(live(Arc::downgrade(&self.changes))));
            }
            Request::Fence { fence } => link.fence = *fence,
            _ => {}
        }
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
        let connection = self.connection(&mut link, true).await?;
        connection.upload(sha256, path, offset_bytes, sent).await
    }

    fn failed(&self, failure: Failure) -> HostError {
        HostError::Failed { host: self.way.name().to_owned(), failure }
    }
}

/// Signs of life on the connection that holds the lock, while it has nothing else to say: an agent that hears nothing
/// for long lets go of the lock.
async fn live(changes: Weak<Mutex<Link>>) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        let Some(changes) = changes.upgrade() else { return };
        // One that is at work is heard of anyway.
        let Ok(link) = changes.try_lock() else { continue };
        if let Some(connection) = link.connection.clone()
            && let Err(error) = connection.call(&Request::MissingArtifacts { sha256: Vec::new() }).await
        {
            // Whoever uses the connection next finds out, and opens another one.
            tracing::debug!(%error, "no sign of life was heard");
        }
    }
}

/// Our own earlier agent may not have noticed yet that its connection is gone.
fn soon(error: HostError) -> HostError {
    match error {
        HostError::Failed { host, failure } if failure.kind == FailureKind::Locked => {
            HostError::Failed { host, failure: Failure { kind: FailureKind::Transient, ..failure } }
        }
        other => other,
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
        HostError::NoSpace { ref host, .. } => AgentError::Failed(Failure {
            kind: FailureKind::NoSpace,
            message: error.to_string().trim_start_matches(&format!("{host}: ")).to_owned(),
            detail,
            hint: error.hint(),
        }),
        other => AgentError::Connect { host: other.host().to_owned(), problem: problem(&other) },
    }
}

/// The same as data, without the host's name in front: whoever shows it says the name.
pub(super) fn problem(error: &HostError) -> Problem {
    let text = error.to_string();
    let primary = text.strip_prefix(&format!("{}: ", error.host())).unwrap_or(&text).to_owned();
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
    use naru_agent::{Checked, Host};
    use naru_resources::Resource;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn agent(root: &Path) -> RemoteAgent {
        let way = Way::Local { name: "here".to_owned(), host: Host::rooted(root) };
        RemoteAgent::new(way, Secrets::beside(root), Arc::default())
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
            let (Response::Changes { changes, .. } | Response::Checked(Checked { changes, .. })) =
                agent.call(request).await.unwrap()
            else {
                panic!()
            };
            assert_eq!(changes.len(), expected);
        }
        assert!(folder.path().join("etc/naru").is_dir());
    }

    /// What agents heard, each connection's first request marked with a star; and which requests break the line.
    #[derive(Clone, Default)]
    struct Heard {
        requests: Arc<std::sync::Mutex<Vec<String>>>,
        breaks_at: Arc<std::sync::Mutex<Vec<&'static str>>>,
    }

    impl Heard {
        fn agent(&self, fence: u64) -> RemoteAgent {
            let heard = self.clone();
            let make = move || {
                let (near, far) = tokio::io::duplex(1 << 16);
                tokio::spawn(heard.clone().serve(far));
                Connection::over("made", near)
            };
            let fence = Arc::new(AtomicU64::new(fence));
            RemoteAgent::new(Way::Made(Box::new(make)), Secrets::beside(Path::new("")), fence)
        }

        async fn serve(self, mut stream: tokio::io::DuplexStream) {
            let mut star = "*";
            while let Ok(length) = stream.read_u32().await {
                let mut frame = vec![0; length as usize];
                stream.read_exact(&mut frame).await.unwrap();
                let request: serde_json::Value = serde_json::from_slice(&frame).unwrap();
                let name = request["request"].as_str().unwrap().to_owned();
                self.requests.lock().unwrap().push(format!("{star}{name}"));
                star = "";
                let breaks = {
                    let mut breaks_at = self.breaks_at.lock().unwrap();
                    let breaks = breaks_at.last().is_some_and(|at| *at == name);
                    if breaks {
                        breaks_at.pop();
                    }
                    breaks
                };
                if breaks {
                    return;
                }
                let answer = serde_json::to_vec(&Response::Done).unwrap();
                stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.requests.lock().unwrap())
        }
    }

    fn apply() -> Request {
        Request::Apply { resources: vec![], revert_after_seconds: None }
    }

    #[tokio::test]
    async fn every_connection_that_changes_says_lock_and_fence_first() {
        let heard = Heard::default();
        let agent = heard.agent(7);
        agent.call(Request::Lock { owner: "me".to_owned() }).await.unwrap();
        agent.call(apply()).await.unwrap();
        agent.call(Request::Facts).await.unwrap();
        assert_eq!(heard.take(), ["*lock", "fence", "apply", "*facts"]);
        heard.breaks_at.lock().unwrap().push("apply");
        // A change is not repeated by itself: whoever ordered it decides.
        let broken = agent.call(apply()).await.unwrap_err();
        assert!(broken.is_transient() && broken.breaks_connection(), "{broken}");
        assert_eq!(heard.take(), ["apply"]);
        agent.call(apply()).await.unwrap();
        assert_eq!(heard.take(), ["*lock", "fence", "apply"]);
        agent.fence.store(8, Ordering::SeqCst);
        agent.call(apply()).await.unwrap();
        assert_eq!(heard.take(), ["fence", "apply"]);
        // Who says the fence himself says it once.
        agent.call(Request::Fence { fence: 8 }).await.unwrap();
        agent.call(apply()).await.unwrap();
        assert_eq!(heard.take(), ["fence", "apply"]);
    }

    #[tokio::test]
    async fn questions_are_asked_again_over_a_new_connection() {
        let heard = Heard::default();
        let agent = heard.agent(NO_FENCE);
        heard.breaks_at.lock().unwrap().push("facts");
        agent.call(Request::Facts).await.unwrap();
        assert_eq!(heard.take(), ["*facts", "*facts"]);
        heard.breaks_at.lock().unwrap().extend(["facts", "facts"]);
        assert!(agent.call(Request::Facts).await.is_err());
        heard.take();
        // What may not be done twice is not.
        let create = || {
            let (method, path) = ("POST".to_owned(), "/api/v1/nodes".to_owned());
            Request::Api(naru_agent::ApiRequest {
                method,
                path,
                content_type: String::new(),
                body: String::new(),
                timeout_ms: 1000,
            })
        };
        agent.call(create()).await.unwrap();
        heard.breaks_at.lock().unwrap().push("api");
        assert!(agent.call(create()).await.is_err());
        assert_eq!(heard.take(), ["*api", "api"]);
        // It changes the cluster, so whoever has taken over the lock is asked first.
        let holder = heard.agent(7);
        holder.call(Request::Facts).await.unwrap();
        holder.call(create()).await.unwrap();
        assert_eq!(heard.take(), ["*facts", "fence", "api"]);
    }

    #[tokio::test]
    async fn ports_for_a_trial_are_closed_before_a_change() {
        let heard = Heard::default();
        let agent = heard.agent(NO_FENCE);
        agent.call(Request::Listen { ports: vec![6443] }).await.unwrap();
        agent.call(Request::Facts).await.unwrap();
        assert!(agent.listening.lock().await.connection.is_some());
        agent.call(apply()).await.unwrap();
        assert!(agent.listening.lock().await.connection.is_none());
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
        // As whoever holds the lock does: an upload has a connection of its own, and only the fence says whose it is.
        first.fence.store(1, Ordering::SeqCst);
        first.upload(&sha256, &file, 0, &|_| {}).await.unwrap();
        let missing = first.call(Request::MissingArtifacts { sha256: vec![sha256] }).await.unwrap();
        assert_eq!(missing, Response::MissingArtifacts { missing: vec![] });
        assert!(second.call(lock("second")).await.unwrap_err().to_string().contains("first"));
        first.reset();
        // The next change opens a new connection and takes the lock before anything else. Until the old agent has
        // seen its end that fails for a moment, as something that passes.
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
