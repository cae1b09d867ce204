//! One field of a host set anew, added or taken away, where a person would do it.

use super::EditError;
use super::tree::{Entry, Kind};
use super::write::{Writer, scalar, shape};
use crate::spec::{Connection, Host};

/// What says which machine a host is and how it is logged in to. The rest says what it is for.
pub(super) fn of_machine(host: &Host) -> [(&'static str, Option<String>); 6] {
    let is_local = host.connection == Connection::Local;
    [
        ("name", Some(scalar(&host.name))),
        ("address", Some(scalar(&host.address))),
        ("user", host.user.as_deref().map(scalar)),
        ("port", host.port.map(|port| port.to_string())),
        ("hostKey", host.host_key.as_deref().map(scalar)),
        ("connection", is_local.then(|| "local".to_owned())),
    ]
}

impl Writer<'_> {
    /// Sets a field of a host, or takes it away. A new one stands below `beside`, where it is seen, or last on
    /// its line.
    pub(super) fn set_field(
        &self,
        index: usize,
        key: &str,
        value: Option<&str>,
        beside: &str,
    ) -> Result<String, EditError> {
        let item = self.host(index)?;
        let Kind::Map { is_flow, entries } = &item.kind else { return Err(shape("the host is an alias")) };
        let first = entries.first().ok_or_else(|| shape("the host has no fields"))?;
        let place = entries.iter().position(|entry| entry.key.is_text(key));
        match (place, value) {
            (Some(place), Some(value)) => self.set_scalar(&entries[place].value, value),
            (Some(place), None) if *is_flow => Ok(self.without_in_flow(entries, place)),
            (Some(place), None) => self.without_in_block(entries, place),
            (None, Some(value)) if *is_flow => {
                let last = entries.last().unwrap_or(first);
                Ok(self.insert(last.value.end.max(last.key.end), &format!(", {key}: {value}")))
            }
            (None, Some(value)) => {
                let indent = " ".repeat(self.column(first.key.start));
                let at = self.after_line(item.entry(beside).unwrap_or(first).value.end);
                Ok(self.insert_line(at, &format!("{indent}{key}: {value}")))
            }
            (None, None) => Err(shape("a field comes from elsewhere")),
        }
    }

    /// With its comma; what is commented in between stays.
    fn without_in_flow(&self, entries: &[Entry], place: usize) -> String {
        let entry = &entries[place];
        let (start, end) = (entry.key.start, entry.value.end.max(entry.key.end));
        let previous = place.checked_sub(1).map(|previous| entries[previous].value.end);
        let range = match (previous, self.comma_after(end)) {
            (Some(previous), _) if self.text()[previous..start].trim() == "," => previous..end,
            (_, Some(comma)) => {
                let rest = self.text()[comma + 1..].trim_start_matches(' ');
                // A comment needs its space.
                if rest.starts_with('#') { start..comma + 1 } else { start..self.text().len() - rest.len() }
            }
            (_, None) => start..end,
        };
        self.replace(range, "")
    }

    /// Its lines; the first field gives its place behind the dash to the next.
    fn without_in_block(&self, entries: &[Entry], place: usize) -> Result<String, EditError> {
        let entry = &entries[place];
        let start = entry.key.start;
        let before = self.line_start(start);
        match entries.get(place + 1) {
            _ if self.text()[before..start].trim().is_empty() => {
                Ok(self.replace(before..self.after_line(entry.value.end), ""))
            }
            Some(next) if self.text()[self.after_line(entry.value.end)..next.key.start].trim().is_empty() => {
                Ok(self.replace(start..next.key.start, ""))
            }
            _ => Err(shape("a field that goes stands behind the dash")),
        }
    }
}
