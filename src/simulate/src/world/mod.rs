//! The world of one simulation: hosts, clusters, the network between them, the agents' sessions, virtual time, faults,
//! and what must never happen. Everything is reached through one lock; nothing in it waits.

mod availability;
mod canonical;
mod etcd;
mod hooks;
mod invariants;
mod serve;
mod session;
mod settle;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use naru_agent::Facts;
use naru_plan::Plan;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::availability::Rollout;
pub use self::canonical::difference;
pub use self::etcd::EtcdCluster;
pub use self::hooks::RanHook;
pub(crate) use self::hooks::{COMMAND_MS, status as command_status};
pub(crate) use self::serve::{serve, wished};
pub(crate) use self::session::Session;
pub(crate) use self::settle::CONTROL_PLANE_UNIT;
pub(crate) use self::transfer::{CHUNK_BYTES, chunk_time};
use crate::Random;
use crate::cluster::Cluster;
use crate::fault::{Fault, FaultKind};
use crate::machine::{BEGIN_UNIX_MS, FileModel, Machine};

/// A longer trace is not kept.
const MAX_TRACE_LINES: usize = 200_000;
/// More violations of one run are only more of the same.
const MAX_VIOLATIONS: usize = 20;
/// How long a host takes to come back.
const BOOT_MS: u64 = 20_000;

/// Everything that lasts; a copy of it is another world in the same state.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub machines: BTreeMap<String, Machine>,
    pub clusters: BTreeMap<u64, Cluster>,
    pub etcd: BTreeMap<u64, EtcdCluster>,
    /// Versions of programs by hash, and sizes of artifacts by hash.
    pub versions: BTreeMap<String, String>,
    pub sizes: BTreeMap<String, u64>,
    /// Secrets by reference; the hosts get them, nobody else.
    pub secrets: BTreeMap<String, String>,
    /// Hosts that stay off, and clocks that stay wrong, whatever is mended.
    pub dead: BTreeSet<String>,
    pub own_skew: BTreeMap<String, i64>,
    /// What hosts say of themselves that is not so.
    pub facts_twists: BTreeMap<String, Vec<fn(&mut Facts)>>,
    /// Milliseconds since the beginning.
    pub now_ms: u64,
    /// When each host's report was last brought up to date, and after which change.
    pub(crate) settled: Option<(u64, u64)>,
    pub(crate) configs: BTreeMap<String, (Arc<str>, Arc<serde_json::Value>)>,
    pub(crate) reports: BTreeMap<String, settle::Report>,
    pub(crate) boots_at: BTreeMap<String, u64>,
    pub(crate) isolated_until: BTreeMap<String, u64>,
    /// Nodes that are not ready until then, for no reason that a run could do anything about.
    pub(crate) not_ready_until: BTreeMap<String, u64>,
    pub(crate) slow_disks: BTreeMap<String, u64>,
    pub(crate) liars: BTreeSet<String>,
    /// Files of the cluster's identity on their way from host to host, by the text that stands for them.
    pub(crate) sealed: BTreeMap<String, Sealed>,
    /// Changes that were confirmed over a second connection.
    pub(crate) confirmed: BTreeSet<String>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) next_session: u64,
    pub(crate) operators: Vec<Operator>,
    /// The highest fence that was said on each host while these operators were at work.
    pub(crate) said_fences: BTreeMap<String, u64>,
    /// Which operators have changed something under a fence, one after the other.
    pub(crate) fence_users: BTreeMap<u64, Vec<usize>>,
    /// Commands of hooks that were run to their ends, in their order.
    pub hooks: Vec<RanHook>,
    pub violations: Vec<String>,
    pub trace: Vec<String>,
    pub is_traced: bool,
    /// Whether changes must come from the holder of the highest fence everywhere, which only a sound network promises.
    pub is_strict: bool,
    /// How often the power of a host went.
    pub power_cuts: u64,
    /// Small changes of hosts so far.
    pub changes: u64,
    pub requests: u64,
    /// Points that operators passed, and faults that waited there.
    pub points_passed: u64,
    pub faults_met: u64,
}

/// Files sealed for the holder of one session.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) recipient: u64,
    /// As the receiver's list of what is ours calls them.
    pub(crate) kind: String,
    pub(crate) files: Vec<(String, FileModel)>,
}

/// What the world knows of an operator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator {
    pub(crate) name: String,
    /// Zero until it holds the lock.
    pub(crate) fence: u64,
    pub(crate) points: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) is_stopped: bool,
    /// It stands still and keeps what it has.
    pub(crate) is_frozen: bool,
    /// Until when it stands still.
    pub(crate) pause_end: Option<Instant>,
    /// What its plan says: hosts that it may change.
    pub(crate) hosts: BTreeSet<String>,
    /// Units whose start, restart or stop it announced, by host.
    pub(crate) announced: BTreeSet<(String, String)>,
    /// Units that it started, by host.
    pub(crate) disturbed: BTreeSet<(String, String)>,
    /// Commands that must have run on or for a host before anything is changed there, and those after which nothing
    /// more may be.
    pub(crate) hooks_before: BTreeSet<(String, String)>,
    pub(crate) hooks_after: BTreeSet<(String, String)>,
    pub(crate) hooks_ran: BTreeSet<(String, String)>,
    pub(crate) rollout: Rollout,
}

