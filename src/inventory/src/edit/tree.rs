//! A YAML document as places in its text: where each key, value and item begins and ends, and in which style.

use serde_saphyr::granit_parser::{Event, Parser, StructureStyle};

use super::EditError;

/// Deeper than any inventory.
const MAX_DEPTH: usize = 64;

/// A node of the document; `start..end` is its text without what surrounds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Scalar(String),
    Alias,
    List { is_flow: bool, items: Vec<Tree> },
    Map { is_flow: bool, entries: Vec<Entry> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Tree,
    pub(super) value: Tree,
}

impl Tree {
    /// The document that begins at this byte of the file.
    pub(super) fn parse(text: &str, byte_start: usize) -> Result<Self, EditError> {
        let mut events = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| EditError::Shape { what: error.to_string() })?;
            let range = span.byte_range().unwrap_or_default();
            match event {
                Event::Scalar(value, ..) => {
                    // A block text is read on to what follows it; it ends where that line begins.
                    let whole = &text[range.clone()];
                    let tail = whole.rfind('\n').map_or(0, |newline| whole.len() - newline - 1);
                    let is_past = whole[whole.len() - tail..].trim().is_empty();
                    let end = if is_past { range.end - tail } else { range.end };
                    events.push((Token::Scalar(value.into_owned()), range.start..end));
                }
                Event::Alias(_) => events.push((Token::Alias, range)),
                Event::SequenceStart(style, ..) => events.push((Token::List(style == StructureStyle::Flow), range)),
                Event::MappingStart(style, ..) => events.push((Token::Map(style == StructureStyle::Flow), range)),
                Event::SequenceEnd | Event::MappingEnd => events.push((Token::End, range)),
                _ => {}
            }
        }
        let mut reader = Reader { events: events.into_iter(), byte_start };
        reader.node(0)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let Kind::Map { entries, .. } = &self.kind else { return None };
        entries.iter().find(|entry| entry.key.is_text(key))
    }

    pub(super) fn is_text(&self, expected: &str) -> bool {
        matches!(&self.kind, Kind::Scalar(text) if text == expected)
    }
}

enum Token {
    Scalar(String),
    Alias,
    List(bool),
    Map(bool),
    End,
}

struct Reader {
    events: std::vec::IntoIter<(Token, std::ops::Range<usize>)>,
    byte_start: usize,
}

impl Reader {
    fn node(&mut self, depth: usize) -> Result<Tree, EditError> {
        self.node_or_end(depth)?.ok_or_else(|| EditError::Shape { what: "it ends too soon".to_owned() })
    }

    /// Nothing where the collection around it ends; `self.end` then knows where.
    fn node_or_end(&mut self, depth: usize) -> Result<Option<Tree>, EditError> {
        let shape = |what: &str| EditError::Shape { what: what.to_owned() };
        if depth > MAX_DEPTH {
            return Err(shape("it is nested too deeply"));
        }
        let (token, range) = self.events.next().ok_or_else(|| shape("it ends too soon"))?;
        let (start, end) = (range.start + self.byte_start, range.end + self.byte_start);
        Ok(match token {
            Token::Scalar(text) => Some(Tree { start, end, kind: Kind::Scalar(text) }),
            Token::Alias => Some(Tree { start, end, kind: Kind::Alias }),
            Token::End => None,
            Token::List(is_flow) => {
                let mut items = Vec::new();
                while !self.is_at_end() {
                    items.push(self.node(depth + 1)?);
                }
                let last = items.last().map(|item: &Tree| item.end);
                let end = self.close(is_flow, last.unwrap_or(end));
                Some(Tree { start, end, kind: Kind::List { is_flow, items } })
            }
            Token::Map(is_flow) => {
                let mut entries = Vec::new();
                while !self.is_at_end() {
                    let key = self.node(depth + 1)?;
                    let mut value = self.node(depth + 1)?;
                    // An empty value stands wherever the parser noticed it; its place is behind the key's colon.
                    if value.start == value.end {
                        (value.start, value.end) = (key.end + 1, key.end + 1);
                    }
                    entries.push(Entry { key, value });
                }
                let last = entries.last().map(|entry: &Entry| entry.value.end.max(entry.key.end));
                let end = self.close(is_flow, last.unwrap_or(end));
                Some(Tree { start, end, kind: Kind::Map { is_flow, entries } })
            }
        })
    }

    fn is_at_end(&self) -> bool {
        matches!(self.events.as_slice().first(), None | Some((Token::End, _)))
    }

    /// A flow collection ends with its bracket, a block collection with its last child.
    fn close(&mut self, is_flow: bool, last: usize) -> usize {
        let end = self.events.next().map(|(_, range)| range.end + self.byte_start);
        if is_flow { end.unwrap_or(last) } else { last }
    }
}
