//! One connection to this host: what it holds until it ends, and who answers which request.

use futures::future::BoxFuture;
use naru_resources::{
    ArtifactWriter, Change, Host, Manifest, Resource, ResourceError, Stop, apply_all, check_all, install_certificate,
    journal, missing_artifacts, sign, signing_request,
};

use crate::api::ApiAccess;
use crate::lock::Lock;
use crate::{Answerer, Checked, Failure, FailureKind, MissingArtifact, Request, Response, Upload, UploadFrames, facts};

const MAX_LOG_LINES: u32 = 10_000;

/// What one connection has.
pub(crate) struct Session {
    host: Host,
    stop: Stop,
    lock: Option<Lock>,
    api: ApiAccess,
}

impl Answerer for Session {
    fn answer(&mut self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move { self.handle(request).await.unwrap_or_else(Response::Failed) })
    }

    fn upload<'a>(&'a mut self, upload: Upload, frames: &'a mut UploadFrames<'_>) -> BoxFuture<'a, Response> {
        Box::pin(async move { self.receive(upload, frames).await.unwrap_or_else(Response::Failed) })
    }
}

impl Session {
    pub(crate) fn new(host: Host, stop: Stop) -> Self {
        Self { host, stop, lock: None, api: ApiAccess::default() }
    }

    async fn handle(&mut self, request: Request) -> Result<Response, Failure> {
        match request {
            Request::Facts => Ok(Response::Facts(Box::new(facts::gather(&self.host).await))),
            Request::Check { resources } => self.check(resources).await,
            Request::Apply { resources, revert_after_seconds: _ } => self.apply(resources).await,
            Request::MissingArtifacts { sha256 } => {
                let missing = self.blocking(move |host| missing_artifacts(host, &sha256)).await?;
                let missing = missing.into_iter().map(|sha256| MissingArtifact { sha256, have_bytes: 0 }).collect();
                Ok(Response::MissingArtifacts { missing })
            }
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

    async fn receive(&self, upload: Upload, frames: &mut UploadFrames<'_>) -> Result<Response, Failure> {
        let Upload { sha256, size_bytes, offset_bytes: _ } = upload;
        let mut artifact = ArtifactWriter::create(&self.host, &sha256).map_err(|error| failure(&error, &[]))?;
        let mut received_bytes = 0_u64;
        while let Some(frame) = frames.next().await {
            received_bytes += frame.len() as u64;
            artifact.write(&frame).map_err(|error| failure(&error, &[]))?;
        }
        if !frames.is_whole() {
            return Err(transient("the connection ended inside an artifact".to_owned()));
        }
        if received_bytes != size_bytes {
            return Err(transient(format!("{received_bytes} of {size_bytes} bytes of the artifact arrived")));
        }
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
