//! One host's agent over byte streams. Two streams, opened when first needed: one for changes, which may take minutes
//! and holds the lock, one for questions, which must not wait behind them.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{Client, ClientError, Failure, FailureKind, Request, Response};
use naru_observe::{AgentError, HostAgent, MAX_CALL_SECONDS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

const DEADLINE: Duration = Duration::from_secs(MAX_CALL_SECONDS);

pub(super) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// Makes streams, each with a new agent at its far end.
pub(super) trait Line: Send + Sync {
    fn open(&self) -> BoxFuture<'_, Result<(Reader, Writer), AgentError>>;
}

pub(super) struct StreamAgent {
    host: String,
    line: Box<dyn Line>,
    changes: Mutex<Stream>,
    questions: Mutex<Stream>,
}

#[derive(Default)]
struct Stream {
    client: Option<Client<Reader, Writer>>,
    /// Who holds the lock on this stream; asked for again when the stream had to be opened anew.
    owner: Option<String>,
}

impl StreamAgent {
    pub(super) fn new(host: &str, line: Box<dyn Line>) -> Self {
        Self { host: host.to_owned(), line, changes: Mutex::default(), questions: Mutex::default() }
    }

    /// Closes the streams that nobody uses; the next call opens new ones. One in use finds out by itself.
    pub(super) fn reset(&self) {
        for stream in [&self.changes, &self.questions] {
            if let Ok(mut stream) = stream.try_lock() {
                stream.client = None;
            }
        }
    }

    fn stream(&self, request: &Request) -> &Mutex<Stream> {
        match request {
            Request::Apply { .. } | Request::Upload { .. } | Request::Lock { .. } => &self.changes,
            _ => &self.questions,
        }
    }

    /// The stream's client, with the lock if this stream has held it.
    async fn client<'s>(&self, stream: &'s mut Stream) -> Result<&'s mut Client<Reader, Writer>, AgentError> {
        if stream.client.as_ref().is_none_or(|client| !client.is_usable()) {
            stream.client = None;
            let (reader, writer) = self.line.open().await?;
            let mut client = Client::new(reader, writer);
            if let Some(owner) = stream.owner.clone() {
                let answer = client.call(&Request::Lock { owner }, DEADLINE).await;
                // Our own earlier agent may not have noticed yet that its connection is gone.
                self.understand(answer).map_err(|error| match error {
                    AgentError::Failed(failure) => {
                        AgentError::Failed(Failure { kind: FailureKind::Transient, ..failure })
                    }
                    other => other,
                })?;
            }
            stream.client = Some(client);
        }
        stream.client.as_mut().ok_or_else(|| AgentError::Connection {
            host: self.host.clone(),
            reason: "it was closed at this moment".to_owned(),
        })
    }

    fn understand(&self, answer: Result<Response, ClientError>) -> Result<Response, AgentError> {
        match answer {
            Ok(Response::Failed(failure)) => Err(AgentError::Failed(failure)),
            Ok(response) => Ok(response),
            Err(ClientError::Source(error)) => Err(permanent(format!("the file to upload cannot be read: {error}"))),
            Err(error) => Err(AgentError::Connection { host: self.host.clone(), reason: chain(&error) }),
        }
    }

    async fn ask(&self, request: Request) -> Result<Response, AgentError> {
        let mut stream = self.stream(&request).lock().await;
        let answer = self.client(&mut stream).await?.call(&request, DEADLINE).await;
        let answer = self.understand(answer);
        if let (Request::Lock { owner }, Ok(_)) = (request, &answer) {
            stream.owner = Some(owner);
        }
        answer
    }

    async fn send(&self, sha256: &str, path: &Path, sent: &(dyn Fn(u64) + Sync)) -> Result<(), AgentError> {
        let unreadable = |error: std::io::Error| permanent(error.to_string());
        let file = fs_err::tokio::File::open(path).await.map_err(unreadable)?;
        let size_bytes = file.metadata().await.map_err(unreadable)?.len();
        let mut stream = self.changes.lock().await;
        let client = self.client(&mut stream).await?;
        let answer = client.upload(sha256, size_bytes, file, sent, DEADLINE).await;
        self.understand(answer).map(|_| ())
    }
}

impl HostAgent for StreamAgent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        Box::pin(self.ask(request))
    }

    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        path: &'a Path,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(self.send(sha256, path, sent))
    }
}

fn permanent(message: String) -> AgentError {
    AgentError::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None })
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
