//! Where in the text an edit goes, and how what is new is written.

use std::net::Ipv4Addr;
use std::ops::Range;

use serde_json::Value as Json;

use super::EditError;
use super::tree::{Entry, Kind, Tree};
use crate::spec::Host;

/// What a person writes first of a host.
const FIRST_FIELDS: [&str; 3] = ["name", "role", "address"];
/// Plain words that YAML readers take for something else than text.
const NOT_TEXT: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];

pub(super) struct Writer<'a> {
    text: &'a str,
    root: Tree,
}

struct Hosts<'t> {
    entry: &'t Entry,
    is_flow: bool,
    items: &'t [Tree],
}

pub(super) fn shape(what: &str) -> EditError {
    EditError::Shape { what: what.to_owned() }
}

impl<'a> Writer<'a> {
    pub(super) fn new(text: &'a str, root: Tree) -> Self {
        Self { text, root }
    }

    pub(super) fn text(&self) -> &str {
        self.text
    }

    /// The host as it stands in the list.
    pub(super) fn host(&self, index: usize) -> Result<&Tree, EditError> {
        self.hosts()?.items.get(index).ok_or_else(|| shape("`spec.hosts` is an alias"))
    }

    pub(super) fn set_version(&self, version: &str) -> Result<String, EditError> {
        let spec = self.root.entry("spec").ok_or_else(|| shape("`spec` is not to be found"))?;
        if let Some(entry) = spec.value.entry("version") {
            return self.set_scalar(&entry.value, version);
        }
        let Kind::Map { is_flow, entries } = &spec.value.kind else { return Err(shape("`spec` is no mapping")) };
        if *is_flow {
            let comma = if entries.is_empty() { "" } else { ", " };
            return Ok(self.insert(spec.value.start + 1, &format!("version: {version}{comma}")));
        }
        let first = entries.first().ok_or_else(|| shape("`spec` is empty"))?;
        let indent = self.indent_of(first.key.start)?;
        let line = format!("{indent}version: {version}{}", self.newline());
        Ok(self.insert(self.after_line(spec.key.end), &line))
    }

    pub(super) fn add_host(&self, host: &Host) -> Result<String, EditError> {
        let hosts = self.hosts()?;
        let Some(last) = hosts.items.last() else { return self.add_first_host(&hosts, host) };
        if hosts.is_flow {
            return Ok(self.add_to_flow(hosts.entry, last, host));
        }
        let at = self.after_line(last.end);
        let dash = self.dash(&hosts, hosts.items.len() - 1)?;
        let indent = self.indent_of(dash)?;
        let body = match &last.kind {
            Kind::Map { is_flow: false, entries } if !entries.is_empty() => {
                let column = self.column(entries[0].key.start).max(self.column(dash) + 2);
                let inner = " ".repeat(column);
                let gap = " ".repeat(column - self.column(dash) - 1);
                format!("{indent}-{gap}{}", fields(host).join(&format!("{}{inner}", self.newline())))
            }
            _ => format!("{indent}- {}", flow_text(host)),
        };
        Ok(self.insert_line(at, &body))
    }

    fn add_first_host(&self, hosts: &Hosts<'_>, host: &Host) -> Result<String, EditError> {
        if hosts.is_flow {
            return Ok(self.insert(hosts.entry.value.start + 1, &flow_text(host)));
        }
        let indent = self.indent_of(hosts.entry.key.start)?;
        Ok(self.insert_line(self.after_line(hosts.entry.key.end), &format!("{indent}  - {}", flow_text(host))))
    }

