//! The connection to a host's agent, shared by all steps that work on the host.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use naru_agent::{Client, ClientError, Host, Request, Response, Stop, serve};
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWrite};
use tokio::sync::Mutex;

use crate::{AgentProgram, Credentials, Deadlines, ExecOutput, HostAddress, HostError, HostKeyPolicy, Session};

const PIPE_BYTES: usize = 1024 * 1024;
const QUESTION_DEADLINE: Duration = Duration::from_secs(120);
/// Installing packages over a slow line is the longest there is.
const APPLY_DEADLINE: Duration = Duration::from_secs(30 * 60);
const UPLOAD_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Added to the time that an API call may take by itself.
const API_MARGIN: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

type AgentClient = Client<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

/// A host's agent. Clones share the one connection; calls wait for each other.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    client: Mutex<AgentClient>,
    /// None for the agent in this process.
    session: Option<Session>,
}

impl Connection {
    /// Connects by SSH, puts the agent there if needed, and starts it.
    pub async fn open(
        host: &HostAddress,
        credentials: &Credentials,
        policy: &HostKeyPolicy,
        deadlines: &Deadlines,
        program: &AgentProgram,
    ) -> Result<Self, HostError> {
        let session = Session::connect(host, credentials, policy, deadlines).await?;
        Self::on(session, deadlines, program).await
    }

    /// Starts the agent on a session that is open already.
    pub async fn on(session: Session, deadlines: &Deadlines, program: &AgentProgram) -> Result<Self, HostError> {
        let command = program.install(&session, deadlines).await?;
        let stream = session.start(&command).await?;
        let (reader, writer) = tokio::io::split(stream);
        let client = Client::new(Box::new(reader) as _, Box::new(writer) as _);
        let name = session.host().name.clone();
        Ok(Self { inner: Arc::new(Inner { name, client: Mutex::new(client), session: Some(session) }) })
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
        let (reader, writer) = tokio::io::split(near);
        let client = Client::new(Box::new(reader) as _, Box::new(writer) as _);
        Self { inner: Arc::new(Inner { name: name.to_owned(), client: Mutex::new(client), session: None }) }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// One request, one response, within what such a request may take; `Response::Failed` comes as an error.
    pub async fn call(&self, request: Request) -> Result<Response, HostError> {
        let deadline = deadline(&request);
        self.call_within(request, deadline).await
    }

    pub async fn call_within(&self, request: Request, deadline: Duration) -> Result<Response, HostError> {
        let response = self.inner.client.lock().await.call(&request, deadline).await;
        self.judge(response)
    }

    /// Sends a file as the artifact of this hash; `sent` hears how many bytes have gone out so far.
    pub async fn upload(
        &self,
        sha256: &str,
        path: &Path,
        offset_bytes: u64,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), HostError> {
        let program =
            |source| HostError::Program { host: self.inner.name.clone(), path: path.display().to_string(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(program)?;
        file.seek(SeekFrom::Start(offset_bytes)).await.map_err(program)?;
        let size_bytes = file.metadata().await.map_err(program)?.len();
        let mut client = self.inner.client.lock().await;
        let response = client.upload(sha256, size_bytes, offset_bytes, file, sent, UPLOAD_DEADLINE).await;
        self.judge(response).map(drop)
    }

    /// Runs a command in the user's login shell, beside the agent; not for `connection: local`.
    pub async fn exec(&self, command: &str, deadline: Duration) -> Result<ExecOutput, HostError> {
        match &self.inner.session {
            Some(session) => session.exec(command, deadline).await,
            None => Err(HostError::Broken {
                host: self.inner.name.clone(),
                reason: "there is no SSH connection to the machine that we are on".to_owned(),
            }),
        }
    }

    /// False once a call was cut off or the line broke: then only a new connection helps.
    pub async fn is_usable(&self) -> bool {
        let open = self.inner.session.as_ref().is_none_or(|session| !session.is_closed());
        open && self.inner.client.lock().await.is_usable()
    }

    /// Lets the agent end in peace; dropping the last clone ends it too.
    pub async fn close(self) {
        self.inner.client.lock().await.close(CLOSE_DEADLINE).await;
        if let Ok(inner) = Arc::try_unwrap(self.inner).map_err(drop)
            && let Some(session) = inner.session
        {
            session.close().await;
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
}

fn deadline(request: &Request) -> Duration {
    match request {
        Request::Apply { .. } => APPLY_DEADLINE,
        Request::Api(request) => Duration::from_millis(request.timeout_ms) + API_MARGIN,
        _ => QUESTION_DEADLINE,
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
            async move { connection.call(Request::MissingArtifacts { sha256: vec!["0".repeat(64)] }).await }
        };
        let (one, two) = tokio::join!(ask(), ask());
        assert!(
            matches!(one, Ok(Response::MissingArtifacts { .. }))
                && matches!(two, Ok(Response::MissingArtifacts { .. }))
        );
        let refused = connection.call(Request::MissingArtifacts { sha256: vec!["../x".to_owned()] }).await.unwrap_err();
        assert!(refused.to_string().starts_with("here: "), "{refused}");
        assert!(connection.is_usable().await);
        connection.close().await;
    }
}
