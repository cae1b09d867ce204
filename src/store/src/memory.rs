//! The state in memory: persistent ordered maps that readers hold without locks, replaced as a whole by each commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use parking_lot::RwLock;

use crate::log::{Event, Log, LogLimits, Watcher};
use crate::model::{Entry, StoreError};

/// One table as of one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub revision: u64,
    pub entries: OrdMap<Arc<str>, Arc<Entry>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: OrdMap<Arc<str>, Arc<Entry>>,
    /// Revision of the newest change, deletions included.
    pub(crate) changed: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) tables: imbl::HashMap<Arc<str>, Table>,
}

#[derive(Debug)]
pub(crate) struct Memory {
    state: ArcSwap<State>,
    visible: Arc<AtomicU64>,
    /// Lists at a revision below this are refused, as a compacted store would.
    compacted: AtomicU64,
    logs: RwLock<HashMap<Arc<str>, Arc<Log>>>,
    limits: LogLimits,
}

impl Memory {
    /// What was read from disk. The logs begin empty: nothing before a table's newest change can be replayed.
    pub(crate) fn new(state: State, limits: LogLimits) -> Self {
        let logs = state
            .tables
            .iter()
            .map(|(name, table)| (Arc::clone(name), Arc::new(Log::new(table.changed, limits))))
            .collect();
        let visible = Arc::new(AtomicU64::new(state.revision));
        let compacted = AtomicU64::new(state.revision);
        Self { state: ArcSwap::from_pointee(state), visible, compacted, logs: RwLock::new(logs), limits }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn table_revision(&self, table: &str) -> u64 {
        self.state.load().tables.get(table).map_or(0, |table| table.changed)
    }

    pub(crate) fn get(&self, table: &str, key: &str) -> Option<Arc<Entry>> {
        self.state.load().tables.get(table)?.entries.get(key).cloned()
    }

    pub(crate) fn snapshot(&self, table: &str) -> Snapshot {
        let state = self.state.load();
        let entries = state.tables.get(table).map(|table| table.entries.clone()).unwrap_or_default();
        Snapshot { revision: state.revision, entries }
    }

    pub(crate) fn snapshot_at(&self, table: &str, revision: u64) -> Result<Snapshot, StoreError> {
        let current = self.revision();
        if revision > current {
            return Err(StoreError::Future { requested: revision, current });
        }
        let compacted = self.compacted.load(Ordering::Acquire);
        if revision < compacted {
            return Err(StoreError::Expired { requested: revision, oldest: compacted });
        }
        // The snapshot is taken first: events that it lacks have revisions above its own and undo nothing.
        let mut snapshot = self.snapshot(table);
        for event in self.log(table).newest_back_to(revision)? {
            if event.revision > snapshot.revision {
                continue;
            }
            match &event.previous {
                Some(previous) => snapshot.entries.insert(Arc::clone(&event.key), Arc::clone(previous)),
                None => snapshot.entries.remove(&event.key),
            };
        }
        snapshot.revision = revision;
        Ok(snapshot)
    }

    pub(crate) fn watch(&self, table: &str, revision: u64) -> Result<Watcher, StoreError> {
        let current = self.revision();
        if revision > current {
            return Err(StoreError::Future { requested: revision, current });
        }
        let log = self.log(table);
        log.check(revision)?;
        Ok(Watcher::new(log, Arc::clone(&self.visible), revision))
    }

    fn log(&self, table: &str) -> Arc<Log> {
        if let Some(log) = self.logs.read().get(table) {
            return Arc::clone(log);
        }
        let mut logs = self.logs.write();
        Arc::clone(logs.entry(table.into()).or_insert_with(|| Arc::new(Log::new(0, self.limits))))
    }

    /// Makes a committed batch visible: log first, then the state, then the watchers are woken.
    pub(crate) fn publish(&self, state: State, events: HashMap<Arc<str>, Vec<Arc<Event>>>) {
        let revision = state.revision;
        let mut logs = Vec::with_capacity(events.len());
        for (table, events) in events {
            let log = self.log(&table);
            log.append(events);
            logs.push(log);
        }
        self.state.store(Arc::new(state));
        self.visible.store(revision, Ordering::Release);
        for log in logs {
            log.announce(revision);
        }
    }

    pub(crate) fn compact(&self, revision: u64) {
        self.compacted.fetch_max(revision, Ordering::AcqRel);
        let logs: Vec<Arc<Log>> = self.logs.read().values().cloned().collect();
        logs.iter().for_each(|log| log.trim());
    }
}
