//! The durable side of the embedded engine: a copy-on-write B-tree file, one synced transaction per group of writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::memory::State;
use crate::model::{Entry, Indexer, StoreError};

/// Reads come from memory, so the library's cache only has to hold the upper pages of the tree.
const CACHE_BYTES: usize = 1 << 20;
const FILE_NAME: &str = "objects.redb";
/// Table and key, to header and bytes.
const OBJECTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("objects");
/// Table, to the revision of its newest change.
const TABLES: TableDefinition<'_, &str, u64> = TableDefinition::new("tables");
/// Numbers about the whole store.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";
/// Revision (8 bytes), offset of its digits (4), expiry (8), all big-endian.
const HEADER_BYTES: usize = 20;

pub(crate) struct Journal {
    path: PathBuf,
    database: Database,
}

/// One row of a batch: an entry to write, or none to remove the key.
pub(crate) struct Row {
    pub(crate) table: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) entry: Option<Arc<Entry>>,
}

impl Journal {
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let fail = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        fs_err::create_dir_all(directory).map_err(|error| fail(error.to_string()))?;
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| fail(error.to_string()))?;
        // The file's name must survive a power cut too, not only its content.
        let synced = fs_err::File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| fail(error.to_string()))?;
        Ok(Self { path, database })
    }

    /// The state as of the last synced transaction.
    pub(crate) fn load(&self, indexer: &Indexer) -> Result<State, StoreError> {
        self.create_tables().map_err(|error| self.unreadable(&error))?;
        let mut state = State::default();
        let mut damaged = None;
        self.read(&mut state, indexer, &mut damaged).map_err(|error| self.unreadable(&error))?;
        match damaged {
            Some(key) => Err(StoreError::Damaged { path: self.path.display().to_string(), key }),
            None => Ok(state),
        }
    }

    fn create_tables(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(OBJECTS)?;
        transaction.open_table(TABLES)?;
        transaction.open_table(NUMBERS)?;
        Ok(transaction.commit()?)
    }

    fn read(&self, state: &mut State, indexer: &Indexer, damaged: &mut Option<String>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_read()?;
        state.revision = transaction.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |value| value.value());
        for row in transaction.open_table(TABLES)?.iter()? {
            let (table, changed) = row?;
            state.tables.entry(table.value().into()).or_default().changed = changed.value();
        }
        for row in transaction.open_table(OBJECTS)?.iter()? {
            let (key, value) = row?;
            let (table, key) = key.value();
            match decode(table, value.value(), indexer) {
                Some(entry) => {
                    let content = state.tables.entry(table.into()).or_default();
                    content.entries.insert(key.into(), Arc::new(entry));
                }
                None => *damaged = Some(format!("{table}/{key}")),
            }
        }
        Ok(())
    }

    /// Returns once the rows, the revision and the tables' newest revisions are on the disk, all or none of them.
    pub(crate) fn commit(
        &self,
        rows: &[Row],
        revision: u64,
        tables: &HashMap<Arc<str>, u64>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            for row in rows {
                match &row.entry {
                    Some(entry) => objects.insert((&*row.table, &*row.key), encode(entry).as_slice())?,
                    None => objects.remove((&*row.table, &*row.key))?,
                };
            }
            let mut changes = transaction.open_table(TABLES)?;
            for (table, changed) in tables {
                changes.insert(&**table, changed)?;
            }
            transaction.open_table(NUMBERS)?.insert(REVISION, revision)?;
        }
        Ok(transaction.commit()?)
    }

    fn unreadable(&self, error: &redb::Error) -> StoreError {
        StoreError::Open { path: self.path.display().to_string(), reason: error.to_string() }
    }
}

fn decode(table: &str, row: &[u8], indexer: &Indexer) -> Option<Entry> {
    let (header, value) = row.split_at_checked(HEADER_BYTES)?;
    let part = |from: usize, to: usize| header[from..to].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some(Entry {
        revision: part(0, 8),
        value: Bytes::copy_from_slice(value),
        index: Arc::new(indexer(table, value)),
        expires_at_unix_s: part(12, 20),
        revision_at: u32::try_from(part(8, 12)).ok()?,
    })
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEADER_BYTES + entry.value.len());
    row.extend_from_slice(&entry.revision.to_be_bytes());
    row.extend_from_slice(&entry.revision_at.to_be_bytes());
    row.extend_from_slice(&entry.expires_at_unix_s.to_be_bytes());
    row.extend_from_slice(&entry.value);
    row
}
