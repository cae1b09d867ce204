//! The YAML text as a tree whose every key and value knows its place, so that any later finding can point at it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::{Diagnostic, Position};
use crate::stream::Part;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) position: Position,
    /// Lines of its text beyond the first.
    pub(crate) more_lines: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) node: Node,
}

/// Where in the tree: `spec.hosts[2].address`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(key.to_owned()));
        Self(segments)
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Index(index));
        Self(segments)
    }

    /// `spec.network` → that path.
    pub(crate) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|key| Segment::Key(key.to_owned())).collect())
    }

    /// Whether one of both lies at or under the other.
    pub(crate) fn touches(&self, other: &Self) -> bool {
        let shared = self.0.len().min(other.0.len());
        self.0[..shared] == other.0[..shared]
    }
}

impl Node {
    /// # Errors
    /// What is wrong with the YAML itself; a parser can report only the first mistake of a document.
    pub(crate) fn parse(part: &Part<'_>) -> Result<Self, Diagnostic> {
        match serde_saphyr::from_str::<Spanned<Value>>(part.text) {
            Ok(spanned) => {
                let mut node = Self::of(spanned);
                node.place(part, &line_starts(part.text));
                Ok(node)
            }
            Err(error) => {
                let mut diagnostic = syntax(&error);
                diagnostic.position.line += part.lines_before;
                Err(diagnostic)
            }
        }
    }

    fn of(spanned: Spanned<Value>) -> Self {
        Self { position: position(spanned.referenced), value: spanned.value, more_lines: 0 }
    }

    /// From places in the document to places in the file.
    fn place(&mut self, part: &Part<'_>, line_starts: &[usize]) {
        let Position { line, column, width } = self.position;
        let start = line_starts.get(line - 1).copied().unwrap_or(0) + column - 1;
        let last_line = line_starts.partition_point(|line_start| *line_start < start + width);
        self.more_lines = last_line.saturating_sub(line);
        self.position.line += part.lines_before;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.place(part, line_starts)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.position.line += part.lines_before;
                entry.node.place(part, line_starts);
            }),
            _ => {}
        }
    }

    /// As JSON; numbers that JSON does not have become null.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The place of a path, or of its nearest ancestor that exists.
    pub(crate) fn position_of(&self, path: &Path, of_key: bool) -> Position {
        let mut node = self;
        let mut key_position = None;
        for segment in &path.0 {
            let next = match (segment, &node.value) {
                (Segment::Key(key), _) => match node.entry(key) {
                    Some(entry) => {
                        key_position = Some(entry.position);
                        Some(&entry.node)
                    }
                    None => None,
                },
                (Segment::Index(index), Value::List(items)) => items.get(*index),
                (Segment::Index(_), _) => None,
            };
            match next {
                Some(next) => node = next,
                // A field that is not there: point at what should hold it.
                None => return key_position.filter(|_| of_key).unwrap_or(node.position),
            }
        }
        match (of_key || matches!(node.value, Value::List(_) | Value::Map(_)), key_position, path.0.last()) {
            (true, Some(position), Some(Segment::Key(_))) => position,
            _ => node.position,
        }
    }

    /// The place of a key, or of the mapping where it is missing.
    pub(crate) fn key_position(&self, key: &str) -> Position {
        self.entry(key).map_or(self.position, |entry| entry.position)
    }

    /// The place of a key's value, or of the mapping where it is missing.
    pub(crate) fn value_position(&self, key: &str) -> Position {
        self.entry(key).map_or(self.position, |entry| entry.node.position)
    }

    /// What kind of value it is, without showing it.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// What a person would call this value.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the text `{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Where lines begin, counted in characters.
fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.chars().enumerate().filter(|(_, character)| *character == '\n').map(|(index, _)| index + 1);
    std::iter::once(0).chain(ends).collect()
}

fn position(location: Location) -> Position {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
    Position {
        line: number(location.line()),
        column: number(location.column()),
        width: usize::try_from(location.span().len()).unwrap_or(1).max(1),
    }
}

fn syntax(error: &serde_saphyr::Error) -> Diagnostic {
    let error = error.without_snippet();
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).trim();
    // The parser's advice to programmers is of no use to an operator.
    let message = message.split_once(", set ").map_or(message, |(message, _)| message);
    let at = error.location().map_or(Position::START, position);
    let hint = if message.contains("duplicate") {
        Some("keep one of both entries".to_owned())
    } else if message.contains("tabs") {
        Some("indent with spaces".to_owned())
    } else {
        None
    };
    Diagnostic {
        position: Position { width: 1, ..at },
        primary: format!("not valid YAML: {message}"),
        detail: None,
        hint,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(Node::of(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node = Node::of(entries.next_value::<Spanned<Value>>()?);
            map.push(Entry { position: position(key.referenced), key: key.value, node });
        }
        Ok(Value::Map(map))
    }
}
