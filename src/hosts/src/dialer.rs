//! Making SSH connections for a whole run: opened keys, known hosts and bastions are shared by all hosts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::host_key::Judge;
use crate::keys::{KeyFile, KeyRing, PassphrasePrompt};
use crate::known_hosts::KnownHosts;
use crate::login::{Login, NoLogin};
use crate::session::{self, EventSink, Session, late};
use crate::{HostError, HostEvent, Route};

/// Handshakes at the same time with hosts that are reached directly: more would only wait for the processor here.
const DIRECT_HANDSHAKES: usize = 256;
/// Handshakes at the same time through one bastion, which opens a connection for each.
const BASTION_HANDSHAKES: usize = 64;
/// Passphrases that one login may need before it goes on.
const MAX_LOCKED_KEYS: usize = 8;
const MAX_HOPS: usize = 8;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Session, HostError>> + Send + 'a>>;

/// What a run shares between its connections.
pub struct Dialer {
    keys: Arc<KeyRing>,
    events: EventSink,
    known: Known,
    bastions: Mutex<BTreeMap<String, Arc<Bastion>>>,
    direct: Semaphore,
    traffic: Traffic,
}

/// Files of known hosts, read once; anew after a key was added.
type Known = Arc<Mutex<BTreeMap<Vec<PathBuf>, Arc<KnownHosts>>>>;

/// One way to hosts, used by all of them.
struct Bastion {
    state: tokio::sync::Mutex<BastionState>,
    slots: Semaphore,
}

#[derive(Default)]
struct BastionState {
    session: Option<Arc<Session>>,
    /// Those who waited for an attempt that failed do not each try again.
    failed: Option<(Instant, Arc<HostError>)>,
}

/// Counts of what went over the wire, for the summary of a run and the benchmark.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sessions: AtomicU64,
    pub(crate) channels: AtomicU64,
    pub(crate) requests: AtomicU64,
}

/// How often something was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCount {
    /// SSH logins, those at bastions included.
    pub sessions: u64,
    /// Commands started.
    pub channels: u64,
    /// Requests to agents, each of which is one round trip.
    pub requests: u64,
}

impl Traffic {
    fn count(&self) -> TrafficCount {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficCount { sessions: now(&self.sessions), channels: now(&self.channels), requests: now(&self.requests) }
    }
}

