//! Artifacts on their way: uploads that are cut and go on, and neighbours that give them away.

use std::time::Duration;

use naru_agent::{Failure, FailureKind, Response};
use tokio::time::sleep;

use super::serve::{Agent, refused};
use super::{State, World};
use crate::machine::{Machine, Partial};

/// Bytes of an upload that arrive together.
pub(crate) const CHUNK_BYTES: u64 = 4 << 20;
const CHUNK_MS: u64 = 40;
const FETCH_MS: u64 = 120;

fn transient(message: &str) -> Failure {
    Failure { kind: FailureKind::Transient, ..refused(message) }
}

impl State {
    /// An upload begins at this offset; what lies beyond it is written anew.
    pub(crate) fn begin_upload(&mut self, session: u64, sha256: &str, size: u64, offset: u64) -> Result<(), Failure> {
        self.may_change(session)?;
        self.check_change(session, "an artifact");
        let host = self.sessions[&session].host.clone();
        let machine = self.machines.get_mut(&host).ok_or_else(|| refused("no such host"))?;
        let partial = machine.partial.entry(sha256.to_owned()).or_insert(Partial { have_bytes: 0 });
        if partial.have_bytes < offset || offset > size {
            let there = partial.have_bytes;
            return Err(transient(&format!("the host has {there} bytes of the artifact, not {offset}")));
        }
        partial.have_bytes = offset;
        if machine.disk_free_bytes < size - offset {
            return Err(no_space());
        }
        Ok(())
    }

    /// A piece of an upload has arrived.
    pub(crate) fn receive(&mut self, session: u64, sha256: &str, bytes: u64) -> Result<(), Failure> {
        let host = self.sessions[&session].host.clone();
        self.changes += 1;
        let machine = self.machines.get_mut(&host).ok_or_else(|| refused("no such host"))?;
        if machine.take_space(bytes).is_err() {
            machine.partial.remove(sha256);
            return Err(no_space());
        }
        if let Some(partial) = machine.partial.get_mut(sha256) {
            partial.have_bytes += bytes;
        }
        Ok(())
    }

    /// All pieces have arrived: size and hash are looked at.
    pub(crate) fn finish_upload(&mut self, session: u64, sha256: &str, size_bytes: u64) -> Result<(), Failure> {
        let host = self.sessions[&session].host.clone();
        let is_known = self.sizes.get(sha256) == Some(&size_bytes);
        let machine = self.machines.get_mut(&host).ok_or_else(|| refused("no such host"))?;
        let have_bytes = machine.partial.get(sha256).map_or(0, |partial| partial.have_bytes);
        if have_bytes != size_bytes {
            return Err(transient(&format!("{have_bytes} of {size_bytes} bytes of the artifact arrived")));
        }
        machine.partial.remove(sha256);
        if !is_known {
            return Err(transient("the artifact arrived damaged"));
        }
        machine.keep_artifact(sha256, size_bytes);
        Ok(())
    }
}

fn no_space() -> Failure {
    Failure { kind: FailureKind::NoSpace, ..refused("No space left on device") }
}

impl Machine {
    pub(crate) fn keep_artifact(&mut self, sha256: &str, size_bytes: u64) {
        self.artifacts.insert(sha256.to_owned(), size_bytes);
        self.note(&format!("/var/lib/naru/artifacts/{sha256}"), "artifact", sha256);
    }
}

impl Agent<'_> {
    /// Gets an artifact from the first of these neighbours that has it right.
    pub(super) async fn fetch(
        &self,
        sha256: &str,
        size_bytes: u64,
        urls: &[String],
        deadline_ms: u64,
    ) -> Result<Response, Failure> {
        for url in urls {
            sleep(Duration::from_millis(self.slowed(FETCH_MS).min(deadline_ms))).await;
            let given = self.world.with(|state| state.neighbour(self.session, url, sha256));
            if given != Some(true) {
                continue;
            }
            self.changing(|state, host| {
                state.check_change(self.session, "an artifact of a neighbour");
                let machine = state.machines.get_mut(host).ok_or_else(|| refused("no such host"))?;
                machine.take_space(size_bytes)?;
                machine.partial.remove(sha256);
                machine.keep_artifact(sha256, size_bytes);
                Ok(())
            })??;
            return Ok(Response::Done);
        }
        Err(transient("no neighbour could give the artifact"))
    }
}

impl State {
    /// Whether what this URL gives is the artifact; nothing when it gives nothing.
    fn neighbour(&self, session: u64, url: &str, sha256: &str) -> Option<bool> {
        let here = &self.sessions[&session].host;
        let (authority, path) = url.strip_prefix("http://")?.split_once('/')?;
        let there = self.host_at(authority.split(':').next()?)?;
        let (giver, name) = path.split_once('/')?;
        let giver: u64 = giver.parse().ok()?;
        let has = self.sessions.get(&giver).is_some_and(|one| one.host == there && one.serving.contains(sha256));
        let there_machine = self.machines.get(&there)?;
        let gives = has && self.is_alive(giver) && name == sha256 && there_machine.artifacts.contains_key(sha256);
        (gives && self.reaches(here, &there)).then(|| !self.liars.contains(&there))
    }
}

/// How long a piece is on its way.
pub(crate) async fn chunk_time(world: &World, host: &str) {
    let factor = world.with(|state| state.slow_disks.get(host).copied().unwrap_or(1));
    sleep(Duration::from_millis(CHUNK_MS.saturating_mul(factor))).await;
}
