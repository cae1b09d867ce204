//! The answering side: one request after the other, until the stream ends.

use bytes::Bytes;
use naru_resources::{
    ArtifactWriter, Change, Host, Manifest, Resource, ResourceError, Stop, apply_all, check_all, install_certificate,
    journal, missing_artifacts, sign, signing_request,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::api::ApiAccess;
use crate::frame::{self, FrameError};
use crate::lock::Lock;
use crate::{Checked, Failure, FailureKind, MissingArtifact, Request, Response, facts};

/// Frames read ahead of the one at work: enough to keep an upload flowing.
const FRAMES_AHEAD: usize = 8;
const MAX_LOG_LINES: u32 = 10_000;

/// Serves requests until the stream ends. A change under way when it ends is finished, those after it are not begun.
pub async fn serve<R, W>(mut reader: R, mut writer: W, host: Host, stop: Stop) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let (sender, mut frames) = mpsc::channel(FRAMES_AHEAD);
    let at_end = stop.clone();
    // Reading goes on while a request is at work, so that the end of the connection is seen at once.
    let reading = tokio::spawn(async move {
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
    });
    let mut session = Session { host, stop: stop.clone(), lock: None, api: ApiAccess::default() };
    let mut outcome = Ok(());
    while let Some(frame) = frames.recv().await {
        let response = session.answer(&frame, &mut frames).await;
        outcome = send(&mut writer, &response).await;
        if outcome.is_err() || stop.is_stopped() {
            break;
        }
    }
    drop(frames);
    if !reading.is_finished() {
        reading.abort();
    }
    match reading.await {
        Ok(Err(error)) if outcome.is_ok() => Err(error),
        _ => outcome,
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), response: &Response) -> Result<(), FrameError> {
    let mut json = encode(response);
    if json.len() > frame::MAX_FRAME_BYTES {
        json =
            encode(&failed(FailureKind::Permanent, format!("the answer has {} bytes, too many to send", json.len())));
    }
    frame::write(writer, &json).await
}

fn encode(response: &Response) -> Vec<u8> {
    serde_json::to_vec(response).expect("plain data with text keys always becomes JSON")
}

/// What one connection has.
struct Session {
    host: Host,
    stop: Stop,
    lock: Option<Lock>,
    api: ApiAccess,
}