impl Operator {
    /// It says nothing to anybody for now.
    fn is_silent(&self) -> bool {
        self.is_stopped || self.pause_end.is_some_and(|end| Instant::now() < end)
    }
}

/// What becomes of somebody who passes a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    Hit(FaultKind),
}

pub struct World {
    began: Instant,
    offset_ms: u64,
    state: Mutex<State>,
    /// Operators that were killed are told to end.
    pub(crate) killed: Notify,
}

impl State {
    /// Bare hosts.
    #[must_use]
    pub fn new(hosts: &[(String, String)], random: &mut Random) -> Self {
        let machines = hosts.iter().map(|(name, address)| (name.clone(), Machine::new(name, address, random)));
        Self { machines: machines.collect(), ..Self::default() }
    }

    /// What a host says of itself.
    #[must_use]
    pub fn facts(&self, host: &str) -> Facts {
        let Some(machine) = self.machines.get(host) else { return Facts::default() };
        let mut facts = machine.facts();
        for program in ["naru-node", "naru-control-plane"] {
            let file = machine.files.get(&format!("/opt/naru/bin/{program}"));
            if let Some(version) = file.and_then(|file| self.versions.get(&file.body.sha256())) {
                facts.versions.insert(program.to_owned(), version.clone());
            }
        }
        self.facts_twists.get(host).into_iter().flatten().for_each(|twist| twist(&mut facts));
        facts
    }

    pub(crate) fn unix_ms(&self) -> i64 {
        BEGIN_UNIX_MS + i64::try_from(self.now_ms).unwrap_or(i64::MAX / 2)
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced && self.trace.len() < MAX_TRACE_LINES {
            let text = format!("{:>10.3} s  {}", self.now_ms as f64 / 1e3, line());
            self.trace.push(text);
        }
    }

    pub(crate) fn violation(&mut self, text: String) {
        self.note(|| format!("VIOLATION: {text}"));
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(text);
        }
    }

    pub(crate) fn host_at(&self, address: &str) -> Option<String> {
        self.machines.values().find(|machine| machine.address == address).map(|machine| machine.name.clone())
    }

    pub(crate) fn is_isolated(&self, host: &str) -> bool {
        self.isolated_until.get(host).is_some_and(|until| self.now_ms < *until)
    }

    pub(crate) fn is_up(&self, host: &str) -> bool {
        self.machines.get(host).is_some_and(|machine| machine.is_on)
    }

    /// Whether packets of one host arrive at another.
    pub(crate) fn reaches(&self, from: &str, to: &str) -> bool {
        from == to || (self.is_up(from) && self.is_up(to) && !self.is_isolated(from) && !self.is_isolated(to))
    }

    /// All that was broken on purpose is mended: power, disks, clocks, network.
    pub fn heal(&mut self) {
        self.isolated_until.clear();
        self.slow_disks.clear();
        self.liars.clear();
        for machine in self.machines.values_mut() {
            machine.disk_free_bytes = machine.disk_free_bytes.max(40 << 30);
            machine.skew_ms = self.own_skew.get(&machine.name).copied().unwrap_or_default();
            if !machine.is_on && !self.dead.contains(&machine.name) {
                self.boots_at.entry(machine.name.clone()).or_insert(self.now_ms + BOOT_MS);
            }
        }
    }

    /// Changes the Node object of a host in every cluster that has one.
    pub(crate) fn patch_node(&mut self, host: &str, patch: &serde_json::Value) {
        let path = format!("/api/v1/nodes/{host}");
        for cluster in self.clusters.values_mut() {
            if let Some(mut node) = cluster.objects.get(&path).cloned() {
                crate::kubernetes::merge(&mut node, patch);
                cluster.put(&path, node);
            }
        }
    }

    pub fn power_off(&mut self, host: &str) {
        self.boots_at.remove(host);
        self.power_cuts += 1;
        if let Some(machine) = self.machines.get_mut(host) {
            machine.reboot();
            machine.is_on = false;
        }
    }

    pub fn reboot(&mut self, host: &str) {
        if !self.machines.get(host).is_some_and(|machine| machine.is_on) {
            return;
        }
        self.power_off(host);
        self.boots_at.insert(host.to_owned(), self.now_ms + BOOT_MS);
    }
}

impl World {
    /// Goes on from this state; to be called inside the runtime whose clock it follows.
    #[must_use]
    pub fn new(state: State) -> Arc<Self> {
        let offset_ms = state.now_ms;
        Arc::new(Self { began: Instant::now(), offset_ms, state: Mutex::new(state), killed: Notify::new() })
    }

