//! The way from an operator to its hosts: what the SSH fleet is in the real program. Links to a host for changes,
//! uploads and questions, each opened when first needed; the fence said before changes; secrets put in at the last
//! moment; and everything that can happen to a request on its way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use naru_agent::{EtcdRequest, Request, Response};
use naru_inventory::Host;
use naru_observe::{AgentError, Fleet, HostAgent, MAX_CALL_SECONDS, Problem, ProblemKind};
use naru_resources::Resource;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::fault::FaultKind;
use crate::world::{CHUNK_BYTES, Passage, World, chunk_time, serve, wished};

/// One way, between an operator and a host.
const LATENCY: Duration = Duration::from_millis(5);
/// Opening a connection takes this long, and is given up after that.
const CONNECT: Duration = Duration::from_millis(80);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// After so much silence a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(45);

/// One operator's fleet.
pub struct SimulatedFleet {
    world: Arc<World>,
    operator: usize,
    agents: Mutex<BTreeMap<String, Arc<SimulatedAgent>>>,
    fence: Arc<AtomicU64>,
}

impl SimulatedFleet {
    #[must_use]
    pub fn new(world: &Arc<World>, operator: usize) -> Self {
        Self { world: world.clone(), operator, agents: Mutex::default(), fence: Arc::default() }
    }

    fn agent(&self, host: &Host, is_alone: bool) -> Arc<SimulatedAgent> {
        Arc::new(SimulatedAgent {
            world: self.world.clone(),
            operator: self.operator,
            host: host.name.clone(),
            fence: self.fence.clone(),
            is_alone,
            links: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        })
    }
}

impl Fleet for SimulatedFleet {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            let known = self.agents.lock().get(&host.name).cloned();
            if let Some(agent) = known {
                return Ok(agent as Arc<dyn HostAgent>);
            }
            let agent = self.agent(host, false);
            agent.reach().await?;
            Ok(self.agents.lock().entry(host.name.clone()).or_insert(agent).clone() as Arc<dyn HostAgent>)
        })
    }

    fn forget<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.agents.lock().remove(host);
        })
    }

    fn set_fence(&self, fence: u64) {
        self.fence.store(fence, Ordering::SeqCst);
        self.world.set_fence(self.operator, fence);
    }

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move {
            let agent = self.agent(host, true);
            agent.reach().await?;
            Ok(agent as Arc<dyn HostAgent>)
        })
    }
}

struct SimulatedAgent {
    world: Arc<World>,
    operator: usize,
    host: String,
    fence: Arc<AtomicU64>,
    /// One link for everything.
    is_alone: bool,
    /// For changes, uploads, questions.
    links: [tokio::sync::Mutex<Link>; 3],
}

#[derive(Default)]
struct Link {
    end: Option<End>,
    /// The fence that was said on it.
    said: u64,
    /// Who holds the lock on it; asked for again when it had to be opened anew.
    owner: Option<String>,
}

/// The operator's end of a session; dropped, the connection closes.
struct End {
    world: Arc<World>,
    session: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        self.world.with(|state| state.close_session(self.session, 0));
    }
}

fn is_change(request: &Request) -> bool {
    match request {
        Request::Apply { .. }
        | Request::SigningRequest { .. }
        | Request::InstallCertificate { .. }
        | Request::FetchArtifact { .. }
        | Request::Run { .. }
        | Request::ReceiveIdentity
        | Request::SealIdentity { .. }
        | Request::InstallIdentity { .. }
        | Request::Confirm { .. }
        | Request::Reset => true,
        Request::Api(request) => request.method != "GET",
        Request::Etcd(request) => !matches!(request, EtcdRequest::Members),
        _ => false,
    }
}

impl SimulatedAgent {
    fn link(&self, number: usize) -> &tokio::sync::Mutex<Link> {
        &self.links[if self.is_alone { 0 } else { number }]
    }

    fn broken(&self, reason: &str) -> AgentError {
        AgentError::Connection { host: self.host.clone(), reason: reason.to_owned() }
    }

    /// Passes a point; an operator that has been stopped goes no further.
    async fn pass(&self) -> Option<FaultKind> {
        if self.world.is_stopped(self.operator) {
            std::future::pending::<()>().await;
        }
        match self.world.pass(self.operator, &self.host) {
            Passage::Free => None,
            Passage::Hit(FaultKind::Pause { .. }) => {
                if let Some(end) = self.world.pause_end(self.operator) {
                    tokio::time::sleep_until(end).await;
                }
                None
            }
            Passage::Hit(FaultKind::Kill | FaultKind::KillUnnoticed { .. } | FaultKind::Freeze) => {
                std::future::pending().await
            }
            Passage::Hit(kind) => Some(kind),
        }
    }

