//! Sessions: an agent's process at the end of one connection. What it holds (lock, listeners, served artifacts) goes
//! with it, when it notices that its connection is gone.

use std::collections::BTreeSet;

use naru_agent::{Failure, FailureKind};

use super::State;

/// As long as an agent keeps the lock of an operator that says nothing.
const LOCK_SILENCE_MS: u64 = 45_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) operator: usize,
    pub(crate) host: String,
    /// Of the host when the session began; another one means that the process is gone.
    pub(crate) boot: u64,
    /// The owner, while it holds the host's lock.
    pub(crate) lock: Option<String>,
    /// What `Fence` said last on this connection.
    pub(crate) fence: Option<u64>,
    /// A request is at work.
    pub(crate) is_busy: bool,
    pub(crate) has_crashed: bool,
    /// When it last heard of its operator.
    pub(crate) heard_ms: u64,
    /// When it notices that its connection is gone.
    pub(crate) ends_at: Option<u64>,
    pub(crate) listening: BTreeSet<u16>,
    /// Artifacts that it gives away, and the path and port they are at.
    pub(crate) serving: BTreeSet<String>,
}

impl State {
    pub(crate) fn open_session(&mut self, operator: usize, host: &str) -> u64 {
        self.next_session += 1;
        let boot = self.machines[host].boot;
        let heard_ms = self.now_ms;
        let session = Session { operator, host: host.to_owned(), boot, heard_ms, ..Session::default() };
        self.sessions.insert(self.next_session, session);
        self.next_session
    }

    /// The process lives: its host has not been off since, and it has not ended.
    pub(crate) fn is_alive(&self, id: u64) -> bool {
        self.sessions.get(&id).is_some_and(|session| {
            let machine = &self.machines[&session.host];
            let has_ended = session.ends_at.is_some_and(|at| at <= self.now_ms) && !session.is_busy;
            machine.is_on && machine.boot == session.boot && !session.has_crashed && !has_ended
        })
    }

    /// Whether the process knows that nobody listens any more: what is under way is finished, nothing more begun.
    pub(crate) fn is_told_to_stop(&self, id: u64) -> bool {
        self.sessions.get(&id).is_none_or(|session| session.ends_at.is_some_and(|at| at <= self.now_ms))
    }

    /// The operator's end of a connection is closed.
    pub(crate) fn close_session(&mut self, id: u64, noticed_after_ms: u64) {
        let now_ms = self.now_ms;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ends_at.get_or_insert(now_ms + noticed_after_ms);
        }
        if !self.is_alive(id) {
            self.sessions.remove(&id);
        }
    }

    /// Whoever holds a lock and has heard nothing for long counts its operator as gone.
    fn let_go(&mut self) {
        let now_ms = self.now_ms;
        for session in self.sessions.values_mut().filter(|session| session.lock.is_some()) {
            let is_isolated = self.isolated_until.get(&session.host).is_some_and(|until| now_ms < *until);
            let is_heard = !self.operators[session.operator].is_silent() && !is_isolated;
            if session.is_busy || is_heard {
                session.heard_ms = now_ms;
            } else if now_ms >= session.heard_ms + LOCK_SILENCE_MS {
                session.ends_at.get_or_insert(now_ms);
            }
        }
    }

    /// Forgets processes that have ended.
    pub(crate) fn sweep_sessions(&mut self) {
        self.let_go();
        let dead: Vec<u64> = self.sessions.keys().copied().filter(|id| !self.is_alive(*id)).collect();
        for id in dead {
            let is_closed = self.sessions[&id].ends_at.is_some();
            if is_closed {
                self.sessions.remove(&id);
            }
        }
    }

    /// All agents of an operator on a host die.
    pub(crate) fn crash_agents(&mut self, operator: usize, host: &str) {
        let theirs = self.sessions.values_mut().filter(|one| one.operator == operator && one.host == host);
        theirs.for_each(|session| session.has_crashed = true);
    }

    /// The operator does nothing any more; its connections close, which hosts notice after this time, each at its own.
    pub(crate) fn stop_operator(&mut self, operator: usize, noticed_after_ms: u64) {
        self.operators[operator].is_stopped = true;
        let theirs: Vec<u64> =
            self.sessions.iter().filter(|(_, one)| one.operator == operator).map(|(id, _)| *id).collect();
        let count = theirs.len() as u64;
        for (number, id) in (1..).zip(theirs) {
            // The oldest are those of the lock; while a host goes on with what it was told, another run may begin.
            self.close_session(id, noticed_after_ms * number / count);
        }
    }

    pub(crate) fn lock_host(&mut self, id: u64, owner: &str) -> Result<u64, Failure> {
        let host = self.sessions[&id].host.clone();
        if let Some(owner) = self.holder(id) {
            return Err(locked(&owner));
        }
        let now_ms = self.now_ms;
        if let Some(session) = self.sessions.get_mut(&id) {
            (session.lock, session.heard_ms) = (Some(owner.to_owned()), now_ms);
        }
        Ok(self.machines[&host].fence)
    }

    pub(crate) fn raise_fence(&mut self, id: u64, fence: u64) -> Result<(), Failure> {
        let host = self.sessions[&id].host.clone();
        let Some(machine) = self.machines.get_mut(&host) else { return Ok(()) };
        // Said even when it is refused: everything after it belongs to it.
        if let Some(session) = self.sessions.get_mut(&id) {
            session.fence = Some(fence);
        }
        let highest = self.said_fences.entry(host).or_default();
        *highest = fence.max(*highest);
        if fence < machine.fence {
            return Err(fenced(machine.fence));
        }
        machine.fence = fence;
        Ok(())
    }

    /// Whether this session may change its host.
    pub(crate) fn may_change(&self, id: u64) -> Result<(), Failure> {
        let session = &self.sessions[&id];
        let highest = self.machines[&session.host].fence;
        match session.fence {
            Some(fence) if fence < highest => Err(fenced(highest)),
            Some(_) => Ok(()),
            None if session.lock.is_some() => Ok(()),
            None => self.holder(id).map_or(Ok(()), |owner| Err(locked(&owner))),
        }
    }

    /// Whoever else holds the lock of this session's host.
    fn holder(&self, id: u64) -> Option<String> {
        let host = &self.sessions[&id].host;
        let holder = self.sessions.iter().find(|(other, session)| {
            **other != id && session.host == *host && session.lock.is_some() && self.is_alive(**other)
        });
        holder.and_then(|(_, session)| session.lock.clone())
    }
}

fn locked(owner: &str) -> Failure {
    Failure {
        kind: FailureKind::Locked,
        message: format!("this host is being changed by {owner}"),
        detail: None,
        hint: Some("wait until that run has ended; the lock goes with its connection".to_owned()),
    }
}

fn fenced(highest: u64) -> Failure {
    Failure {
        kind: FailureKind::Fenced,
        message: "another naru has taken over this cluster since".to_owned(),
        detail: Some(format!("this host has seen fence {highest}")),
        hint: None,
    }
}
