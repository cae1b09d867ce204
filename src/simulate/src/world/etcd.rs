//! Etcd: who is a member, who votes, who runs. A cluster answers while a majority of its voters runs.

use naru_agent::{EtcdMember, EtcdRequest, Failure, FailureKind, Response};

use super::State;
use crate::cluster::Cluster;
use crate::machine::{Body, Machine};

pub(crate) const ETCD_UNIT: &str = "naru-etcd.service";
const DATA: &str = "/var/lib/naru/etcd/member";
const JOIN: &str = "/etc/naru/etcd-join.env";
const AUTHORITY: &str = "/etc/naru/pki/ca.crt";
/// From the start of its program until a member votes.
const START_MS: i64 = 1_000;
/// A learner has caught up so long after its start.
const CATCH_UP_MS: i64 = 4_000;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct EtcdCluster {
    pub members: Vec<Member>,
    pub leader: Option<String>,
    next_id: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    pub id: u64,
    /// The host; empty until a learner has started.
    pub name: String,
    pub peer_url: String,
    pub is_learner: bool,
}

impl EtcdCluster {
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.is_learner)
    }

    #[must_use]
    pub fn quorum(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    fn add(&mut self, name: &str, peer_url: &str, is_learner: bool) {
        self.next_id += 1;
        let (name, peer_url) = (name.to_owned(), peer_url.to_owned());
        self.members.push(Member { id: 0xe7cd_0000 + self.next_id, name, peer_url, is_learner });
    }
}

fn refused(message: &str) -> Failure {
    Failure { kind: FailureKind::Permanent, message: message.to_owned(), detail: None, hint: None }
}

fn later(message: &str) -> Failure {
    Failure { kind: FailureKind::Transient, ..refused(message) }
}

