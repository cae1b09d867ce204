//! The lock: a majority of the inventory's control planes must grant it, each for as long as the connection lives on
//! which it was asked for. Its fence is one more than any that these hosts have seen, and hosts refuse changes that
//! come with a lower one, so a holder who lost the lock without noticing can do no harm. For the end of a cluster whose
//! control planes are gone there is a lesser one: of every host that answers, each for itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use naru_agent::{FailureKind, Request, Response};
use naru_inventory::{Host, Inventory};
use naru_observe::{AgentError, Fleet, HostAgent, Problem};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long one control plane may take to answer about the lock, its connection included.
const GRANT_DEADLINE: Duration = Duration::from_secs(40);
/// How long the others are waited for once a majority has granted.
const MAJORITY_GRACE: Duration = Duration::from_secs(3);
/// Hosts that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// How often a holder makes sure that it still holds.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(20);
/// How often control planes that never granted are asked again while there is a majority without them.
const ROUNDS_BETWEEN_OFFERS: u32 = 12;
/// How long a run waits for a majority to come back before it ends.
const REGAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Why nothing was done at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// With the host that says so and its words: who holds the lock, since when.
    #[error("another naru is changing this cluster")]
    Locked { host: String, detail: Option<String> },
    /// With what each of the others answered.
    #[error("{granted} of {of} control planes granted the lock, {needed} are needed")]
    NoMajority { granted: usize, of: usize, needed: usize, problems: Vec<(String, Problem)> },
    #[error("interrupted while waiting for the lock; nothing was changed")]
    Interrupted,
}

/// The lock, held until this is dropped.
pub struct Held {
    owner: String,
    fence: u64,
    needed: usize,
    control_planes: Vec<Host>,
    grants: Mutex<BTreeMap<String, Arc<dyn HostAgent>>>,
}

/// How the lock stands while a plan is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Held,
    /// Less than a majority, and nobody else has one: no step begins until it has come back.
    Weak,
    /// For good, with the reason.
    TakenOver(String),
    Lost(String),
}

enum Refusal {
    /// Somebody else holds it, in the host's words.
    Locked(String),
    Problem(Problem),
}

type Grant = (Arc<dyn HostAgent>, u64);

impl Held {
    /// Changes under this lock carry this number.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Hosts that have granted it.
    #[must_use]
    pub fn granted_by(&self) -> Vec<String> {
        self.grants.lock().keys().cloned().collect()
    }

    pub(crate) async fn take(fleet: &dyn Fleet, inventory: &Inventory, owner: &str) -> Result<Self, ExecuteError> {
        let control_planes: Vec<Host> = inventory.control_planes().cloned().collect();
        let needed = if control_planes.is_empty() { 0 } else { control_planes.len() / 2 + 1 };
        let (granted, refused) = ask_all(fleet, &control_planes, owner, needed).await;
        Self::claim(fleet, owner, needed, control_planes, granted, refused).await
    }

    /// Of all hosts that answer, control planes or not. Whoever gets the other control planes' lock meanwhile is not
    /// kept from it, and may change the same hosts.
    pub(crate) async fn take_without_majority(
        fleet: &dyn Fleet,
        inventory: &Inventory,
        owner: &str,
    ) -> Result<Self, ExecuteError> {
        let hosts = &inventory.spec.hosts;
        let (granted, mut refused) = ask_all(fleet, hosts, owner, hosts.len()).await;
        refused.retain(|(_, refusal)| matches!(refusal, Refusal::Locked(_)));
        if !refused.is_empty() {
            return Err(refusal(granted.len(), hosts.len(), hosts.len(), refused));
        }
        // Nobody is asked again: a host that was cleaned would get the agent once more.
        Self::claim(fleet, owner, 0, Vec::new(), granted, refused).await
    }

