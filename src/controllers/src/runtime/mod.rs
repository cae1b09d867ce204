//! What every controller stands on: shared informers, keyed work queues, events, expectations, small helpers.

mod claim;
mod error;
mod events;
mod expectations;
mod informer;
pub mod meta;
mod queue;
pub mod selector;

pub use claim::claim;
pub use error::{Error, Result, error_chain};
pub use events::{EventKind, Recorder, Subject};
pub use expectations::Expectations;
pub use informer::{Informer, ObjectKey};
pub use queue::{Queue, run_workers};

use std::sync::Arc;

use tokio::sync::watch;

/// A level that goes from false to true once: stop.
pub type Shutdown = watch::Receiver<bool>;

/// Resolves when shutdown was asked for, or when nobody is left who could ask.
pub async fn stopped(shutdown: &mut Shutdown) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Tasks that live until shutdown.
pub type Tasks = tokio::task::JoinSet<()>;

/// Waits until all the given informers hold their first complete list.
pub async fn synced(waits: &[Arc<dyn HasSynced>]) {
    for wait in waits {
        wait.wait().await;
    }
}

/// Something that is complete after a while.
pub trait HasSynced: Send + Sync {
    fn wait(&self) -> futures::future::BoxFuture<'_, ()>;
}
