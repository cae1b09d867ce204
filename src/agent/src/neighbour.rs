//! Artifacts from host to host: one serves what it has over HTTP below a path that cannot be guessed, for as long as
//! the connection that asked for it lives; the other fetches, goes on after a cut, and checks the hash.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::SeekFrom;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use naru_resources::{ArtifactWriter, Host, artifact_path, missing_artifacts};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::session::failure;
use crate::{Failure, FailureKind, Response, reach};

const TOKEN_BYTES: usize = 16;
/// Neighbours that are served at the same time; the next one is told to come later.
const MAX_TRANSFERS: usize = 4;
const MAX_CONNECTIONS: usize = 64;
const CHUNK_BYTES: usize = 256 * 1024;
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A neighbour that gives nothing for so long is given up.
const STALL_DEADLINE: Duration = Duration::from_secs(15);
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(500);
const MAX_URLS: usize = 16;

type Body = BoxBody<Bytes, std::io::Error>;

/// Serves until it is dropped.
pub(crate) struct Neighbour {
    port: u16,
    path: String,
    offered: Arc<Mutex<BTreeSet<String>>>,
    _accepting: JoinSet<()>,
}

struct Offer {
    host: Host,
    path: String,
    offered: Arc<Mutex<BTreeSet<String>>>,
    transfers: Arc<Semaphore>,
}

impl Neighbour {
    pub(crate) async fn start(host: &Host) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| permanent(format!("artifacts cannot be served: {error}"));
        let mut token = [0_u8; TOKEN_BYTES];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut token).map_err(|_| permanent("this host has no random numbers".to_owned()))?;
        let path = format!("/{:032x}/", u128::from_be_bytes(token));
        let listener = reach::bind(0).await.map_err(|error| failed(&error))?;
        let port = listener.local_addr().map_err(|error| failed(&error))?.port();
        let offered = Arc::new(Mutex::new(BTreeSet::new()));
        let offer = Offer {
            host: host.clone(),
            path: path.clone(),
            offered: offered.clone(),
            transfers: Arc::new(Semaphore::new(MAX_TRANSFERS)),
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(offer)));
        Ok(Self { port, path, offered, _accepting: accepting })
    }

    /// These and no others are given away, beside those of before.
    pub(crate) fn offer(&self, host: &Host, sha256: Vec<String>) -> Result<Response, Failure> {
        let missing = missing_artifacts(host, &sha256).map_err(|error| failure(&error, &[]))?;
        if let Some(missing) = missing.first() {
            return Err(permanent(format!("this host does not have the artifact {} itself", missing.sha256)));
        }
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).extend(sha256);
        Ok(Response::Serving { port: self.port, path: self.path.clone() })
    }
}

async fn accept(listener: TcpListener, offer: Arc<Offer>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        let offer = offer.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(offer.clone(), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a neighbour went away");
            }
        });
    }
}

async fn answer(offer: Arc<Offer>, request: hyper::Request<Incoming>) -> Result<hyper::Response<Body>, Infallible> {
    Ok(offer.give(&request).await.unwrap_or_else(|status| {
        let mut response = hyper::Response::new(Empty::new().map_err(|never| match never {}).boxed());
        *response.status_mut() = status;
        response
    }))
}

impl Offer {
    async fn give(&self, request: &hyper::Request<Incoming>) -> Result<hyper::Response<Body>, StatusCode> {
        if request.method() != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let sha256 = without_token(request.uri().path(), &self.path).ok_or(StatusCode::NOT_FOUND)?;
        if !self.offered.lock().unwrap_or_else(PoisonError::into_inner).contains(sha256) {
            return Err(StatusCode::NOT_FOUND);
        }
        let path = artifact_path(&self.host, sha256).map_err(|_| StatusCode::NOT_FOUND)?;
        let permit = self.transfers.clone().try_acquire_owned().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let mut file = File::open(path).await.map_err(|_| StatusCode::NOT_FOUND)?;
        let size = file.metadata().await.map_err(|_| StatusCode::NOT_FOUND)?.len();
        let range = request.headers().get(RANGE).map(|value| first_byte(value.to_str().unwrap_or_default()));
        let (status, from) = match range {
            None => (StatusCode::OK, 0),
            Some(Some(from)) if from < size => (StatusCode::PARTIAL_CONTENT, from),
            Some(_) => return Err(StatusCode::RANGE_NOT_SATISFIABLE),
        };
        file.seek(SeekFrom::Start(from)).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let mut response = hyper::Response::builder().status(status).header(CONTENT_LENGTH, size - from);
        if status == StatusCode::PARTIAL_CONTENT {
            response = response.header(CONTENT_RANGE, format!("bytes {from}-{}/{size}", size - 1));
        }
        response.body(chunks(file, permit)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Compared in the same time whatever it is, so that nobody finds the token letter by letter.
fn without_token<'a>(path: &'a str, token: &str) -> Option<&'a str> {
    let (start, rest) = path.split_at_checked(token.len())?;
    let difference = start.bytes().zip(token.bytes()).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
    (difference == 0).then_some(rest)
}

/// `bytes=N-`, the only kind of range that is asked for.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// The rest of a file; the permit goes with its end.
fn chunks(file: File, permit: OwnedSemaphorePermit) -> Body {
    let stream = futures::stream::try_unfold((file, permit), |(mut file, permit)| async move {
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(chunk), (file, permit))))
    });
    BodyExt::boxed(StreamBody::new(stream.map_ok(Frame::data)))
}