    async fn claim(
        fleet: &dyn Fleet,
        owner: &str,
        needed: usize,
        control_planes: Vec<Host>,
        granted: BTreeMap<String, Grant>,
        mut refused: Vec<(String, Refusal)>,
    ) -> Result<Self, ExecuteError> {
        let of = control_planes.len();
        if granted.len() < needed {
            return Err(refusal(granted.len(), of, needed, refused));
        }
        let highest = granted.values().map(|(_, fence)| *fence).max().unwrap_or(0);
        let fence = highest.saturating_add(1);
        fleet.set_fence(fence);
        let mut grants = BTreeMap::new();
        for (host, (agent, _)) in granted {
            // Said here at once, so that whoever comes next takes a higher one even if nothing is changed here.
            match announce(agent.as_ref(), &host, fence).await {
                Ok(()) => drop(grants.insert(host, agent)),
                Err(error) => refused.push((host, refused_by(error))),
            }
        }
        if grants.len() < needed {
            return Err(refusal(grants.len(), of, needed, refused));
        }
        Ok(Self { owner: owner.to_owned(), fence, needed, control_planes, grants: Mutex::new(grants) })
    }

    /// Makes sure again and again that the lock is held; never ends.
    pub(crate) async fn keep(&self, fleet: &dyn Fleet, standing: &watch::Sender<Standing>) {
        let mut weak_since: Option<Instant> = None;
        let mut round: u32 = 0;
        loop {
            sleep(HEARTBEAT).await;
            round = round.wrapping_add(1);
            let asks_all = weak_since.is_some() || round.is_multiple_of(ROUNDS_BETWEEN_OFFERS);
            let (holders, higher) = self.ask_again(fleet, asks_all).await;
            let has_majority = self.grants.lock().len() >= self.needed;
            let next = if let Some(host) = higher {
                Standing::TakenOver(format!("{host} has seen a later run since"))
            } else if has_majority {
                Standing::Held
            } else if holders.len() >= self.needed {
                Standing::TakenOver(holders.into_iter().next().unwrap_or_default())
            } else if weak_since.is_some_and(|since| since.elapsed() >= REGAIN_DEADLINE) {
                Standing::Lost(format!("less than {} control planes hold the lock for us", self.needed))
            } else {
                Standing::Weak
            };
            weak_since = (next == Standing::Weak).then(|| weak_since.unwrap_or_else(Instant::now));
            standing.send_if_modified(|present| std::mem::replace(present, next.clone()) != next);
        }
    }

    /// Asks the hosts that hold the lock for us whether they still do, and those that do not whether they would.
    /// Answers with the words of those that hold it for somebody else, and a host that has seen a higher fence.
    async fn ask_again(&self, fleet: &dyn Fleet, asks_all: bool) -> (Vec<String>, Option<String>) {
        let mut rounds: FuturesUnordered<_> =
            self.control_planes.iter().map(|host| self.ask_host_again(fleet, host, asks_all)).collect();
        let (mut holders, mut higher) = (Vec::new(), None);
        while let Some(answer) = rounds.next().await {
            match answer {
                Some(Ok(())) | None => {}
                Some(Err(Again::Holder(words))) => holders.push(words),
                Some(Err(Again::Higher(host))) => higher = Some(host),
            }
        }
        (holders, higher)
    }

    async fn ask_host_again(&self, fleet: &dyn Fleet, host: &Host, asks: bool) -> Option<Result<(), Again>> {
        let agent = self.grants.lock().get(&host.name).cloned();
        let had_it = agent.is_some();
        if let Some(agent) = agent {
            // Asking for a lock on the connection that has it changes nothing, and tells whether it lives.
            match timeout(HEARTBEAT_DEADLINE, ask(agent.as_ref(), &host.name, &self.owner)).await {
                Ok(Ok(fence)) if fence > self.fence => return Some(Err(Again::Higher(host.name.clone()))),
                Ok(Ok(_)) => return Some(Ok(())),
                Ok(Err(_)) | Err(_) => drop(self.grants.lock().remove(&host.name)),
            }
        }
        if !had_it && !asks {
            return None;
        }
        match grant(fleet, host, &self.owner).await {
            Ok((_, fence)) if fence > self.fence => Some(Err(Again::Higher(host.name.clone()))),
            Ok((agent, _)) => {
                if announce(agent.as_ref(), &host.name, self.fence).await.is_ok() {
                    self.grants.lock().insert(host.name.clone(), agent);
                }
                Some(Ok(()))
            }
            // Our own earlier agent may not have noticed yet that its connection is gone.
            Err(Refusal::Locked(words)) if words.contains(&self.owner) => None,
            Err(Refusal::Locked(words)) => Some(Err(Again::Holder(words))),
            Err(Refusal::Problem(_)) => None,
        }
    }
}