impl Dialer {
    /// `events` hears what people should be told while it happens.
    #[must_use]
    pub fn new(prompt: Option<Arc<dyn PassphrasePrompt>>, events: Arc<dyn Fn(HostEvent) + Send + Sync>) -> Arc<Self> {
        let known = Known::default();
        let outdated = known.clone();
        let events = Arc::new(move |event| {
            if matches!(event, HostEvent::HostKeyAccepted { .. }) {
                outdated.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            events(event);
        });
        Arc::new(Self {
            keys: Arc::new(KeyRing::new(prompt)),
            events,
            known,
            bastions: Mutex::default(),
            direct: Semaphore::new(DIRECT_HANDSHAKES),
            traffic: Traffic::default(),
        })
    }

    /// One without anybody to ask or to tell.
    #[must_use]
    pub fn silent() -> Arc<Self> {
        Self::new(None, Arc::new(|_| ()))
    }

    #[must_use]
    pub fn traffic(&self) -> TrafficCount {
        self.traffic.count()
    }

    pub(crate) fn counters(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) fn events(&self) -> &EventSink {
        &self.events
    }

    /// Connects, checks the host's key and logs in.
    ///
    /// # Errors
    /// Whatever stands in between; see `HostError`.
    pub async fn connect(self: &Arc<Self>, route: &Route) -> Result<Session, HostError> {
        self.connect_over(route, MAX_HOPS).await
    }

    /// Boxed, because a bastion is connected to in the same way.
    fn connect_over<'a>(self: &'a Arc<Self>, route: &'a Route, hops_left: usize) -> Connecting<'a> {
        Box::pin(self.attempts(route, hops_left))
    }

    async fn attempts(self: &Arc<Self>, route: &Route, hops_left: usize) -> Result<Session, HostError> {
        for _ in 0..=MAX_LOCKED_KEYS {
            let path = match self.attempt(route, hops_left).await {
                Ok(session) => return Ok(session),
                Err(NoLogin::Failed(error)) => return Err(*error),
                Err(NoLogin::Locked(path)) => path,
            };
            // Nobody's deadline runs while a person looks for a passphrase.
            if let KeyFile::Unusable(reason) = self.keys.unlock(&path).await {
                tracing::debug!(key = %path.display(), reason, "the key stays closed");
            }
        }
        let reason = "too many keys need a passphrase".to_owned();
        Err(HostError::Broken { host: route.host.name.clone(), reason })
    }

    async fn attempt(self: &Arc<Self>, route: &Route, hops_left: usize) -> Result<Session, NoLogin> {
        let (host, deadlines) = (&route.host, &route.deadlines);
        let known = self.known_hosts(route)?;
        let judge = Judge::new(host, &route.host_keys, &known, self.events.clone());
        let bastion = match &route.via {
            Some(via) => Some(self.bastion(via, host.name.as_str(), hops_left).await?),
            None => None,
        };
        let _slot = match &bastion {
            Some((bastion, _)) => slot(&bastion.slots).await?,
            None => slot(&self.direct).await?,
        };
        let (stream, via): (Box<dyn Stream>, Option<Arc<Session>>) = match &bastion {
            Some((_, session)) => (Box::new(session.tunnel(host, deadlines.connect).await?), Some(session.clone())),
            None => (Box::new(session::open(host, deadlines).await?), None),
        };
        let mut handle = session::handshake(host, stream, judge, deadlines).await?;
        self.traffic.sessions.fetch_add(1, Ordering::Relaxed);
        let login = Login::new(host, &mut handle, &self.keys).run(&route.credentials);
        timeout(deadlines.login, login).await.map_err(|_| late(host, "logging in", deadlines.login))??;
        Ok(Session::new(host.clone(), handle, via))
    }

    fn known_hosts(&self, route: &Route) -> Result<Arc<KnownHosts>, HostError> {
        let files = route.host_keys.files();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(files) {
            return Ok(known.clone());
        }
        let loaded = KnownHosts::load(files)
            .map_err(|source| HostError::KnownHosts { host: route.host.name.clone(), source })?;
        let loaded = Arc::new(loaded);
        known.insert(files.to_vec(), loaded.clone());
        Ok(loaded)
    }

    /// The shared connection to a bastion.
    async fn bastion(
        self: &Arc<Self>,
        via: &Arc<Route>,
        host: &str,
        hops_left: usize,
    ) -> Result<(Arc<Bastion>, Arc<Session>), HostError> {
        let asked_at = Instant::now();
        let name = via.host.name.clone();
        let fail = |source: Arc<HostError>| HostError::Bastion { host: host.to_owned(), bastion: name.clone(), source };
        let Some(hops_left) = hops_left.checked_sub(1) else {
            let reason = format!("more than {MAX_HOPS} bastions in a row");
            return Err(HostError::Broken { host: host.to_owned(), reason });
        };
        let bastion = {
            let mut bastions = self.bastions.lock().unwrap_or_else(PoisonError::into_inner);
            let make = || {
                let slots = Semaphore::new(BASTION_HANDSHAKES);
                Arc::new(Bastion { state: tokio::sync::Mutex::default(), slots })
            };
            bastions.entry(via.hops()).or_insert_with(make).clone()
        };
        let mut state = bastion.state.lock().await;
        if let Some(session) = state.session.as_ref().filter(|session| !session.is_closed()) {
            let session = session.clone();
            drop(state);
            return Ok((bastion, session));
        }
        if let Some((at, error)) = state.failed.as_ref().filter(|(at, _)| *at > asked_at) {
            tracing::trace!(?at, "shared a failure");
            return Err(fail(error.clone()));
        }
        match self.connect_over(via, hops_left).await {
            Ok(session) => {
                let session = Arc::new(session);
                *state = BastionState { session: Some(session.clone()), failed: None };
                drop(state);
                Ok((bastion, session))
            }
            Err(error) => {
                let error = Arc::new(error);
                *state = BastionState { session: None, failed: Some((Instant::now(), error.clone())) };
                Err(fail(error))
            }
        }
    }
}

async fn slot(slots: &Semaphore) -> Result<SemaphorePermit<'_>, HostError> {
    Ok(slots.acquire().await.expect("the semaphore is never closed"))
}
