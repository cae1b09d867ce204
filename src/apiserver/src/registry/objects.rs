//! Objects in and out of the store: encoding, decoding, and reads for members of the handler chain.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use naru_api::Resource;
use naru_store::{Draft, Entry, Store};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::chain::ObjectReader;
use crate::registry::catalog::{self, Catalog};
use crate::settings::Settings;

/// Decoded objects kept for the chain (namespaces, service accounts…); the cache is emptied when it is full.
const DECODED_MAX: usize = 512;
const REVISION_FIELD: &str = "\"resourceVersion\":\"";

/// Stands in for the revision until the store knows it. Random, so that no client can put it into an object.
static PLACEHOLDER: LazyLock<String> = LazyLock::new(|| format!("{}-revision", uuid::Uuid::new_v4()));

type Decoded = HashMap<(Arc<str>, Arc<str>), (u64, Arc<Value>)>;

/// The store as objects.
pub struct Objects {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<Catalog>,
    decoded: Mutex<Decoded>,
    /// True once the server is about to stop.
    ending: watch::Sender<bool>,
    pub(crate) settings: Settings,
}

impl Objects {
    pub fn new(store: Arc<dyn Store>, catalog: Arc<Catalog>) -> Arc<Self> {
        Self::with_settings(store, catalog, Settings::default())
    }

    pub fn with_settings(store: Arc<dyn Store>, catalog: Arc<Catalog>, settings: Settings) -> Arc<Self> {
        Arc::new(Self { store, catalog, decoded: Mutex::default(), ending: watch::channel(false).0, settings })
    }

    /// Ends all watches, as their time running out would: clients go on from where they were, elsewhere or later.
    pub(crate) fn end_watches(&self) {
        self.ending.send_replace(true);
    }

    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Objects whose entries pass, decided before anything is decoded.
    fn select(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        passes: impl Fn(&Entry) -> bool,
    ) -> Vec<Arc<Value>> {
        let Some(row) = self.catalog.stored(group, plural) else { return Vec::new() };
        let entries = self.store.snapshot(&self.catalog.table(row)).entries;
        entries
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| catalog::split_key(key).0 == namespace))
            .filter(|(_, entry)| passes(entry))
            .map(|(_, entry)| Arc::new(self.decode(row, entry)))
            .collect()
    }

    pub(crate) fn entry(&self, row: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.store.get(&self.catalog.table(row), &catalog::key(row, namespace, name))
    }

    /// The object in the form of this row.
    pub(crate) fn decode(&self, row: &Resource, entry: &Entry) -> Value {
        let mut object: Value = serde_json::from_slice(&entry.value).expect("the store holds what we have encoded");
        if let Some(stored_as) = &row.stored_as {
            (stored_as.from_stored)(&mut object);
        }
        object
    }

    /// An object in the form of this row, made ready for the store.
    pub(crate) fn draft(&self, row: &Resource, mut object: Value) -> Draft {
        let mut stored_row = row;
        if let Some(stored_as) = &row.stored_as {
            (stored_as.to_stored)(&mut object);
            stored_row = self.catalog.owner_of_view(row).unwrap_or(row);
        }
        object["metadata"]["resourceVersion"] = Value::String(PLACEHOLDER.clone());
        let index = catalog::index(stored_row, &object);
        let mut bytes = serde_json::to_vec(&object).expect("a JSON value has only string keys");
        let field = format!("{REVISION_FIELD}{}\"", *PLACEHOLDER);
        let start = find(&bytes, field.as_bytes()).expect("the placeholder was put in just above");
        let revision_at = start + REVISION_FIELD.len();
        bytes.drain(revision_at..revision_at + PLACEHOLDER.len());
        let is_event = stored_row.group.is_empty() && stored_row.kind == "Event";
        let expires_at_unix_s =
            if is_event { now_unix_s().unsigned_abs() + self.settings.event_ttl.as_secs() } else { 0 };
        Draft { bytes, revision_at, index, expires_at_unix_s }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

pub(crate) fn now_unix_s() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

impl ObjectReader for Objects {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let row = self.catalog.stored(group, plural)?;
        let entry = self.entry(row, namespace, name)?;
        let id = (self.catalog.table(row), catalog::key(row, namespace, name));
        if let Some((revision, object)) = self.decoded.lock().get(&id)
            && *revision == entry.revision
        {
            return Some(Arc::clone(object));
        }
        let object = Arc::new(self.decode(row, &entry));
        let mut decoded = self.decoded.lock();
        if decoded.len() >= DECODED_MAX {
            decoded.clear();
        }
        decoded.insert(id, (entry.revision, Arc::clone(&object)));
        Some(object)
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.select(group, plural, namespace, |_| true)
    }

    fn list_by_field(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        field: &str,
        value: &str,
    ) -> Vec<Arc<Value>> {
        self.select(group, plural, namespace, |entry| {
            entry.index.fields.iter().any(|(name, found)| **name == *field && **found == *value)
        })
    }

    fn revision_of(&self, group: &str, plural: &str) -> u64 {
        self.catalog.stored(group, plural).map_or(0, |row| self.store.table_revision(&self.catalog.table(row)))
    }
}