    /// Behind the last item; on a line of its own where the last one stands on one.
    fn add_to_flow(&self, entry: &Entry, last: &Tree, host: &Host) -> String {
        let line_start = self.line_start(last.start);
        let before = &self.text[line_start..last.start];
        let comma = self.comma_after(last.end);
        let has_own_line = before.trim().is_empty() && line_start > entry.value.start;
        if !has_own_line {
            return match comma {
                Some(comma) => self.insert(comma + 1, &format!(" {}", flow_text(host))),
                None => self.insert(last.end, &format!(", {}", flow_text(host))),
            };
        }
        let line = format!("{before}{}", flow_text(host));
        let line_end = self.after_line(last.end);
        let new_comma = if comma.is_some() { "" } else { "," };
        if entry.value.end <= line_end {
            // The closing bracket stands on the same line.
            let at = comma.map_or(last.end, |comma| comma + 1);
            return self.insert(at, &format!("{new_comma}{}{line}", self.newline()));
        }
        let after_comma = comma.map_or(line_end, |comma| self.after_line(comma).max(line_end));
        let whole = self.insert(after_comma, &format!("{line}{}", self.newline()));
        format!("{}{new_comma}{}", &whole[..last.end], &whole[last.end..])
    }

    pub(super) fn remove_host(&self, index: usize) -> Result<String, EditError> {
        let hosts = self.hosts()?;
        let item = hosts.items.get(index).ok_or_else(|| shape("`spec.hosts` is an alias"))?;
        if hosts.is_flow {
            return Ok(self.remove_from_flow(item, index.checked_sub(1).map(|index| &hosts.items[index])));
        }
        let from = self.line_start(self.dash(&hosts, index)?);
        let to = self.after_line(item.end);
        let mut scalars = Vec::new();
        collect_scalars(item, &mut scalars);
        let mut kept = String::new();
        let mut at = from;
        for line in self.text[from..to].split_inclusive('\n') {
            let first = at + line.len() - line.trim_start().len();
            let is_text = scalars.iter().any(|range| range.contains(&first));
            if line.trim_start().starts_with('#') && !is_text {
                kept.push_str(line);
            }
            at += line.len();
        }
        Ok(self.replace(from..to, &kept))
    }

    fn remove_from_flow(&self, item: &Tree, previous: Option<&Tree>) -> String {
        let mut range = match (self.comma_after(item.end), previous) {
            // What stands between an item and its comma is a comment at most, and stays.
            (Some(comma), _) if self.text[item.end..comma].trim().is_empty() => item.start..comma + 1,
            (None, Some(previous)) if self.line_start(item.start) == self.line_start(previous.end) => {
                previous.end..item.end
            }
            _ => item.start..item.end,
        };
        let (line, line_end) = (self.line_start(range.start), self.after_line(range.end));
        let rest_is_blank = self.text[range.end..line_end].trim().is_empty();
        if self.text[line..range.start].trim().is_empty() && rest_is_blank {
            return self.replace(line..line_end, "");
        }
        if range.start == item.start {
            range.end += self.text[range.end..].len() - self.text[range.end..].trim_start_matches(' ').len();
        }
        self.replace(range, "")
    }

