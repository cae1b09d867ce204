//! The object store: revisions, compare-and-swap, lists at a revision, watches without gaps or repeats.
//!
//! The whole state lives in memory as encoded bytes ([`Entry`]) in persistent ordered maps, one per table (a table is
//! one kind: `pods`, `apps/deployments`). An engine decides the order of writes, makes them durable and publishes them:
//! [`EmbeddedStore`] does so with one sequencer thread over a log on this machine's disk.

mod embedded;
mod expiry;
mod journal;
mod log;
mod memory;
mod model;
mod sequencer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use embedded::{EmbeddedStore, Options};
pub use log::{Event, Watcher};
pub use memory::Snapshot;
pub use model::{Change, Condition, Draft, Entry, Index, Indexer, StoreError, Write};

/// A write under way. Resolves once the write is durable and visible, or has failed.
pub type WriteFuture<'a> = Pin<Box<dyn Future<Output = Result<Arc<Entry>, StoreError>> + Send + 'a>>;

/// What the API server needs of a store. Reads never block and never fail for reasons of their own.
pub trait Store: Send + Sync {
    /// Whether writes are taken; once the log could not be written none are, until the store is opened anew.
    fn health(&self) -> Result<(), StoreError>;

    /// The newest revision that readers can see.
    fn revision(&self) -> u64;

    /// The revision of the newest change in one table, deletions included.
    fn table_revision(&self, table: &str) -> u64;

    fn get(&self, table: &str, key: &str) -> Option<Arc<Entry>>;

    /// The table as it is now.
    fn snapshot(&self, table: &str) -> Snapshot;

    /// The table as it was at a revision: `Expired` when that is no longer kept, `Future` when it is not reached.
    fn snapshot_at(&self, table: &str, revision: u64) -> Result<Snapshot, StoreError>;

    /// Every change of the table after `revision`, in order.
    fn watch(&self, table: &str, revision: u64) -> Result<Watcher, StoreError>;

    /// Resolves to the entry written, or for a deletion to the last state, carrying the revision of the deletion.
    fn write(&self, write: Write) -> WriteFuture<'_>;
}
