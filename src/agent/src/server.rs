//! The answering side: one request after the other, until the stream ends. Who answers is the caller's choice: this
//! machine (`serve`), or anything else that speaks the protocol (`serve_answers`).

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use naru_resources::{Host, Stop};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::frame::{self, FrameError};
use crate::session::Session;
use crate::watchdog::Watchdog;
use crate::{AGENT_VERSION, Failure, FailureKind, Request, Response};

/// Frames read ahead of the one at work: enough to keep an upload flowing.
const FRAMES_AHEAD: usize = 8;

/// Whoever answers the requests of one connection; made for it, and dropped with it.
pub trait Answerer: Send {
    /// The answer to every request but `Request::Upload`.
    fn answer(&mut self, request: Request) -> BoxFuture<'_, Response>;

    /// The answer to `Request::Upload`. It may come before the frames have ended: then the client sends no more of
    /// them, and those that are on their way are thrown away.
    fn upload<'a>(&'a mut self, upload: Upload, frames: &'a mut UploadFrames<'_>) -> BoxFuture<'a, Response>;

    /// How long nothing may be heard between two requests before the client counts as gone. Default: for ever.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// What `Request::Upload` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub sha256: String,
    pub size_bytes: u64,
    pub offset_bytes: u64,
}

/// The frames of one upload.
#[derive(Debug)]
pub struct UploadFrames<'a> {
    frames: &'a mut mpsc::Receiver<Bytes>,
    is_whole: bool,
}

impl UploadFrames<'_> {
    /// The next bytes; `None` at the end of the upload, and when the connection ends inside it.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.is_whole {
            return None;
        }
        let frame = self.frames.recv().await?;
        self.is_whole = frame.is_empty();
        (!self.is_whole).then_some(frame)
    }

    /// Whether the end of the upload has come; the sender may all the same have sent too little.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// Serves this host until the stream ends. A change under way when it ends is finished, those after it are not begun.
pub async fn serve<R, W>(reader: R, writer: W, host: Host, stop: Stop) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let watchdog = Watchdog::inside(&host);
    serve_as(reader, writer, host, stop, watchdog).await
}

/// The same, with watchers over changes that are started in this way.
pub(crate) async fn serve_as<R, W>(
    reader: R,
    writer: W,
    host: Host,
    stop: Stop,
    watchdog: Watchdog,
) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let (of_host, of_watchdog) = (host.clone(), watchdog.clone());
    // A change of before that is due is put back first of all.
    if tokio::task::spawn_blocking(move || of_watchdog.resume(&of_host)).await.is_err() {
        tracing::error!("changes of before could not be looked at");
    }
    serve_until(reader, writer, Session::new(host, stop.clone(), watchdog), stop).await
}

/// Serves answers of any kind until the stream ends. An answer under way when it ends is waited for.
pub async fn serve_answers<R, W>(reader: R, writer: W, answerer: impl Answerer) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    serve_until(reader, writer, answerer, Stop::default()).await
}

async fn serve_until<R, W>(reader: R, mut writer: W, answerer: impl Answerer, stop: Stop) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let (sender, mut frames) = mpsc::channel(FRAMES_AHEAD);
    let reading = read_ahead(reader, sender, stop.clone());
    let outcome = answer_all(&mut frames, &mut writer, answerer, &stop).await;
    drop(frames);
    if !reading.is_finished() {
        reading.abort();
    }
    match reading.await {
        Ok(Err(error)) if outcome.is_ok() => Err(error),
        _ => outcome,
    }
}

/// Reading goes on while a request is at work, so that the end of the connection is seen at once.
fn read_ahead<R>(mut reader: R, sender: mpsc::Sender<Bytes>, at_end: Stop) -> JoinHandle<Result<(), FrameError>>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let end = loop {
            match frame::read(&mut reader).await {
                Ok(Some(frame)) => {
                    if sender.send(frame).await.is_err() {
                        break Ok(());
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        at_end.stop();
        end
    })
}

/// The next request; `None` when the client has ended the connection, or has been silent for too long.
async fn next(frames: &mut mpsc::Receiver<Bytes>, patience: Option<Duration>) -> Option<Bytes> {
    let Some(patience) = patience else { return frames.recv().await };
    match tokio::time::timeout(patience, frames.recv()).await {
        Ok(frame) => frame,
        Err(_) => {
            tracing::warn!(seconds = patience.as_secs(), "the client is silent: it counts as gone");
            None
        }
    }
}

async fn answer_all(
    frames: &mut mpsc::Receiver<Bytes>,
    writer: &mut (impl AsyncWrite + Unpin),
    mut answerer: impl Answerer,
    stop: &Stop,
) -> Result<(), FrameError> {
    while let Some(frame) = next(frames, answerer.patience()).await {
        let outcome = match serde_json::from_slice(&frame) {
            Ok(Request::Upload { sha256, size_bytes, offset_bytes }) => {
                let mut frames = UploadFrames { frames, is_whole: false };
                let upload = Upload { sha256, size_bytes, offset_bytes };
                let response = answerer.upload(upload, &mut frames).await;
                let outcome = send(writer, &response).await;
                // The next request comes after the last frame, also of an artifact that is of no use.
                while outcome.is_ok() && frames.next().await.is_some() {}
                outcome
            }
            Ok(request) => send(writer, &answerer.answer(request).await).await,
            Err(error) => send(writer, &not_understood(&error)).await,
        };
        if outcome.is_err() || stop.is_stopped() {
            return outcome;
        }
    }
    Ok(())
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), response: &Response) -> Result<(), FrameError> {
    let mut json = encode(response);
    if json.len() > frame::MAX_FRAME_BYTES {
        let message = format!("the answer has {} bytes, too many to send", json.len());
        json = encode(&Response::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }));
    }
    frame::write(writer, &json).await
}

fn encode(response: &Response) -> Vec<u8> {
    serde_json::to_vec(response).expect("plain data with text keys always becomes JSON")
}

fn not_understood(error: &serde_json::Error) -> Response {
    Response::Failed(Failure {
        kind: FailureKind::Permanent,
        message: format!("the agent on this host ({AGENT_VERSION}) does not understand the request"),
        detail: Some(error.to_string()),
        hint: Some("naru and the agent are of different versions; naru installs its own at the next run".to_owned()),
    })
}
