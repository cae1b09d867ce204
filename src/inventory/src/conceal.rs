//! Lines that hold a secret in plain text are never shown, whatever the mistake on them is: a message ends up in logs.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::document::{Node, Value};
use crate::names;
use crate::secret;
use crate::stream::Part;

/// Parts of key names behind which secrets stand, also misspelt or in the wrong place.
const SUSPICIOUS: [&str; 6] = ["pass", "pwd", "secret", "token", "credential", "auth"];

/// Numbers of the lines that are not shown.
#[derive(Debug, Default)]
pub(crate) struct Concealed {
    lines: BTreeSet<usize>,
}

impl Concealed {
    pub(crate) fn hides(&self, line: usize) -> bool {
        self.lines.contains(&line)
    }

    pub(crate) fn add_document(&mut self, document: &Node) {
        let is_secret =
            document.entry("kind").is_some_and(|entry| entry.node.value == Value::Text("Secret".to_owned()));
        self.walk(document, false, is_secret);
    }

    /// A document that is no YAML: told by its lines alone.
    pub(crate) fn add_unreadable(&mut self, part: &Part<'_>) {
        let is_secret = part.text.lines().any(|line| line.trim_end() == "kind: Secret");
        // Lines below a suspicious key belong to it as long as they are indented more.
        let mut below = None;
        for (index, line) in part.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            below = below.filter(|key_indent| line.trim().is_empty() || indent > *key_indent);
            let is_key = |line: &str| line.split([' ', '{', ',', '-', ':', '"', '\'']).any(is_suspicious);
            if below.is_none() && is_key(line) {
                below = Some(indent);
            }
            if is_secret || below.is_some() || is_secret_itself(line) {
                self.lines.insert(part.lines_before + index + 1);
            }
        }
    }

    /// What the parser says of a concealed line may quote it.
    pub(crate) fn without_text(&self, diagnostic: Diagnostic) -> Diagnostic {
        if !self.hides(diagnostic.position.line) {
            return diagnostic;
        }
        let primary = "not valid YAML; the line seems to hold a secret, so it is not shown".to_owned();
        Diagnostic {
            primary,
            detail: None,
            hint: Some("put texts with special characters in quotes".to_owned()),
            ..diagnostic
        }
    }

    fn walk(&mut self, node: &Node, under_suspicion: bool, in_secret: bool) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let is_data = in_secret && matches!(entry.key.as_str(), "data" | "stringData");
                    self.walk(&entry.node, under_suspicion || is_data || is_suspicious(&entry.key), in_secret);
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.walk(item, under_suspicion, in_secret)),
            Value::Null => {}
            Value::Text(text) if secret::is_reference(text) => {}
            Value::Text(text) if is_secret_itself(text) => self.hide(node),
            _ if under_suspicion => self.hide(node),
            _ => {}
        }
    }

    fn hide(&mut self, node: &Node) {
        let first = node.position.line;
        self.lines.extend(first..=first + node.more_lines);
    }
}

fn is_suspicious(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SUSPICIOUS.iter().any(|word| key.contains(word)) || names::nearest(&key, ["password"]).is_some()
}

/// `https://user:password@host`, or a private key.
fn is_secret_itself(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) || text.contains("PRIVATE KEY")
}
