//! One connection to this host: what it holds until it ends, and who answers which request.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use naru_pki::Recipient;
use naru_resources::revert::{self, Revert};
use naru_resources::{
    ArtifactWriter, Change, Guard, Host, Manifest, Resource, ResourceError, Stop, apply_guarded, check_all, drifted,
    install_certificate, missing_artifacts, prune_artifacts, read_journal, sign, signing_request,
};

use crate::api::ApiAccess;
use crate::fence::{self, Claim};
use crate::lock::Lock;
use crate::neighbour::{self, Neighbour};
use crate::reach::{self, Listeners};
use crate::watchdog::{Watchdog, tidy_boot};
use crate::{
    Answerer, Checked, EtcdRequest, Failure, FailureKind, MissingArtifact, Request, Response, Upload, UploadFrames,
    diagnose, etcd, facts, hook, identity, reset,
};

const MAX_LOG_LINES: u32 = 10_000;
/// Whoever holds the lock and has nothing to ask gives a sign of life several times within this.
const LOCK_SILENCE: Duration = Duration::from_secs(45);
/// Bytes of an upload come all the time, or not at all any more.
const UPLOAD_SILENCE: Duration = Duration::from_secs(20);

/// What one connection has.
pub(crate) struct Session {
    host: Host,
    stop: Stop,
    watchdog: Watchdog,
    lock: Option<(Lock, String)>,
    fence: Option<u64>,
    api: ApiAccess,
    listeners: Listeners,
    neighbour: Option<Neighbour>,
    /// Changes of this connection that wait to be confirmed over another one.
    unconfirmed: Vec<String>,
    /// For whom the cluster's identity is to be sealed.
    recipient: Option<Recipient>,
}

impl Answerer for Session {
    fn answer(&mut self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move { self.handle(request).await.unwrap_or_else(Response::Failed) })
    }

    fn upload<'a>(&'a mut self, upload: Upload, frames: &'a mut UploadFrames<'_>) -> BoxFuture<'a, Response> {
        Box::pin(async move { self.receive(upload, frames).await.unwrap_or_else(Response::Failed) })
    }

    /// A cut cable ends no connection: without this a lock would outlive its holder by hours.
    fn patience(&self) -> Option<Duration> {
        self.lock.is_some().then_some(LOCK_SILENCE)
    }
}

impl Session {
    pub(crate) fn new(host: Host, stop: Stop, watchdog: Watchdog) -> Self {
        Self {
            host,
            stop,
            watchdog,
            lock: None,
            fence: None,
            api: ApiAccess::default(),
            listeners: Listeners::default(),
            neighbour: None,
            unconfirmed: Vec::new(),
            recipient: None,
        }
    }

    /// In whose name this connection makes changes.
    fn claim(&self) -> Claim {
        Claim { fence: self.fence, holds_lock: self.lock.is_some() }
    }

    async fn handle(&mut self, request: Request) -> Result<Response, Failure> {
        if changes_the_host(&request) {
            self.claim().check(&self.host)?;
        }
        match request {
            Request::Facts => Ok(Response::Facts(Box::new(facts::gather(&self.host).await))),
            Request::Check { resources } => self.check(resources).await,
            Request::Apply { resources, revert_after_seconds } => self.apply(resources, revert_after_seconds).await,
            Request::Confirm { confirmation } => self.confirm(confirmation).await,
            Request::Api(request) => self.api.call(&self.host, &request).await.map(Response::Api),
            Request::Lock { owner } => self.take_lock(owner),
            Request::Fence { fence } => self.take_fence(fence),
            Request::UnitLog { unit, lines } => {
                let read = move |host: &Host| read_journal(host, &unit, lines.min(MAX_LOG_LINES));
                Ok(Response::Log { lines: self.blocking(read).await? })
            }
            Request::Listen { ports } => self.listeners.listen(&ports).await,
            Request::Probe { reach, resolve, timeout_ms } => reach::probe(reach, resolve, timeout_ms).await,
            Request::Run { command, environment, deadline_ms } => {
                hook::run(&self.host, &command, &environment, deadline_ms).await
            }
            Request::Etcd(request) => self.etcd(request).await,
            Request::Diagnose => Ok(diagnose::diagnose(&self.host).await),
            Request::Reset => {
                let changes = reset::reset(&self.host).await?;
                Ok(Response::Changes { changes, confirmation: None })
            }
            Request::MissingArtifacts { .. }
            | Request::Upload { .. }
            | Request::ServeArtifacts { .. }
            | Request::FetchArtifact { .. } => self.artifacts(request).await,
            Request::SigningRequest { .. } | Request::Sign { .. } | Request::InstallCertificate { .. } => {
                self.certificates(request).await
            }
            Request::ReceiveIdentity | Request::SealIdentity { .. } | Request::InstallIdentity { .. } => {
                self.identity(request)
            }
        }
    }

