//! The documents beside the inventory: Kubernetes objects, checked as far as one can without an API server.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Position};
use crate::document::{Node, Value};
use crate::stream;

/// More objects belong into a tool of their own.
const MAX_OBJECTS: usize = 1_000;

/// All objects of these documents in their order, lists taken apart.
pub(crate) fn read<'a>(documents: impl Iterator<Item = &'a Node>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Json> {
    let mut reader = Reader { objects: Vec::new(), seen: BTreeMap::new(), diagnostics };
    for document in documents.filter(|document| document.value != Value::Null) {
        if stream::is_inventory(document) {
            reader.wrong(document.key_position("kind"), "a second inventory in the same file", |diagnostic| {
                diagnostic.detail = Some("a file describes one cluster".to_owned());
                diagnostic.hint = Some("move it to a file of its own".to_owned());
            });
        } else {
            reader.object(document);
        }
    }
    reader.objects
}

struct Reader<'a> {
    objects: Vec<Json>,
    /// Where each object stands, by what makes it the same one.
    seen: BTreeMap<[String; 4], Position>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn wrong(&mut self, position: Position, primary: impl Into<String>, more: impl FnOnce(&mut Diagnostic)) {
        let mut diagnostic = Diagnostic { position, primary: primary.into(), detail: None, hint: None };
        more(&mut diagnostic);
        self.diagnostics.push(diagnostic);
    }

    fn object(&mut self, node: &Node) {
        let Value::Map(_) = node.value else {
            let primary = format!("expected a Kubernetes object, found {}", node.kind_name());
            return self.wrong(node.position, primary, |diagnostic| {
                diagnostic.detail = Some("documents beside the inventory are objects that are applied".to_owned());
            });
        };
        let version = self.text(Some(node), "apiVersion", node);
        let kind = self.text(Some(node), "kind", node);
        // `List`, or a list of one kind as `kubectl get -o yaml` once printed it.
        if let (Some("List"), Some(items)) = (kind.as_deref(), node.entry("items"))
            && let Value::List(items) = &items.node.value
        {
            items.iter().for_each(|item| self.object(item));
            return;
        }
        if kind.as_deref() == Some("List") {
            return self.wrong(node.key_position("kind"), "a List without `items`", |_| {});
        }
        let metadata = node.entry("metadata").map(|entry| &entry.node);
        let name = self.text(metadata, "name", node);
        let namespace = match metadata.and_then(|node| node.entry("namespace")).map(|entry| &entry.node.value) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let (Some(version), Some(kind), Some(name)) = (version, kind, name) else { return };
        let title = format!("{kind} {name}");
        if let Some(earlier) = self.seen.insert([version, kind, namespace, name], node.position) {
            self.wrong(
                metadata.unwrap_or(node).value_position("name"),
                format!("{title} is given twice"),
                |diagnostic| {
                    diagnostic.detail = Some(format!("the first one begins in line {}", earlier.line));
                },
            );
        }
        if self.objects.len() == MAX_OBJECTS {
            return self.wrong(node.position, format!("more than {MAX_OBJECTS} objects"), |diagnostic| {
                diagnostic.hint = Some("apply them with kubectl once the cluster stands".to_owned());
            });
        }
        self.objects.push(node.to_json());
    }

    fn text(&mut self, holder: Option<&Node>, key: &str, object: &Node) -> Option<String> {
        let title = if key == "name" { "metadata.name" } else { key };
        match holder.and_then(|holder| holder.entry(key)).map(|entry| &entry.node) {
            Some(Node { value: Value::Text(text), .. }) if !text.is_empty() => return Some(text.clone()),
            Some(other) => self.wrong(other.position, format!("`{title}` is no text"), |_| {}),
            None => self.wrong(object.position, format!("`{title}` is missing"), |diagnostic| {
                diagnostic.detail = Some("every Kubernetes object has apiVersion, kind and metadata.name".to_owned());
            }),
        }
        None
    }
}