/// `NAME=VALUE` of an environment file.
fn variable(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.rfind(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
}

impl State {
    /// The member's program runs and its data are those of a member.
    #[must_use]
    pub fn is_healthy_member(&self, number: u64, host: &str) -> bool {
        let Some(machine) = self.machines.get(host) else { return false };
        let Some(unit) = machine.units.get(ETCD_UNIT) else { return false };
        let is_old = machine.clock_unix_ms - unit.started_unix_ms >= START_MS;
        machine.runs(ETCD_UNIT) && is_old && machine.text(DATA) == number.to_string() && !self.is_isolated(host)
    }

    /// How many voters run, and how many must.
    #[must_use]
    pub fn votes(&self, number: u64) -> (usize, usize) {
        let Some(cluster) = self.etcd.get(&number) else { return (0, 0) };
        let healthy = cluster.voters().filter(|member| self.is_healthy_member(number, &member.name)).count();
        (healthy, cluster.quorum())
    }

    /// The cluster whose etcd this host's control plane reads, while it answers.
    pub(crate) fn etcd_of(&self, host: &str) -> Option<u64> {
        let machine = self.machines.get(host)?;
        let number: u64 = machine.text(DATA).parse().ok()?;
        let (healthy, quorum) = self.votes(number);
        let is_member = self.etcd.get(&number)?.voters().any(|member| member.name == host);
        (healthy >= quorum && is_member && self.is_healthy_member(number, host)).then_some(number)
    }

    /// A learner that an interrupted run added and that has never started.
    pub(crate) fn add_learner(&mut self, host: &str) {
        let Some(address) = self.machines.get(host).map(|machine| machine.address.clone()) else { return };
        for etcd in self.etcd.values_mut() {
            etcd.add("", &format!("https://{address}:2380"), true);
        }
    }

    /// A leader that is gone is replaced, while there is a majority.
    pub(crate) fn settle_etcd(&mut self) {
        let numbers: Vec<u64> = self.etcd.keys().copied().collect();
        for number in numbers {
            let (healthy, quorum) = self.votes(number);
            let cluster = &self.etcd[&number];
            let alive: Vec<String> = cluster
                .voters()
                .map(|one| one.name.clone())
                .filter(|name| self.is_healthy_member(number, name))
                .collect();
            let leader = cluster.leader.clone().filter(|leader| alive.contains(leader));
            let leader = leader.or_else(|| alive.first().cloned()).filter(|_| healthy >= quorum);
            if let Some(cluster) = self.etcd.get_mut(&number) {
                cluster.leader = leader;
            }
        }
    }

    /// Etcd on this host has started: a first member makes the cluster, another one joins the one that it was told of.
    ///
    /// # Errors
    /// When it was not told how to begin, or is not expected.
    pub(crate) fn etcd_started(&mut self, host: &str) -> Result<(), Failure> {
        let machine = &self.machines[host];
        if !machine.text(DATA).is_empty() {
            let number: u64 = machine.text(DATA).parse().unwrap_or_default();
            let known = self.etcd.get(&number).is_some_and(|etcd| etcd.members.iter().any(|one| one.name == host));
            return if known { Ok(()) } else { Err(refused("the member has been removed from the cluster")) };
        }
        let join = machine.text(JOIN);
        let peers = variable(&join, "ETCD_INITIAL_CLUSTER").unwrap_or_default();
        let peers: Vec<(String, String)> = peers
            .split(',')
            .filter_map(|peer| peer.split_once('='))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        let own_url = peers.iter().find(|(name, _)| name == host).map(|(_, url)| url.clone());
        let Some(own_url) = own_url else { return Err(refused("ETCD_INITIAL_CLUSTER does not name this member")) };
        let number = match variable(&join, "ETCD_INITIAL_CLUSTER_STATE").as_deref() {
            Some("new") => self.new_etcd(host, &peers),
            Some("existing") => {
                let expected = self.etcd.iter_mut().find_map(|(number, etcd)| {
                    let member = etcd.members.iter_mut().find(|member| member.peer_url == own_url)?;
                    member.name = host.to_owned();
                    Some(*number)
                });
                expected.ok_or_else(|| refused("no cluster expects this member"))?
            }
            _ => return Err(refused("ETCD_INITIAL_CLUSTER_STATE is not set")),
        };
        if let Some(machine) = self.machines.get_mut(host) {
            machine.put(DATA, Body::text(&number.to_string()), 0o600);
        }
        Ok(())
    }

    fn new_etcd(&mut self, host: &str, peers: &[(String, String)]) -> u64 {
        // Members of one new cluster are all told the same.
        let same = |etcd: &EtcdCluster| {
            etcd.members.len() == peers.len()
                && peers.iter().all(|(name, _)| etcd.members.iter().any(|one| one.name == *name))
        };
        if let Some((number, _)) = self.etcd.iter().find(|(_, etcd)| same(etcd) && peers.len() > 1) {
            return *number;
        }
        let number = self.clusters.keys().chain(self.etcd.keys()).max().copied().unwrap_or_default() + 1;
        let mut etcd = EtcdCluster::default();
        for (name, url) in peers {
            etcd.add(name, url, false);
        }
        self.etcd.insert(number, etcd);
        let authority = self.machines[host].authority(AUTHORITY).map(|signer| signer.key).unwrap_or_default();
        self.clusters.insert(number, Cluster::new(&authority));
        number
    }

    /// The answer of the etcd that runs on this host.
    ///
    /// # Errors
    /// When none answers there, or refuses.
    pub(crate) fn etcd_request(&mut self, host: &str, request: &EtcdRequest) -> Result<Response, Failure> {
        let number: Option<u64> = self.machines[host].text(DATA).parse().ok();
        let number = number.filter(|number| self.is_healthy_member(*number, host));
        let number = number.ok_or_else(|| later("etcd does not answer on this host"))?;
        let (healthy, quorum) = self.votes(number);
        if healthy < quorum {
            return Err(later("etcd has lost its quorum"));
        }
        let caught_up = |machine: &Machine| {
            let unit = machine.units.get(ETCD_UNIT);
            unit.is_some_and(|unit| unit.is_active && machine.clock_unix_ms - unit.started_unix_ms >= CATCH_UP_MS)
        };
        let learner_is_ready =
            |name: &str| self.machines.get(name).is_some_and(caught_up) && self.is_healthy_member(number, name);
        let is_ready = match request {
            EtcdRequest::Promote { name } => learner_is_ready(name),
            _ => true,
        };
        let healthy_target = |name: &str| self.is_healthy_member(number, name);
        let target_is_healthy = match request {
            EtcdRequest::MoveLeader { to } => healthy_target(to),
            _ => true,
        };
        let etcd = self.etcd.get_mut(&number).ok_or_else(|| refused("no such cluster"))?;
        match request {
            EtcdRequest::Members => {}
            EtcdRequest::AddLearner { peer_url, .. } => {
                if etcd.members.iter().any(|one| one.peer_url == *peer_url) {
                    return Err(refused("etcdserver: Peer URLs already exists"));
                }
                if etcd.members.iter().any(|one| one.is_learner) {
                    return Err(later("etcdserver: too many learner members in cluster"));
                }
                etcd.add("", peer_url, true);
            }
            EtcdRequest::Promote { name } => {
                let member = etcd.members.iter_mut().find(|one| one.name == *name);
                let member = member.ok_or_else(|| later("etcdserver: member not found"))?;
                if member.is_learner && !is_ready {
                    return Err(later("etcdserver: can only promote a learner member which is in sync with leader"));
                }
                member.is_learner = false;
            }
            EtcdRequest::MoveLeader { to } => {
                if !target_is_healthy || !etcd.voters().any(|one| one.name == *to) {
                    return Err(refused("etcdserver: bad leader transferee"));
                }
                etcd.leader = Some(to.clone());
            }
            EtcdRequest::Remove { name } => etcd.members.retain(|one| one.name != *name),
        }
        let after = self.votes(number);
        if !matches!(request, EtcdRequest::Members) {
            self.check_votes(number, (healthy, quorum), after, &format!("{request:?} at {host}"));
        }
        Ok(Response::EtcdMembers { members: self.members(number) })
    }

    fn members(&self, number: u64) -> Vec<EtcdMember> {
        let Some(etcd) = self.etcd.get(&number) else { return Vec::new() };
        let member = |one: &Member| EtcdMember {
            name: one.name.clone(),
            id: format!("{:x}", one.id),
            peer_url: one.peer_url.clone(),
            is_learner: one.is_learner,
            is_leader: etcd.leader.as_deref() == Some(&one.name),
            is_healthy: self.is_healthy_member(number, &one.name),
        };
        etcd.members.iter().map(member).collect()
    }
}