    async fn open(&self) -> Result<End, Problem> {
        let unreachable = |primary: String| Problem {
            kind: ProblemKind::Unreachable,
            primary,
            detail: None,
            hint: Some("is it switched on?".to_owned()),
        };
        let hit = self.pass().await;
        if matches!(hit, Some(FaultKind::DropRequest | FaultKind::DropAnswer | FaultKind::Fail { .. })) {
            return Err(unreachable("the connection was reset".to_owned()));
        }
        sleep(CONNECT).await;
        let is_there = self.world.with(|state| state.is_up(&self.host) && !state.is_isolated(&self.host));
        if !is_there || hit == Some(FaultKind::SwallowAnswer) {
            sleep(CONNECT_DEADLINE).await;
            return Err(unreachable(format!("{} does not answer", self.host)));
        }
        let session = self.world.with(|state| state.open_session(self.operator, &self.host));
        Ok(End { world: self.world.clone(), session })
    }

    async fn reach(&self) -> Result<(), Problem> {
        let mut link = self.link(2).lock().await;
        *link = Link { end: Some(self.open().await?), ..Link::default() };
        Ok(())
    }

    /// The link's session, with its fence said. It is taken out of the link: a call that is dropped half-way closes it.
    async fn ready(&self, link: &mut Link, is_change: bool) -> Result<End, AgentError> {
        let known = link.end.take();
        // A reset is noticed at once; silence only when it has lasted.
        let gone = |end: &End| self.world.with(|state| !state.is_alive(end.session) && state.is_up(&self.host));
        let end = match known {
            Some(end) if !gone(&end) => end,
            _ => {
                link.said = 0;
                let opened = self.open().await;
                let end = opened.map_err(|problem| AgentError::Connect { host: self.host.clone(), problem })?;
                if let Some(owner) = link.owner.clone()
                    && let Response::Failed(failure) = self.exchange(&end, Request::Lock { owner }).await?
                {
                    return Err(AgentError::Failed(failure));
                }
                end
            }
        };
        let fence = self.fence.load(Ordering::SeqCst);
        if is_change && fence > link.said {
            match self.exchange(&end, Request::Fence { fence }).await? {
                Response::Done => link.said = fence,
                Response::Failed(failure) => {
                    link.end = Some(end);
                    return Err(AgentError::Failed(failure));
                }
                _ => return Err(AgentError::Unexpected { host: self.host.clone(), request: "the fence" }),
            }
        }
        Ok(end)
    }

    /// One request over a session, and all that can happen to it.
    async fn exchange(&self, end: &End, request: Request) -> Result<Response, AgentError> {
        let mut is_swallowed = false;
        match self.pass().await {
            Some(FaultKind::DropRequest) => return Err(self.broken("connection reset by peer")),
            Some(FaultKind::Fail { is_transient }) => return Ok(Response::Failed(wished(is_transient))),
            Some(FaultKind::SwallowAnswer) => is_swallowed = true,
            _ => {}
        }
        sleep(LATENCY).await;
        let arrives = || self.world.with(|state| state.is_alive(end.session) && !state.is_isolated(&self.host));
        if !arrives() {
            sleep(SILENCE).await;
            return Err(self.broken("no sign of life"));
        }
        let (sender, receiver) = oneshot::channel();
        let (world, session) = (self.world.clone(), end.session);
        tokio::spawn(async move {
            if let Some(response) = serve(world, session, request).await {
                // Nobody may listen any more.
                let _ = sender.send(response);
            }
        });
        let deadline = Duration::from_secs(MAX_CALL_SECONDS);
        let late = || AgentError::Deadline {
            host: self.host.clone(),
            what: "a request".to_owned(),
            seconds: MAX_CALL_SECONDS,
        };
        let response = timeout(deadline, receiver).await.map_err(|_| late())?;
        let Ok(response) = response else {
            sleep(LATENCY).await;
            if !self.world.with(|state| state.is_up(&self.host)) {
                sleep(SILENCE).await;
            }
            return Err(self.broken("the agent ended the connection"));
        };
        sleep(LATENCY).await;
        match self.pass().await {
            Some(FaultKind::DropAnswer | FaultKind::DropRequest) => {
                return Err(self.broken("connection reset by peer"));
            }
            Some(FaultKind::SwallowAnswer) => is_swallowed = true,
            _ => {}
        }
        if is_swallowed {
            sleep(deadline).await;
            return Err(late());
        }
        if self.world.with(|state| state.is_isolated(&self.host) || !state.is_up(&self.host)) {
            sleep(SILENCE).await;
            return Err(self.broken("no sign of life"));
        }
        Ok(response)
    }

