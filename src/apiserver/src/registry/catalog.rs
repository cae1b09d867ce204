//! Finding rows of the resource table, and what the rest of the registry derives from a row.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::{Resource, Scope};
use naru_store::{Index, Indexer};
use serde_json::Value;

/// The rows by their coordinates.
#[derive(Debug)]
pub struct Catalog {
    rows: &'static [Resource],
    by_path: HashMap<(&'static str, &'static str, &'static str), &'static Resource>,
    /// The row that is stored, by group and plural.
    stored: HashMap<(&'static str, &'static str), &'static Resource>,
}

impl Catalog {
    pub fn new(rows: &'static [Resource]) -> Arc<Self> {
        let by_path = rows.iter().map(|row| ((row.group, row.version, row.plural), row)).collect();
        let own = rows.iter().filter(|row| row.stored_as.is_none() && row.is_stored());
        let stored = own.map(|row| ((row.group, row.plural), row)).collect();
        Arc::new(Self { rows, by_path, stored })
    }

    pub fn rows(&self) -> &'static [Resource] {
        self.rows
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        // The keys are 'static, the question is not: a map lookup needs the same lifetime, which covariance gives.
        let by_path: &HashMap<(&str, &str, &str), &'static Resource> = &self.by_path;
        by_path.get(&(group, version, plural)).copied()
    }

    /// The row under which the objects of this kind are kept.
    pub(crate) fn stored(&self, group: &str, plural: &str) -> Option<&'static Resource> {
        let stored: &HashMap<(&str, &str), &'static Resource> = &self.stored;
        stored.get(&(group, plural)).copied()
    }

    /// The store's table for a row: that of the row whose view it is, if it is one.
    pub(crate) fn table(&self, row: &Resource) -> Arc<str> {
        match &row.stored_as {
            None => row.group_resource().into(),
            Some(_) => self.owner_of_view(row).map_or_else(|| row.group_resource(), Resource::group_resource).into(),
        }
    }

    /// The row behind a view.
    pub(crate) fn owner_of_view(&self, row: &Resource) -> Option<&'static Resource> {
        let stored_as = row.stored_as.as_ref()?;
        self.rows.iter().find(|other| {
            other.group == stored_as.group && other.version == stored_as.version && other.plural == row.plural
        })
    }

    /// For objects read from disk.
    pub fn indexer(self: &Arc<Self>) -> Indexer {
        let tables: HashMap<String, &'static Resource> =
            self.stored.values().map(|row| (row.group_resource(), *row)).collect();
        Arc::new(move |table, bytes| match (tables.get(table), serde_json::from_slice::<Value>(bytes)) {
            (Some(row), Ok(object)) => index(row, &object),
            _ => Index::default(),
        })
    }
}

/// The key of an object within its table.
pub(crate) fn key(row: &Resource, namespace: &str, name: &str) -> Arc<str> {
    match row.scope {
        Scope::Cluster => name.into(),
        Scope::Namespaced => format!("{namespace}/{name}").into(),
    }
}

/// Namespace and name of a key.
pub(crate) fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

pub(crate) fn index(row: &Resource, object: &Value) -> Index {
    let metadata = &object["metadata"];
    let labels = metadata["labels"].as_object().into_iter().flatten();
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let fields = row.fields.iter().map(|(field, _)| {
        let value = naru_api::selector::field_value(row, object, field).unwrap_or_default();
        (Box::from(*field), value.into_boxed_str())
    });
    Index {
        uid: metadata["uid"].as_str().unwrap_or_default().into(),
        labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into())).collect(),
        owners: owners.filter_map(|owner| owner["uid"].as_str()).map(Box::from).collect(),
        fields: fields.collect(),
    }
}