/// Gets an artifact from the first of these that gives it; those that are busy are asked again until the deadline.
pub(crate) async fn fetch(
    host: &Host,
    sha256: &str,
    size_bytes: u64,
    urls: &[String],
    deadline: Duration,
    is_over: impl Fn() -> Result<(), Failure>,
) -> Result<Response, Failure> {
    if urls.len() > MAX_URLS {
        return Err(permanent(format!("more than {MAX_URLS} neighbours to get an artifact from")));
    }
    let started = Instant::now();
    let mut reasons;
    loop {
        reasons = Vec::new();
        let mut is_busy = false;
        for url in urls {
            is_over()?;
            let wanted = [sha256.to_owned()];
            let missing = missing_artifacts(host, &wanted).map_err(|error| failure(&error, &[]))?;
            let Some(missing) = missing.first() else { return Ok(Response::Done) };
            let left = deadline.saturating_sub(started.elapsed());
            let from = missing.have_bytes.min(size_bytes);
            let attempt = attempt(host, sha256, size_bytes, from, url, &is_over);
            match timeout(left, attempt).await {
                Ok(Ok(())) => return Ok(Response::Done),
                Ok(Err(Attempt::Fatal(failure))) => return Err(failure),
                Ok(Err(Attempt::Busy)) => {
                    is_busy = true;
                    reasons.push(format!("{url}: busy with others"));
                }
                Ok(Err(Attempt::Next(reason))) => reasons.push(format!("{url}: {reason}")),
                Err(_) => reasons.push(format!("{url}: not within {} s", deadline.as_secs())),
            }
        }
        if !is_busy || started.elapsed() + PAUSE_BETWEEN_ROUNDS >= deadline {
            break;
        }
        tokio::time::sleep(PAUSE_BETWEEN_ROUNDS).await;
    }
    let message = format!("no neighbour gave the artifact {sha256}");
    Err(Failure { kind: FailureKind::Transient, message, detail: Some(reasons.join("\n")), hint: None })
}

enum Attempt {
    /// This neighbour gives no more; another may.
    Next(String),
    Busy,
    /// It is not the neighbour's fault.
    Fatal(Failure),
}

async fn attempt(
    host: &Host,
    sha256: &str,
    size_bytes: u64,
    from: u64,
    url: &str,
    is_over: &impl Fn() -> Result<(), Failure>,
) -> Result<(), Attempt> {
    let next = |error: &dyn std::error::Error| Attempt::Next(error.to_string());
    let response = request(url, from).await?;
    let offset = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => from,
        // Whole already, but not finished: what is there must be of something else.
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(restart(host, sha256, size_bytes)),
        StatusCode::SERVICE_UNAVAILABLE => return Err(Attempt::Busy),
        other => return Err(Attempt::Next(format!("it answers {other}"))),
    };
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced != Some(size_bytes - offset) {
        return Err(Attempt::Next(format!("it gives {announced:?} bytes instead of {}", size_bytes - offset)));
    }
    let resumed = ArtifactWriter::resume(host, sha256, size_bytes, offset);
    let mut artifact = resumed.map_err(|error| Attempt::Fatal(failure(&error, &[])))?;
    let mut body = response.into_body();
    while let Some(frame) = timeout(STALL_DEADLINE, body.frame())
        .await
        .map_err(|_| Attempt::Next(format!("it gave nothing for {} s", STALL_DEADLINE.as_secs())))?
    {
        is_over().map_err(Attempt::Fatal)?;
        if let Ok(bytes) = frame.map_err(|error| next(&error))?.into_data() {
            artifact.write(&bytes).map_err(|error| Attempt::Fatal(failure(&error, &[])))?;
        }
    }
    let finished = tokio::task::spawn_blocking(move || artifact.finish()).await;
    match finished {
        Ok(Ok(())) => Ok(()),
        // Damaged or short: the next neighbour may have it whole.
        Ok(Err(error)) if error.is_transient() => Err(next(&error)),
        Ok(Err(error)) => Err(Attempt::Fatal(failure(&error, &[]))),
        Err(crash) => Err(next(&crash)),
    }
}

fn restart(host: &Host, sha256: &str, size_bytes: u64) -> Attempt {
    match ArtifactWriter::resume(host, sha256, size_bytes, 0) {
        Ok(_) => Attempt::Next("what was here already was of no use".to_owned()),
        Err(error) => Attempt::Fatal(failure(&error, &[])),
    }
}

/// One GET, to an address and not to a name, without redirects.
async fn request(url: &str, from: u64) -> Result<hyper::Response<Incoming>, Attempt> {
    let next = |error: &dyn std::error::Error| Attempt::Next(error.to_string());
    let uri: Uri = url.parse().map_err(|_| Attempt::Next("no URL".to_owned()))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| Attempt::Next("no HTTP URL".to_owned()))?.as_str();
    let address: SocketAddr = authority.parse().map_err(|_| Attempt::Next("no address with a port".to_owned()))?;
    let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(address))
        .await
        .map_err(|_| Attempt::Next("no answer".to_owned()))?
        .map_err(|error| Attempt::Next(reach::words(&error)))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| next(&error))?;
    tokio::spawn(connection);
    let mut request = hyper::Request::builder().uri(uri.path()).header("host", authority);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| next(&error))?;
    match timeout(STALL_DEADLINE, sender.send_request(request)).await {
        Ok(response) => response.map_err(|error| next(&error)),
        Err(_) => Err(Attempt::Next("no answer".to_owned())),
    }
}

fn permanent(message: String) -> Failure {
    Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;
