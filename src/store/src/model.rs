//! The words of the store: entries, writes, conditions, errors.

use std::sync::Arc;

use bytes::Bytes;

/// Longest decimal form of a revision.
const REVISION_DIGITS_MAX: usize = 20;

/// One object at one revision: its encoded bytes, ready to be sent, and what selectors need without decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub revision: u64,
    pub value: Bytes,
    pub index: Arc<Index>,
    /// Seconds since 1970 after which the entry is removed; 0 is never.
    pub expires_at_unix_s: u64,
    /// Where in `value` the decimal digits of the revision begin.
    pub(crate) revision_at: u32,
}

impl Entry {
    /// The same object as of a later revision: what watchers of a deletion see.
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        let start = self.revision_at as usize;
        let end = start + self.revision.to_string().len();
        let mut bytes = Vec::with_capacity(self.value.len() + REVISION_DIGITS_MAX);
        bytes.extend_from_slice(&self.value[..start]);
        bytes.extend_from_slice(revision.to_string().as_bytes());
        bytes.extend_from_slice(&self.value[end..]);
        Self { revision, value: bytes.into(), ..self.clone() }
    }
}

/// What is looked up often, taken from the object when it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    pub uid: Box<str>,
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// UIDs of `metadata.ownerReferences`.
    pub owners: Box<[Box<str>]>,
    /// Selectable fields by label, beside name and namespace.
    pub fields: Box<[(Box<str>, Box<str>)]>,
}

/// Derives the index from a table's name and an object's bytes; used for what is read from disk at start.
pub type Indexer = Arc<dyn Fn(&str, &[u8]) -> Index + Send + Sync>;

/// An encoded object that lacks only the digits of its revision, which the sequencer alone knows.
#[derive(Debug, Clone)]
pub struct Draft {
    pub bytes: Vec<u8>,
    /// Offset at which the digits are to be inserted.
    pub revision_at: usize,
    pub index: Index,
    pub expires_at_unix_s: u64,
}

impl Draft {
    pub(crate) fn finish(self, revision: u64) -> Entry {
        let digits = revision.to_string();
        let mut bytes = Vec::with_capacity(self.bytes.len() + digits.len());
        bytes.extend_from_slice(&self.bytes[..self.revision_at]);
        bytes.extend_from_slice(digits.as_bytes());
        bytes.extend_from_slice(&self.bytes[self.revision_at..]);
        Entry {
            revision,
            value: bytes.into(),
            index: Arc::new(self.index),
            expires_at_unix_s: self.expires_at_unix_s,
            revision_at: u32::try_from(self.revision_at).expect("objects are limited to a few MiB"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Write {
    pub table: Arc<str>,
    /// `namespace/name`, or `name` alone in tables of cluster-scoped kinds.
    pub key: Arc<str>,
    pub condition: Condition,
    pub change: Change,
}

/// What must be true of the present entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Absent,
    Revision(u64),
}

#[derive(Debug, Clone)]
pub enum Change {
    Put(Draft),
    /// With a last state for watchers to see, if it is not the present one.
    Delete(Option<Draft>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the key does not exist")]
    NotFound,
    #[error("the key exists already")]
    AlreadyExists,
    #[error("the entry is at revision {current}")]
    Conflict { current: u64 },
    #[error("revision {requested} is older than {oldest}, the oldest that is kept")]
    Expired { requested: u64, oldest: u64 },
    #[error("revision {requested} is newer than {current}, the newest there is")]
    Future { requested: u64, current: u64 },
    /// The log could not be written; what reached the disk is unknown, so nothing more is accepted until a restart.
    #[error("the store accepts no writes: {reason}")]
    Failed { reason: Arc<str> },
    #[error("the store at {path} cannot be opened: {reason}")]
    Open { path: String, reason: String },
    #[error("the store at {path} holds a damaged record under key {key}")]
    Damaged { path: String, key: String },
}