impl Session {
    async fn answer(&mut self, frame: &Bytes, frames: &mut mpsc::Receiver<Bytes>) -> Response {
        let request: Request = match serde_json::from_slice(frame) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("this agent ({}) does not understand the request: {error}", crate::AGENT_VERSION);
                return failed(FailureKind::Permanent, message);
            }
        };
        self.handle(request, frames).await.unwrap_or_else(Response::Failed)
    }

    async fn handle(&mut self, request: Request, frames: &mut mpsc::Receiver<Bytes>) -> Result<Response, Failure> {
        match request {
            Request::Facts => Ok(Response::Facts(Box::new(facts::gather(&self.host).await))),
            Request::Check { resources } => self.check(resources).await,
            Request::Apply { resources, revert_after_seconds: _ } => self.apply(resources).await,
            Request::MissingArtifacts { sha256 } => {
                let missing = self.blocking(move |host| missing_artifacts(host, &sha256)).await?;
                let missing = missing.into_iter().map(|sha256| MissingArtifact { sha256, have_bytes: 0 }).collect();
                Ok(Response::MissingArtifacts { missing })
            }
            Request::Upload { sha256, size_bytes, offset_bytes: _ } => self.upload(&sha256, size_bytes, frames).await,
            Request::SigningRequest { certificate } => {
                let pem = self.blocking(move |host| signing_request(host, &certificate)).await?;
                Ok(Response::SigningRequest { pem })
            }
            Request::Sign { signing_request_pem, certificate, authority_key_path } => {
                let signed = move |host: &Host| sign(host, &signing_request_pem, &certificate, &authority_key_path);
                let (certificate_pem, authority_pem) = self.blocking(signed).await?;
                Ok(Response::Signed { certificate_pem, authority_pem })
            }
            Request::InstallCertificate { certificate, certificate_pem, authority_pem } => {
                self.blocking(move |host| install_certificate(host, &certificate, &certificate_pem, &authority_pem))
                    .await?;
                Ok(Response::Done)
            }
            Request::Api(request) => self.api.call(&self.host, &request).await.map(Response::Api),
            Request::Lock { owner } => {
                if self.lock.is_none() {
                    self.lock = Some(Lock::take(&self.host, &owner)?);
                }
                Ok(Response::Locked { fence: 0 })
            }
            Request::Fence { .. } => Ok(Response::Done),
            Request::UnitLog { unit, lines } => {
                let read = move |host: &Host| Ok(journal(host, &unit, lines.min(MAX_LOG_LINES)));
                Ok(Response::Log { lines: self.blocking(read).await? })
            }
            _ => Ok(failed(FailureKind::Permanent, "this agent does not know the request".to_owned())),
        }
    }

    async fn check(&self, resources: Vec<Resource>) -> Result<Response, Failure> {
        let checked = move |host: &Host| {
            let wanted: Vec<String> = resources.iter().filter_map(Resource::artifact).map(str::to_owned).collect();
            let mut missing_artifacts = missing_artifacts(host, &wanted)?;
            missing_artifacts.sort();
            missing_artifacts.dedup();
            let manifest = Manifest::load(host)?.entries;
            let changes = check_all(host, &resources)?;
            Ok(Checked { changes, missing_artifacts, manifest, drifted: Vec::new() })
        };
        Ok(Response::Checked(self.blocking(checked).await?))
    }

    async fn apply(&self, resources: Vec<Resource>) -> Result<Response, Failure> {
        let (host, stop) = (self.host.clone(), self.stop.clone());
        let applied = tokio::task::spawn_blocking(move || apply_all(&host, &resources, &stop)).await;
        match applied {
            Ok(Ok(changes)) => Ok(Response::Changes { changes, confirmation: None }),
            Ok(Err((error, done))) => Err(failure(&error, &done)),
            Err(crash) => Err(crashed(&crash)),
        }
    }

    /// Takes the frames of an artifact up to the empty one, also when the artifact is of no use: the next request
    /// comes after them.
    async fn upload(
        &self,
        sha256: &str,
        size_bytes: u64,
        frames: &mut mpsc::Receiver<Bytes>,
    ) -> Result<Response, Failure> {
        let mut artifact = ArtifactWriter::create(&self.host, sha256);
        let mut received_bytes = 0_u64;
        loop {
            let Some(frame) = frames.recv().await else {
                return Err(transient("the connection ended inside an artifact".to_owned()));
            };
            if frame.is_empty() {
                break;
            }
            received_bytes += frame.len() as u64;
            if let Ok(writer) = &mut artifact
                && let Err(error) = writer.write(&frame)
            {
                artifact = Err(error);
            }
        }
        if received_bytes != size_bytes {
            return Err(transient(format!("{received_bytes} of {size_bytes} bytes of the artifact arrived")));
        }
        let artifact = artifact.map_err(|error| failure(&error, &[]))?;
        let sha256 = sha256.to_owned();
        self.blocking(move |host| {
            artifact.finish()?;
            let mut manifest = Manifest::load(host)?;
            manifest.put(&format!("/var/lib/naru/artifacts/{sha256}"), "artifact", &sha256);
            manifest.save(host)
        })
        .await?;
        Ok(Response::Done)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Host) -> Result<T, ResourceError> + Send + 'static,
    ) -> Result<T, Failure> {
        let host = self.host.clone();
        match tokio::task::spawn_blocking(move || work(&host)).await {
            Ok(done) => done.map_err(|error| failure(&error, &[])),
            Err(crash) => Err(crashed(&crash)),
        }
    }
}

fn failure(error: &ResourceError, done: &[Change]) -> Failure {
    let mut detail: Vec<String> = error.detail().into_iter().collect();
    if !done.is_empty() {
        let done: Vec<&str> = done.iter().map(|change| change.summary.as_str()).collect();
        detail.push(format!("done before: {}", done.join("; ")));
    }
    Failure {
        kind: if error.is_transient() { FailureKind::Transient } else { FailureKind::Permanent },
        message: error.to_string(),
        detail: (!detail.is_empty()).then(|| detail.join("\n")),
        hint: error.hint(),
    }
}

fn crashed(crash: &tokio::task::JoinError) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        message: "the agent stumbled over its own fault".to_owned(),
        detail: Some(crash.to_string()),
        hint: None,
    }
}

fn transient(message: String) -> Failure {
    Failure { kind: FailureKind::Transient, message, detail: None, hint: None }
}

fn failed(kind: FailureKind, message: String) -> Response {
    Response::Failed(Failure { kind, message, detail: None, hint: None })
}