    fn identity(&mut self, request: Request) -> Result<Response, Failure> {
        match request {
            Request::SealIdentity { paths, recipient } => {
                Ok(Response::Sealed { sealed: identity::sealed(&self.host, &paths, &recipient)? })
            }
            Request::InstallIdentity { sealed } => {
                // It is good for one time, whatever comes of it.
                let recipient = self.recipient.take();
                let recipient = recipient.ok_or_else(|| permanent("nobody here waits for an identity".to_owned()))?;
                identity::install(&self.host, &recipient, &sealed)?;
                Ok(Response::Done)
            }
            _ => {
                let recipient = Recipient::generate().map_err(|error| failure(&error.into(), &[]))?;
                let answer = Response::Recipient { recipient: identity::encode(&recipient) };
                self.recipient = Some(recipient);
                Ok(answer)
            }
        }
    }

    async fn artifacts(&mut self, request: Request) -> Result<Response, Failure> {
        match request {
            Request::MissingArtifacts { sha256 } => {
                let missing = self.blocking(move |host| missing_artifacts(host, &sha256)).await?;
                let tell = |missing: naru_resources::Missing| MissingArtifact {
                    sha256: missing.sha256,
                    have_bytes: missing.have_bytes,
                };
                Ok(Response::MissingArtifacts { missing: missing.into_iter().map(tell).collect() })
            }
            Request::ServeArtifacts { sha256 } => {
                if self.neighbour.is_none() {
                    self.neighbour = Some(Neighbour::start(&self.host).await?);
                }
                let neighbour = self.neighbour.as_ref().ok_or_else(|| permanent("nothing is served".to_owned()))?;
                neighbour.offer(&self.host, sha256)
            }
            Request::FetchArtifact { sha256, size_bytes, urls, deadline_ms } => {
                let is_over = || if self.stop.is_stopped() { Err(cut_off()) } else { Ok(()) };
                let deadline = Duration::from_millis(deadline_ms);
                neighbour::fetch(&self.host, &sha256, size_bytes, &urls, deadline, is_over).await
            }
            _ => Err(permanent("an upload comes with its frames".to_owned())),
        }
    }

