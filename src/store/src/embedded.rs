//! The embedded engine: memory in front, one sequencer thread behind, a synced log on this machine's disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::expiry::Expiry;
use crate::journal::Journal;
use crate::log::{LogLimits, Watcher};
use crate::memory::{Memory, Snapshot};
use crate::model::{Entry, Indexer, StoreError, Write};
use crate::sequencer::{Command, Sequencer};
use crate::{Store, WriteFuture};

/// Writes that may wait for the sequencer; more of them wait at the door.
const QUEUE_WRITES_MAX: usize = 1024;

#[derive(Debug, Clone)]
pub struct Options {
    pub path: PathBuf,
    /// How long past revisions can be listed and watched from.
    pub retention: Duration,
    /// How often old revisions and expired entries are looked for.
    pub tick: Duration,
    pub log_events_max: usize,
    pub log_bytes_max: usize,
    /// Most entries with an expiry; the oldest of them go first.
    pub expiring_entries_max: usize,
}

impl Options {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Duration::from_secs(300),
            tick: Duration::from_secs(10),
            log_events_max: 16_384,
            log_bytes_max: 16 << 20,
            expiring_entries_max: 10_000,
        }
    }
}

pub struct EmbeddedStore {
    memory: Arc<Memory>,
    failed: Arc<OnceLock<Arc<str>>>,
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Reads everything from disk; blocks meanwhile.
    pub fn open(options: &Options, indexer: &Indexer) -> Result<Self, StoreError> {
        let fail = |reason: String| StoreError::Open { path: options.path.display().to_string(), reason };
        let journal = Journal::open(&options.path)?;
        let state = journal.load(indexer)?;
        let expiry = Expiry::new(&state, options.expiring_entries_max);
        let limits = LogLimits {
            events_max: options.log_events_max,
            bytes_max: options.log_bytes_max,
            retention: options.retention,
        };
        let memory = Arc::new(Memory::new(state, limits));
        let failed = Arc::new(OnceLock::new());
        let sequencer = Sequencer {
            memory: Arc::clone(&memory),
            journal,
            expiry,
            retention: options.retention,
            tick: options.tick,
            marks: VecDeque::new(),
            failed: Arc::clone(&failed),
        };
        let (commands, receiver) = mpsc::channel(QUEUE_WRITES_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| fail(error.to_string()))?;
        let thread = std::thread::Builder::new()
            .name("naru-store".into())
            .spawn(move || runtime.block_on(sequencer.run(receiver)))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { memory, failed, commands: Some(commands), thread: Some(thread) })
    }
}

/// The files are closed when this returns, so that the store can be opened again.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Store for EmbeddedStore {
    fn health(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(reason) => Err(StoreError::Failed { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn revision(&self) -> u64 {
        self.memory.revision()
    }

    fn table_revision(&self, table: &str) -> u64 {
        self.memory.table_revision(table)
    }

    fn get(&self, table: &str, key: &str) -> Option<Arc<Entry>> {
        self.memory.get(table, key)
    }

    fn snapshot(&self, table: &str) -> Snapshot {
        self.memory.snapshot(table)
    }

    fn snapshot_at(&self, table: &str, revision: u64) -> Result<Snapshot, StoreError> {
        self.memory.snapshot_at(table, revision)
    }

    fn watch(&self, table: &str, revision: u64) -> Result<Watcher, StoreError> {
        self.memory.watch(table, revision)
    }

    fn write(&self, write: Write) -> WriteFuture<'_> {
        Box::pin(async move {
            let closed = || StoreError::Failed { reason: "the store is closed".into() };
            let commands = self.commands.as_ref().ok_or_else(closed)?;
            let (reply, result) = oneshot::channel();
            commands.send(Command { write, reply }).await.map_err(|_| closed())?;
            result.await.map_err(|_| closed())?
        })
    }
}