    /// The world as it is now: clocks have gone on, programs have done what was due.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.now_ms = self.offset_ms + elapsed;
        state.settle();
        work(&mut state)
    }

    /// Everything, to go on from in another runtime. Sessions and operators end here.
    #[must_use]
    pub fn end(&self) -> State {
        self.with(|state| {
            let mut last = state.clone();
            last.sessions.clear();
            last.operators.clear();
            last.said_fences.clear();
            last.fence_users.clear();
            last
        })
    }

    /// A new operator, with the faults that will hit it.
    pub fn add_operator(&self, name: &str, faults: Vec<Fault>) -> usize {
        self.with(|state| {
            state.operators.push(Operator { name: name.to_owned(), faults, ..Operator::default() });
            state.operators.len() - 1
        })
    }

    /// What an operator calls itself: the same name in every run would be the same owner.
    #[must_use]
    pub fn owner(&self, operator: usize) -> String {
        let state = self.state.lock();
        format!("{}-{operator}-{}", state.operators[operator].name, state.next_session)
    }

    #[must_use]
    pub fn is_stopped(&self, operator: usize) -> bool {
        self.state.lock().operators[operator].is_stopped
    }

    #[must_use]
    pub fn is_killed(&self, operator: usize) -> bool {
        let state = self.state.lock();
        state.operators[operator].is_stopped && !state.operators[operator].is_frozen
    }

    /// Until when an operator stands still, if it does.
    #[must_use]
    pub fn pause_end(&self, operator: usize) -> Option<Instant> {
        let end = self.state.lock().operators[operator].pause_end;
        end.filter(|end| Instant::now() < *end)
    }

    /// The fence under which an operator holds the lock, or believes that it does; zero before.
    #[must_use]
    pub fn fence(&self, operator: usize) -> u64 {
        self.state.lock().operators[operator].fence
    }

    /// The operator's plan: what it may change, what it announced, and what it promises.
    pub fn announce(&self, operator: usize, plan: &Plan, announced: BTreeSet<(String, String)>) {
        self.with(|state| {
            let rollout = state.rollout(plan);
            let operator = &mut state.operators[operator];
            operator.hosts = plan.steps.iter().map(|step| step.host.clone()).collect();
            operator.announced = announced;
            operator.rollout = rollout;
            operator.expect_hooks(plan);
        });
    }

    /// Units that an operator started or restarted.
    #[must_use]
    pub fn disturbed(&self, operator: usize) -> BTreeSet<(String, String)> {
        self.state.lock().operators[operator].disturbed.clone()
    }

    pub(crate) fn set_fence(&self, operator: usize, fence: u64) {
        self.with(|state| {
            let name = state.operators[operator].name.clone();
            state.note(|| format!("{name} has fence {fence}"));
            state.operators[operator].fence = fence;
        });
    }

    /// Passes a point of an operator; a fault that waits there takes effect on the host.
    pub(crate) fn pass(&self, operator: usize, host: &str) -> Passage {
        let passage = self.with(|state| state.pass(operator, host));
        if matches!(passage, Passage::Hit(FaultKind::Kill | FaultKind::KillUnnoticed { .. } | FaultKind::Freeze)) {
            self.killed.notify_waiters();
        }
        passage
    }
}

impl State {
    fn pass(&mut self, number: usize, host: &str) -> Passage {
        let operator = &mut self.operators[number];
        let at = operator.points;
        operator.points += 1;
        self.points_passed += 1;
        let operator = &self.operators[number];
        let Some(fault) = operator.faults.iter().find(|fault| fault.at_point == at).cloned() else {
            return Passage::Free;
        };
        self.faults_met += 1;
        self.note(|| format!("FAULT on {host}: {fault}"));
        match &fault.kind {
            FaultKind::Kill => self.stop_operator(number, 0),
            FaultKind::KillUnnoticed { after_ms } => self.stop_operator(number, *after_ms),
            FaultKind::Freeze => {
                (self.operators[number].is_stopped, self.operators[number].is_frozen) = (true, true);
            }
            FaultKind::Pause { for_ms } => {
                self.operators[number].pause_end = Some(Instant::now() + Duration::from_millis(*for_ms));
            }
            FaultKind::CrashAgent => self.crash_agents(number, host),
            FaultKind::Reboot => self.reboot(host),
            FaultKind::PowerOff => self.power_off(host),
            FaultKind::FillDisk => {
                if let Some(machine) = self.machines.get_mut(host) {
                    machine.disk_free_bytes = 0;
                }
            }
            FaultKind::SlowDisk { factor } => {
                self.slow_disks.insert(host.to_owned(), *factor);
            }
            FaultKind::Skew { seconds } => {
                if let Some(machine) = self.machines.get_mut(host) {
                    machine.skew_ms += seconds * 1_000;
                }
            }
            FaultKind::Isolate { for_ms } => {
                self.isolated_until.insert(host.to_owned(), self.now_ms + for_ms);
            }
            FaultKind::Lie => {
                self.liars.insert(host.to_owned());
            }
            FaultKind::DropRequest | FaultKind::DropAnswer | FaultKind::SwallowAnswer | FaultKind::Fail { .. } => {}
        }
        Passage::Hit(fault.kind)
    }
}
