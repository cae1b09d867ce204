//! The bounded log of a table's changes, and cursors over it. There is one log per table and no queue per watcher:
//! a watcher that falls behind what is kept gets `Expired`, never a gap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::model::{Entry, StoreError};

/// Most events handed out by one call, so that a watcher far behind yields between portions.
const WATCH_BATCH_EVENTS_MAX: usize = 128;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    pub revision: u64,
    pub key: Arc<str>,
    /// The state after the change; for a deletion the last state with the revision of the deletion.
    pub entry: Arc<Entry>,
    /// The state before, absent for a creation.
    pub previous: Option<Arc<Entry>>,
    pub deleted: bool,
    pub(crate) at: Instant,
}

impl Event {
    /// The state before the change, as of the change: what those see for whom the object is now gone.
    pub fn last_state(&self) -> Arc<Entry> {
        match &self.previous {
            Some(previous) if !self.deleted => Arc::new(previous.at_revision(self.revision)),
            _ => Arc::clone(&self.entry),
        }
    }

    fn bytes(&self) -> usize {
        self.entry.value.len()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLimits {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) retention: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Changes up to and including this revision are gone.
    truncated: u64,
}

#[derive(Debug)]
pub(crate) struct Log {
    kept: RwLock<Kept>,
    changed: watch::Sender<u64>,
    limits: LogLimits,
}

impl Log {
    pub(crate) fn new(truncated: u64, limits: LogLimits) -> Self {
        let kept = Kept { truncated, ..Kept::default() };
        Self { kept: RwLock::new(kept), changed: watch::Sender::new(truncated), limits }
    }

    pub(crate) fn append(&self, events: Vec<Arc<Event>>) {
        let mut kept = self.kept.write();
        for event in events {
            kept.bytes += event.bytes();
            kept.events.push_back(event);
        }
        self.trim_locked(&mut kept);
    }

    pub(crate) fn trim(&self) {
        self.trim_locked(&mut self.kept.write());
    }

    fn trim_locked(&self, kept: &mut Kept) {
        while let Some(oldest) = kept.events.front() {
            let within = kept.events.len() <= self.limits.events_max
                && kept.bytes <= self.limits.bytes_max
                && oldest.at.elapsed() <= self.limits.retention;
            if within {
                break;
            }
            kept.truncated = oldest.revision;
            kept.bytes -= oldest.bytes();
            kept.events.pop_front();
        }
        if kept.events.capacity() > 1024 && kept.events.len() * 4 < kept.events.capacity() {
            kept.events.shrink_to_fit();
        }
    }

    /// Wakes the watchers; to be called once readers can see the change.
    pub(crate) fn announce(&self, revision: u64) {
        self.changed.send_replace(revision);
    }

    /// Events after `revision`, newest first, or how far back the log reaches.
    pub(crate) fn newest_back_to(&self, revision: u64) -> Result<Vec<Arc<Event>>, StoreError> {
        let kept = self.kept.read();
        kept.check(revision)?;
        Ok(kept.events.iter().rev().take_while(|event| event.revision > revision).cloned().collect())
    }

    pub(crate) fn check(&self, revision: u64) -> Result<(), StoreError> {
        self.kept.read().check(revision)
    }
}

impl Kept {
    fn check(&self, revision: u64) -> Result<(), StoreError> {
        match revision < self.truncated {
            true => Err(StoreError::Expired { requested: revision, oldest: self.truncated }),
            false => Ok(()),
        }
    }

    fn after(&self, revision: u64) -> Result<Vec<Arc<Event>>, StoreError> {
        self.check(revision)?;
        let start = self.events.partition_point(|event| event.revision <= revision);
        Ok(self.events.range(start..).take(WATCH_BATCH_EVENTS_MAX).cloned().collect())
    }
}

/// A cursor over a table's changes.
#[derive(Debug)]
pub struct Watcher {
    log: Arc<Log>,
    changed: watch::Receiver<u64>,
    visible: Arc<AtomicU64>,
    revision: u64,
}

impl Watcher {
    pub(crate) fn new(log: Arc<Log>, visible: Arc<AtomicU64>, revision: u64) -> Self {
        let changed = log.changed.subscribe();
        Self { log, changed, visible, revision }
    }

    /// Every change of the table up to this revision has been returned.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What there is, without waiting. Afterwards `revision` is where the whole store was, if nothing was left over.
    pub fn take(&mut self) -> Result<Vec<Arc<Event>>, StoreError> {
        // Events enter the log before their revision becomes visible: what is visible now is in the log already.
        let visible = self.visible.load(Ordering::Acquire);
        let events = self.log.kept.read().after(self.revision)?;
        match events.last() {
            Some(last) => self.revision = last.revision,
            None => self.revision = self.revision.max(visible),
        }
        Ok(events)
    }

    /// Waits for changes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, StoreError> {
        loop {
            self.changed.borrow_and_update();
            let events = self.take()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.changed.changed().await.is_err() {
                return Err(StoreError::Failed { reason: "the store is closed".into() });
            }
        }
    }
}