    async fn ask(&self, request: Request) -> Result<Response, AgentError> {
        let is_change = is_change(&request);
        let mut link = self.link(if is_change || matches!(request, Request::Lock { .. }) { 0 } else { 2 }).lock().await;
        let request = self.reveal(request)?;
        let owner = if let Request::Lock { owner } = &request { Some(owner.clone()) } else { None };
        let end = self.ready(&mut link, is_change).await?;
        let response = self.exchange(&end, request).await?;
        link.end = Some(end);
        if owner.is_some() && matches!(response, Response::Locked { .. }) {
            link.owner = owner;
        }
        match response {
            Response::Failed(failure) => Err(AgentError::Failed(failure)),
            response => Ok(response),
        }
    }

    /// Secrets take the place of their markers.
    fn reveal(&self, mut request: Request) -> Result<Request, AgentError> {
        let (Request::Check { resources } | Request::Apply { resources, .. }) = &mut request else {
            return Ok(request);
        };
        let secrets = self.world.with(|state| state.secrets.clone());
        let lookup = |reference: &str| {
            let secret = secrets.get(reference).ok_or_else(|| "nobody knows it".to_owned())?;
            Ok(Zeroizing::new(secret.clone()))
        };
        for resource in resources {
            let (Resource::File { content, .. } | Resource::Unit { content: Some(content), .. }) = resource else {
                continue;
            };
            if content.sensitive {
                let revealed = naru_resources::secret::reveal(&content.text, &lookup);
                let revealed = revealed.map_err(|error| self.broken(&error.to_string()))?;
                content.text.clone_from(&revealed);
            }
        }
        Ok(request)
    }

    async fn send(&self, sha256: &str, offset_bytes: u64, sent: &(dyn Fn(u64) + Sync)) -> Result<(), AgentError> {
        let mut link = self.link(1).lock().await;
        let end = self.ready(&mut link, true).await?;
        let size_bytes = self.world.with(|state| state.sizes.get(sha256).copied().unwrap_or_default());
        let begun = self.world.with(|state| state.begin_upload(end.session, sha256, size_bytes, offset_bytes));
        if let Err(failure) = begun {
            link.end = Some(end);
            return Err(AgentError::Failed(failure));
        }
        let mut offset = offset_bytes;
        while offset < size_bytes {
            match self.pass().await {
                Some(FaultKind::Fail { is_transient }) => {
                    link.end = Some(end);
                    return Err(AgentError::Failed(wished(is_transient)));
                }
                Some(FaultKind::DropRequest | FaultKind::DropAnswer) => {
                    return Err(self.broken("connection reset by peer"));
                }
                Some(FaultKind::SwallowAnswer) => {
                    sleep(SILENCE).await;
                    return Err(self.broken("no sign of life"));
                }
                _ => {}
            }
            chunk_time(&self.world, &self.host).await;
            if !self.world.with(|state| state.is_alive(end.session) && !state.is_isolated(&self.host)) {
                sleep(SILENCE).await;
                return Err(self.broken("no sign of life"));
            }
            let bytes = CHUNK_BYTES.min(size_bytes - offset);
            let received = self.world.with(|state| state.receive(end.session, sha256, bytes));
            if let Err(failure) = received {
                link.end = Some(end);
                return Err(AgentError::Failed(failure));
            }
            offset += bytes;
            sent(offset);
        }
        let finished = self.world.with(|state| state.finish_upload(end.session, sha256, size_bytes));
        if matches!(self.pass().await, Some(FaultKind::DropAnswer | FaultKind::DropRequest)) {
            return Err(self.broken("connection reset by peer"));
        }
        link.end = Some(end);
        finished.map_err(AgentError::Failed)
    }
}

impl HostAgent for SimulatedAgent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        Box::pin(self.ask(request))
    }

    fn upload<'a>(
        &'a self,
        sha256: &'a str,
        _path: &'a Path,
        offset_bytes: u64,
        sent: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(self.send(sha256, offset_bytes, sent))
    }
}
