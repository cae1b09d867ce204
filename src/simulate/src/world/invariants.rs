//! What must never happen, looked at with every change.

use super::{State, settle};
use crate::machine::Micro;
use crate::world::etcd::ETCD_UNIT;

impl State {
    /// Somebody is about to change a host over this session.
    pub(crate) fn check_change(&mut self, session: u64, what: &str) {
        let session = self.sessions[&session].clone();
        let host = &session.host;
        self.check_hooks(session.operator, host, what);
        let operator = self.operators[session.operator].clone();
        if !operator.hosts.contains(host) {
            self.violation(format!("{} changed {host} ({what}), which is not part of its plan", operator.name));
        }
        self.check_holder_of(&session, what);
    }

    /// Somebody is about to change the cluster over this session.
    pub(crate) fn check_holder(&mut self, session: u64, what: &str) {
        let session = self.sessions[&session].clone();
        self.check_holder_of(&session, what);
    }

    fn check_holder_of(&mut self, session: &super::Session, what: &str) {
        let operator = self.operators[session.operator].clone();
        let newest = self.operators.iter().map(|one| one.fence).max().unwrap_or_default();
        if self.is_strict && operator.fence < newest {
            let name = &operator.name;
            self.violation(format!("{name} changed {what} while another operator holds fence {newest}"));
        }
        let (name, host) = (&operator.name, &session.host);
        let Some(fence) = session.fence else {
            self.violation(format!("{name} changed {host} ({what}) over a connection that never said its fence"));
            return;
        };
        // What was said there is remembered apart from what the host itself remembers.
        let highest = self.said_fences.get(host).copied().unwrap_or_default();
        if fence < highest {
            self.violation(format!("{name} changed {host} ({what}) with fence {fence}, but {highest} was said there"));
        }
        let users = self.fence_users.entry(fence).or_default();
        let is_another = users.last() != Some(&session.operator);
        let is_back = is_another && users.contains(&session.operator);
        if is_another {
            users.push(session.operator);
        }
        if is_back {
            self.violation(format!("{name} changed {host} ({what}) after somebody else did under its fence {fence}"));
        }
    }

    /// What a small change of a host disturbs must have been announced, and must leave etcd its majority.
    pub(crate) fn check_micro(&mut self, session: u64, micro: &Micro) {
        let session = self.sessions[&session].clone();
        let (unit, verb) = match micro {
            Micro::Restart { name, .. } => (name, "restarted"),
            Micro::Stop(name) => (name, "stopped"),
            Micro::Start { name, .. } => (name, "started"),
            _ => return,
        };
        let was_running = self.machines[&session.host].runs(unit);
        let key = (session.host.clone(), unit.clone());
        let operator = &mut self.operators[session.operator];
        let is_announced = operator.announced.contains(&key);
        let name = operator.name.clone();
        if was_running || verb == "started" {
            operator.disturbed.insert(key);
        }
        if was_running {
            self.disturb(session.operator, &session.host);
        }
        // What a power cut stopped is started again without anybody having planned it.
        let is_started = verb == "started" && self.power_cuts == 0;
        if !is_announced && (was_running || is_started) {
            self.violation(format!("{name} {verb} {unit} on {}, which its plan did not announce", session.host));
        }
        let is_vote = unit == ETCD_UNIT && was_running;
        if let Some(number) =
            self.machines[&session.host].text("/var/lib/naru/etcd/member").parse().ok().filter(|_| is_vote)
        {
            let before = self.votes(number);
            let votes = self.etcd.get(&number).is_some_and(|etcd| etcd.voters().any(|one| one.name == session.host));
            let after = if votes { (before.0.saturating_sub(1), before.1) } else { before };
            self.check_votes(number, before, after, &format!("{name} {verb} etcd on {}", session.host));
        }
    }

    pub(crate) fn check_votes(&mut self, number: u64, before: (usize, usize), after: (usize, usize), what: &str) {
        // A cluster of one voter has no majority to spare; every restart of it is an outage that the plan tells of.
        let single = self.etcd.get(&number).is_some_and(|etcd| etcd.voters().count() <= 1);
        if before.0 >= before.1 && after.0 < after.1 && !single {
            self.violation(format!("{what}: {} healthy voters of {} that are needed", after.0, after.1));
        }
    }

    /// Whether the control plane that runs here is the only one that serves its cluster.
    #[must_use]
    pub fn serves_alone(&self, host: &str) -> bool {
        let Some(number) = self.api_at(host) else { return false };
        self.machines.keys().filter(|other| self.api_at(other) == Some(number)).count() == 1
    }

    /// Whether the unit is the control plane's.
    #[must_use]
    pub fn is_control_plane_unit(name: &str) -> bool {
        name == settle::CONTROL_PLANE_UNIT
    }
}