enum Again {
    Holder(String),
    Higher(String),
}

/// Asks many at once; the slow ones are not waited for long once there are as many as are needed.
async fn ask_all(
    fleet: &dyn Fleet,
    hosts: &[Host],
    owner: &str,
    needed: usize,
) -> (BTreeMap<String, Grant>, Vec<(String, Refusal)>) {
    let (mut granted, mut refused) = (BTreeMap::new(), Vec::new());
    let asking = hosts.iter().map(|host| async move { (host.name.clone(), grant(fleet, host, owner).await) });
    let mut asking = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE);
    loop {
        let next = if granted.len() >= needed {
            timeout(MAJORITY_GRACE, asking.next()).await.unwrap_or(None)
        } else {
            asking.next().await
        };
        match next {
            Some((host, Ok(grant))) => drop(granted.insert(host, grant)),
            Some((host, Err(refusal))) => refused.push((host, refusal)),
            None => return (granted, refused),
        }
    }
}

/// A connection of the lock's own, so that a step's broken one does not cost the lock.
async fn grant(fleet: &dyn Fleet, host: &Host, owner: &str) -> Result<Grant, Refusal> {
    let asking = async {
        let agent = fleet.connect_anew(host).await.map_err(Refusal::Problem)?;
        let fence = ask(agent.as_ref(), &host.name, owner).await.map_err(refused_by)?;
        Ok((agent, fence))
    };
    timeout(GRANT_DEADLINE, asking).await.unwrap_or_else(|_| {
        let (host, what) = (host.name.clone(), "the lock".to_owned());
        Err(Refusal::Problem(AgentError::Deadline { host, what, seconds: GRANT_DEADLINE.as_secs() }.into()))
    })
}

async fn ask(agent: &dyn HostAgent, host: &str, owner: &str) -> Result<u64, AgentError> {
    match agent.call(Request::Lock { owner: owner.to_owned() }).await? {
        Response::Locked { fence } => Ok(fence),
        _ => Err(AgentError::Unexpected { host: host.to_owned(), request: "the lock" }),
    }
}

async fn announce(agent: &dyn HostAgent, host: &str, fence: u64) -> Result<(), AgentError> {
    match agent.call(Request::Fence { fence }).await? {
        Response::Done => Ok(()),
        _ => Err(AgentError::Unexpected { host: host.to_owned(), request: "the fence" }),
    }
}

fn refused_by(error: AgentError) -> Refusal {
    match error {
        AgentError::Failed(failure) if matches!(failure.kind, FailureKind::Locked | FailureKind::Fenced) => {
            let detail = failure.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
            Refusal::Locked(format!("{}{detail}", failure.message))
        }
        other => Refusal::Problem(other.into()),
    }
}

fn refusal(granted: usize, of: usize, needed: usize, mut refused: Vec<(String, Refusal)>) -> ExecuteError {
    // Answers come in any order; the message must not depend on it.
    refused.sort_by(|one, other| one.0.cmp(&other.0));
    let mut problems = Vec::new();
    for (host, refusal) in refused {
        match refusal {
            Refusal::Locked(words) => return ExecuteError::Locked { host, detail: Some(words) },
            Refusal::Problem(problem) => problems.push((host, problem)),
        }
    }
    ExecuteError::NoMajority { granted, of, needed, problems }
}