    fn hosts(&self) -> Result<Hosts<'_>, EditError> {
        let spec = self.root.entry("spec").ok_or_else(|| shape("`spec` is not to be found"))?;
        let Some(entry) = spec.value.entry("hosts") else { return Err(EditError::Machines) };
        match &entry.value.kind {
            Kind::List { is_flow, items } => Ok(Hosts { entry, is_flow: *is_flow, items }),
            Kind::Scalar(text) if text.is_empty() => Ok(Hosts { entry, is_flow: false, items: &[] }),
            _ => Err(shape("`spec.hosts` is no list")),
        }
    }

    pub(super) fn set_scalar(&self, value: &Tree, text: &str) -> Result<String, EditError> {
        match &value.kind {
            Kind::Scalar(_) if value.end > value.start => Ok(self.replace(value.start..value.end, text)),
            _ => Err(shape("the value is an alias or stands nowhere")),
        }
    }

    /// The dash of a block item.
    fn dash(&self, hosts: &Hosts<'_>, index: usize) -> Result<usize, EditError> {
        let from = match index.checked_sub(1) {
            Some(previous) => self.after_line(hosts.items[previous].end),
            None => self.after_line(hosts.entry.key.end),
        };
        let mut at = from;
        for line in self.text[from..].split_inclusive('\n') {
            let trimmed = line.trim_start_matches(' ');
            if trimmed.starts_with('-') {
                return Ok(at + line.len() - trimmed.len());
            }
            at += line.len();
        }
        Err(shape("a list's dash is not to be found"))
    }

    pub(super) fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Where the line after that of this place begins. A block text ends where the next line begins already.
    pub(super) fn after_line(&self, at: usize) -> usize {
        if at > 0 && self.text.as_bytes()[at - 1] == b'\n' {
            return at;
        }
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    pub(super) fn column(&self, at: usize) -> usize {
        at - self.line_start(at)
    }

    /// The spaces before this place, which must be all that is there.
    fn indent_of(&self, at: usize) -> Result<&str, EditError> {
        let before = &self.text[self.line_start(at)..at];
        if before.bytes().all(|byte| byte == b' ') { Ok(before) } else { Err(shape("a key does not begin its line")) }
    }

    fn newline(&self) -> &'static str {
        let first = self.text.find('\n').unwrap_or(0);
        if self.text[..first].ends_with('\r') { "\r\n" } else { "\n" }
    }

    /// The comma that follows, behind nothing but space and comments.
    pub(super) fn comma_after(&self, at: usize) -> Option<usize> {
        let mut at = at;
        loop {
            let rest = &self.text[at..];
            let skipped = rest.len() - rest.trim_start().len();
            at += skipped;
            match self.text[at..].chars().next()? {
                ',' => return Some(at),
                '#' => at = self.after_line(at),
                _ => return None,
            }
        }
    }

    pub(super) fn insert(&self, at: usize, new: &str) -> String {
        self.replace(at..at, new)
    }

    /// A whole line, also where the text before it lacks its end.
    pub(super) fn insert_line(&self, at: usize, line: &str) -> String {
        let newline = self.newline();
        if at > 0 && !self.text[..at].ends_with('\n') {
            return self.insert(at, &format!("{newline}{line}"));
        }
        self.insert(at, &format!("{line}{newline}"))
    }

    pub(super) fn replace(&self, range: Range<usize>, new: &str) -> String {
        format!("{}{new}{}", &self.text[..range.start], &self.text[range.end..])
    }
}

fn collect_scalars(tree: &Tree, found: &mut Vec<Range<usize>>) {
    match &tree.kind {
        Kind::Scalar(_) => found.push(tree.start..tree.end),
        Kind::Alias => {}
        Kind::List { items, .. } => items.iter().for_each(|item| collect_scalars(item, found)),
        Kind::Map { entries, .. } => entries.iter().for_each(|entry| collect_scalars(&entry.value, found)),
    }
}

/// A host as one would write it by hand on one line: `{name: w1, role: worker, address: 10.0.0.21}`.
#[must_use]
pub fn flow_text(host: &Host) -> String {
    format!("{{{}}}", fields(host).join(", "))
}

/// `key: value` of every field that says something.
fn fields(host: &Host) -> Vec<String> {
    let value = serde_json::to_value(host).expect("a host is plain data");
    let Json::Object(fields) = value else { return Vec::new() };
    let is_default = |key: &str, value: &Json| key == "connection" && value == "ssh";
    let first = FIRST_FIELDS.iter().filter_map(|key| fields.get_key_value(*key));
    let rest = fields.iter().filter(|(key, value)| !FIRST_FIELDS.contains(&key.as_str()) && !is_default(key, value));
    first.chain(rest).map(|(key, value)| format!("{key}: {}", flow(value))).collect()
}

/// A value on one line.
pub(crate) fn flow(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(text),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Plain where nobody could take it for anything but this text, else in quotes.
#[must_use]
pub fn scalar(text: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let begins_as_text = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_plain = (begins_as_text || text.starts_with("~/"))
        && text.trim_start_matches('~').bytes().all(is_safe)
        && !NOT_TEXT.contains(&text.to_ascii_lowercase().as_str());
    if is_plain || text.parse::<Ipv4Addr>().is_ok() {
        return text.to_owned();
    }
    Json::String(text.to_owned()).to_string()
}
