//! The columns that `kubectl get` shows for each kind, and what their cells have in common.

mod cluster;
mod network;
mod other;
mod pod;
mod storage;
mod workload;

pub(crate) use cluster::*;
pub(crate) use network::*;
pub(crate) use other::*;
pub(crate) use pod::{POD, POD_TEMPLATE};
pub(crate) use storage::*;
pub(crate) use workload::*;

use crate::resource::Column;
use crate::{meta, selector::LabelSelector, time};
use serde_json::{Map, Value};

type Cell = fn(&Value, i64) -> Value;

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

const fn column(
    name: &'static str,
    r#type: &'static str,
    priority: u8,
    description: &'static str,
    cell: Cell,
) -> Column {
    Column { name, r#type, format: "", description, priority, cell }
}

/// A text column that is always shown.
const fn text(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "string", 0, description, cell)
}

/// A text column of `-o wide`.
const fn wide(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "string", 1, description, cell)
}

const fn number(name: &'static str, description: &'static str, cell: Cell) -> Column {
    column(name, "integer", 0, description, cell)
}

const NAME: Column = Column {
    name: "Name",
    r#type: "string",
    format: "name",
    description: "Name of the object, unique within its namespace and kind.",
    priority: 0,
    cell: |object, _| meta::name(object).into(),
};

const AGE: Column = text("Age", "Time since the object was created.", |object, now| {
    time::age(meta::creation_timestamp(object), now).into()
});

const CREATED_AT: Column = column("Created At", "date", 0, "When the object was created.", |object, _| {
    meta::creation_timestamp(object).unwrap_or_default().into()
});

/// Kinds without columns of their own show the moment instead of the age.
pub(crate) const NAME_AGE: &[Column] = &[NAME, CREATED_AT];

const CONTAINERS: &str = "Names of each container in the template.";
const IMAGES: &str = "Images referenced by each container in the template.";
const SELECTOR: &str = "Label selector of the pods that belong to the object.";

/// The text at a path, or a word when it is empty.
fn text_or(object: &Value, path: &[&str], otherwise: &str) -> Value {
    let text = meta::string_at(object, path);
    if text.is_empty() { otherwise.into() } else { text.into() }
}

/// The number at a path; zero when absent.
fn integer(object: &Value, path: &[&str]) -> Value {
    meta::integer_at(object, path).unwrap_or_default().into()
}

/// Integer or text as text, for fields that may be both.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn joined(object: &Value, list: &[&str], field: &str) -> Value {
    let parts: Vec<&str> = meta::list_at(object, list).iter().map(|item| meta::string_at(item, &[field])).collect();
    parts.join(",").into()
}

/// `a=b,c=d`, or `<none>`.
fn format_labels(labels: &Map<String, Value>) -> String {
    if labels.is_empty() {
        return NONE.to_owned();
    }
    let mut parts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", scalar(value))).collect();
    parts.sort();
    parts.join(",")
}

/// A `metav1.LabelSelector` in the words of `--selector`.
fn format_selector(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Err(_) => "<error>".to_owned(),
        Ok(parsed) if parsed.requirements.is_empty() => NONE.to_owned(),
        Ok(parsed) => parsed.to_string(),
    }
}

/// The first few of a list, and how many there are more.
fn shortened(items: &[String], most: usize) -> String {
    let shown = items[..items.len().min(most)].join(",");
    if items.len() > most { format!("{shown} + {} more...", items.len() - most) } else { shown }
}

#[cfg(test)]
mod tests;