    async fn certificates(&self, request: Request) -> Result<Response, Failure> {
        match request {
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
                let install =
                    move |host: &Host| install_certificate(host, &certificate, &certificate_pem, &authority_pem);
                self.blocking(install).await?;
                Ok(Response::Done)
            }
            _ => Err(permanent("not a request about certificates".to_owned())),
        }
    }

    fn take_lock(&mut self, owner: String) -> Result<Response, Failure> {
        if self.lock.is_none() {
            self.lock = Some((Lock::take(&self.host, &owner)?, owner));
        }
        Ok(Response::Locked { fence: fence::highest(&self.host)?.fence })
    }

    fn take_fence(&mut self, fence: u64) -> Result<Response, Failure> {
        // Said even when it is refused: everything after it belongs to it.
        self.fence = Some(fence);
        fence::raise(&self.host, fence, self.lock.as_ref().map(|(_, owner)| owner.as_str()))?;
        Ok(Response::Done)
    }

    async fn etcd(&self, request: EtcdRequest) -> Result<Response, Failure> {
        let host = self.host.clone();
        let answered = tokio::task::spawn_blocking(move || etcd::answer(&host, &request)).await;
        let members = answered.map_err(|crash| crashed(&crash))??;
        Ok(Response::EtcdMembers { members })
    }

    async fn check(&self, resources: Vec<Resource>) -> Result<Response, Failure> {
        let checked = move |host: &Host| {
            let mut wanted: Vec<String> = resources.iter().filter_map(Resource::artifact).map(str::to_owned).collect();
            wanted.sort();
            wanted.dedup();
            let missing = missing_artifacts(host, &wanted)?;
            let changes = check_all(host, &resources)?;
            let manifest = Manifest::load(host)?;
            let drifted = drifted(host, &manifest)?;
            let missing_artifacts = missing.into_iter().map(|missing| missing.sha256).collect();
            Ok(Checked { changes, missing_artifacts, manifest: manifest.entries, drifted })
        };
        Ok(Response::Checked(self.blocking(checked).await?))
    }

    async fn apply(&mut self, resources: Vec<Resource>, seconds: Option<u32>) -> Result<Response, Failure> {
        let (host, stop, claim) = (self.host.clone(), self.stop.clone(), self.claim());
        let watchdog = self.watchdog.clone();
        let applied = tokio::task::spawn_blocking(move || {
            let guard = || claim.guard(&host);
            match seconds {
                None => apply(&host, &resources, &stop, &guard).map(|changes| (changes, None)),
                Some(seconds) => apply_until_confirmed(&host, &resources, &stop, &guard, seconds, &watchdog),
            }
        });
        let (changes, confirmation) = applied.await.map_err(|crash| crashed(&crash))??;
        self.unconfirmed.extend(confirmation.clone());
        Ok(Response::Changes { changes, confirmation })
    }

    async fn confirm(&self, confirmation: String) -> Result<Response, Failure> {
        if self.unconfirmed.contains(&confirmation) {
            return Err(Failure {
                hint: Some("open another connection: that it can be opened is what is to be proved".to_owned()),
                ..permanent("a change cannot be confirmed over the connection that made it".to_owned())
            });
        }
        let confirm = move |host: &Host| {
            revert::confirm(host, &confirmation)?;
            // Its watcher sleeps on until the time is over; what waits for the next start need not.
            tidy_boot(host);
            Ok(())
        };
        self.blocking(confirm).await?;
        Ok(Response::Done)
    }

    async fn receive(&self, upload: Upload, frames: &mut UploadFrames<'_>) -> Result<Response, Failure> {
        self.claim().check(&self.host)?;
        let resume =
            move |host: &Host| ArtifactWriter::resume(host, &upload.sha256, upload.size_bytes, upload.offset_bytes);
        let mut artifact = self.blocking(resume).await?;
        // A cut cable ends no connection: the next attempt must not wait for this one.
        while let Some(frame) = tokio::time::timeout(UPLOAD_SILENCE, frames.next()).await.map_err(|_| cut_off())? {
            artifact.write(&frame).map_err(|error| failure(&error, &[]))?;
        }
        if !frames.is_whole() {
            return Err(cut_off());
        }
        // Whoever took over meanwhile wants nothing of ours.
        self.claim().check(&self.host)?;
        self.blocking(move |_| artifact.finish()).await?;
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

/// Requests that only the holder of the highest fence may make.
fn changes_the_host(request: &Request) -> bool {
    match request {
        Request::Apply { .. }
        | Request::Upload { .. }
        | Request::FetchArtifact { .. }
        | Request::SigningRequest { .. }
        | Request::InstallCertificate { .. }
        | Request::SealIdentity { .. }
        | Request::InstallIdentity { .. }
        | Request::Run { .. }
        | Request::Reset => true,
        Request::Etcd(request) => *request != EtcdRequest::Members,
        _ => false,
    }
}

fn apply(host: &Host, resources: &[Resource], stop: &Stop, guard: Guard<'_>) -> Result<Vec<Change>, Failure> {
    if let Some(id) = revert::waiting(host) {
        let message = format!("an earlier change of this host ({id}) waits to be confirmed or put back");
        return Err(Failure { kind: FailureKind::Transient, ..permanent(message) });
    }
    let changes = apply_guarded(host, resources, stop, guard).map_err(|(error, done)| failure(&error, &done))?;
    if resources.iter().any(|resource| matches!(resource, Resource::Binary { .. })) {
        let running: Option<PathBuf> = std::env::current_exe().ok();
        if let Err(error) = prune_artifacts(host, running.as_deref()) {
            tracing::warn!(%error, "old artifacts stay");
        }
    }
    Ok(changes)
}

/// The change, and the id that confirms it; none when nothing was changed.
fn apply_until_confirmed(
    host: &Host,
    resources: &[Resource],
    stop: &Stop,
    guard: Guard<'_>,
    seconds: u32,
    watchdog: &Watchdog,
) -> Result<(Vec<Change>, Option<String>), Failure> {
    let saved = Revert::prepare(host, resources, seconds).map_err(|error| failure(&error, &[]))?;
    let put_back = |saved: Revert, failure: Failure| {
        let how = match saved.abandon() {
            Ok(_) => "everything was put back as it was".to_owned(),
            Err(error) => format!("not everything could be put back: {error}"),
        };
        let detail = failure.detail.map_or(how.clone(), |detail| format!("{detail}\n{how}"));
        Failure { detail: Some(detail), ..failure }
    };
    if let Err(error) = watchdog.watch(host, saved.id()) {
        return Err(put_back(saved, failure(&error, &[])));
    }
    match apply_guarded(host, resources, stop, guard) {
        Err((error, done)) => Err(put_back(saved, failure(&error, &done))),
        Ok(changes) if changes.is_empty() => {
            saved.discard().map_err(|error| failure(&error, &[]))?;
            Ok((changes, None))
        }
        Ok(changes) => {
            let id = saved.begin().map_err(|error| failure(&error, &changes))?;
            Ok((changes, Some(id)))
        }
    }
}

pub(crate) fn failure(error: &ResourceError, done: &[Change]) -> Failure {
    let mut detail: Vec<String> = error.detail().into_iter().collect();
    if !done.is_empty() {
        let done: Vec<&str> = done.iter().map(|change| change.summary.as_str()).collect();
        detail.push(format!("done before: {}", done.join("; ")));
    }
    let kind = match error {
        ResourceError::Overtaken { .. } => FailureKind::Fenced,
        error if error.is_no_space() => FailureKind::NoSpace,
        error if error.is_transient() => FailureKind::Transient,
        _ => FailureKind::Permanent,
    };
    Failure {
        kind,
        message: error.to_string(),
        detail: (!detail.is_empty()).then(|| detail.join("\n")),
        hint: error.hint(),
    }
}

pub(crate) fn crashed(crash: &tokio::task::JoinError) -> Failure {
    Failure { detail: Some(crash.to_string()), ..permanent("the agent stumbled over its own fault".to_owned()) }
}

fn cut_off() -> Failure {
    let message = "the connection ended inside an artifact".to_owned();
    Failure { kind: FailureKind::Transient, ..permanent(message) }
}

fn permanent(message: String) -> Failure {
    Failure { kind: FailureKind::Permanent, message, detail: None, hint: None }
}
