//! Which entries a list or a watch is about: namespace, labels, fields, decided on the index without decoding.

use naru_api::Resource;
use naru_api::selector::{FieldSelector, LabelSelector};
use naru_store::Entry;

use crate::registry::catalog;
use crate::registry::objects::Objects;
use crate::status::ApiError;
use crate::web::query::Query;

#[derive(Debug, Clone)]
pub(crate) struct Selection {
    row: &'static Resource,
    /// Empty for all namespaces.
    pub(crate) namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn parse(row: &'static Resource, namespace: &str, name: &str, query: &Query) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(query.get("labelSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mut text = query.get("fieldSelector").to_owned();
        if !name.is_empty() {
            // The name that the request was authorized for, by its path or by a selector: whatever else the selector
            // says, nothing but this object may come out.
            let separator = if text.is_empty() { "" } else { "," };
            text = format!("metadata.name={name}{separator}{text}");
        }
        let fields = FieldSelector::parse(row, &text).map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(Self { row, namespace: namespace.to_owned(), labels, fields })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The keys that can match, as a range of the ordered table.
    pub(crate) fn range(&self) -> (String, Option<String>) {
        match self.namespace.as_str() {
            "" => (String::new(), None),
            // '0' follows '/' in ASCII, so this is just behind all keys of the namespace.
            namespace => (format!("{namespace}/"), Some(format!("{namespace}0"))),
        }
    }

    pub(crate) fn matches(&self, objects: &Objects, key: &str, entry: &Entry) -> bool {
        let (namespace, name) = catalog::split_key(key);
        if !self.namespace.is_empty() && namespace != self.namespace {
            return false;
        }
        let labels = &entry.index.labels;
        let label = |key: &str| labels.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value);
        if !self.labels.requirements.iter().all(|requirement| requirement.matches_value(label(&requirement.key))) {
            return false;
        }
        if self.fields.is_everything() {
            return true;
        }
        if self.row.stored_as.is_some() {
            return self.fields.matches(self.row, &objects.decode(self.row, entry));
        }
        let fields = &entry.index.fields;
        self.fields.terms.iter().all(|term| {
            let value = match term.field.as_str() {
                "metadata.name" => name,
                "metadata.namespace" => namespace,
                field => fields.iter().find(|(label, _)| **label == *field).map_or("", |(_, value)| &**value),
            };
            (value == term.value) == term.equal
        })
    }
}
