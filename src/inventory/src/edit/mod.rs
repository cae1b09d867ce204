//! Edits of an inventory's text that leave everything else as it stands: comments, order, indentation, line ends.
//! Each edit is checked by reading the outcome: it differs from what was there by exactly what was asked for.

mod fields;
mod tree;
mod write;

use crate::InvalidInventory;
use crate::document::Node;
use crate::semantics::Ahead;
use crate::spec::{Host, HostState, Inventory};
use crate::stream;
use write::Writer;
pub(crate) use write::flow;
pub use write::{flow_text, scalar};

/// Messages of the reader that no file name is known for.
const NAMELESS: &str = "inventory";

/// Why the text stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("there is no host `{name}` in the inventory")]
    NoHost { name: String },
    #[error("there is a host `{name}` in the inventory already")]
    Taken { name: String },
    #[error("the inventory's machines are made by a provider; it lists no hosts")]
    Machines,
    /// The text before the edit.
    #[error("{0}")]
    Before(InvalidInventory),
    /// What the edit would make.
    #[error("{0}")]
    After(InvalidInventory),
    #[error("the inventory is written in a way that cannot be edited: {what}")]
    Shape { what: String },
}

/// Sets `spec.version`.
///
/// # Errors
/// When the text is no inventory, or would be none any more.
pub fn set_version(text: &str, version: &str) -> Result<String, EditError> {
    let (before, writer) = open(text)?;
    let edited = writer.set_version(version)?;
    checked(edited, before, |inventory| inventory.spec.version = version.to_owned())
}

/// Adds a host at the end of `spec.hosts`, in the style of the last one there.
///
/// # Errors
/// When the text is no inventory or would be none any more, or the host is there already.
pub fn add_host(text: &str, host: &Host) -> Result<String, EditError> {
    let (before, writer) = open(text)?;
    if before.host(&host.name).is_some() {
        return Err(EditError::Taken { name: host.name.clone() });
    }
    let edited = writer.add_host(host)?;
    checked(edited, before, |inventory| inventory.spec.hosts.push(host.clone()))
}

/// Removes a host from `spec.hosts`; lines that are comments stay.
///
/// # Errors
/// When the text is no inventory or would be none any more, or there is no such host.
pub fn remove_host(text: &str, name: &str) -> Result<String, EditError> {
    let (before, writer) = open(text)?;
    let index = index_of(&before, name)?;
    let edited = writer.remove_host(index)?;
    checked(edited, before, |inventory| {
        inventory.spec.hosts.remove(index);
    })
}

/// Sets a host's `state`.
///
/// # Errors
/// When the text is no inventory or would be none any more, or there is no such host.
pub fn set_host_state(text: &str, name: &str, state: HostState) -> Result<String, EditError> {
    let (before, writer) = open(text)?;
    let index = index_of(&before, name)?;
    if before.spec.hosts[index].state == state {
        return Ok(text.to_owned());
    }
    let word = match state {
        HostState::Present => "present",
        HostState::Absent => "absent",
    };
    let edited = writer.set_field(index, "state", Some(word), "name")?;
    checked(edited, before, |inventory| inventory.spec.hosts[index].state = state)
}

/// Puts another machine in a host's place: name, address, user, port and host key as in `new`, the rest of its entry
/// as it stands.
///
/// # Errors
/// When the text is no inventory or would be none any more, there is no such host, or the new name is another's.
pub fn exchange_host(text: &str, name: &str, new: &Host) -> Result<String, EditError> {
    let before = read(text).map_err(EditError::Before)?;
    let index = index_of(&before, name)?;
    if new.name != name && before.host(&new.name).is_some() {
        return Err(EditError::Taken { name: new.name.clone() });
    }
    let mut edited = text.to_owned();
    let fields = fields::of_machine(&before.spec.hosts[index]).into_iter().zip(fields::of_machine(new));
    for ((key, old), (_, new)) in fields {
        if old != new {
            edited = writer(&edited)?.set_field(index, key, new.as_deref(), "address")?;
        }
    }
    checked(edited, before, |inventory| inventory.spec.hosts[index] = new.clone())
}

fn open(text: &str) -> Result<(Inventory, Writer<'_>), EditError> {
    let inventory = read(text).map_err(EditError::Before)?;
    Ok((inventory, writer(text)?))
}

fn writer(text: &str) -> Result<Writer<'_>, EditError> {
    let parts = stream::split(text);
    let documents: Vec<Option<Node>> = parts.iter().map(|part| Node::parse(part).ok()).collect();
    let index = stream::inventory_of(&documents).ok_or_else(|| write::shape("no inventory is to be found"))?;
    Ok(Writer::new(text, tree::Tree::parse(parts[index].text, parts[index].byte_start)?))
}

fn index_of(inventory: &Inventory, name: &str) -> Result<usize, EditError> {
    if inventory.spec.machines.is_some() {
        return Err(EditError::Machines);
    }
    let index = inventory.spec.hosts.iter().position(|host| host.name == name);
    index.ok_or_else(|| EditError::NoHost { name: name.to_owned() })
}

/// Without the files that it names: they lie beside a file, and this is only its text.
fn read(text: &str) -> Result<Inventory, InvalidInventory> {
    crate::read(NAMELESS, text, Ahead::Yes, None)
}

fn checked(edited: String, mut before: Inventory, change: impl Fn(&mut Inventory)) -> Result<String, EditError> {
    let after = read(&edited).map_err(EditError::After)?;
    change(&mut before);
    if after == before {
        return Ok(edited);
    }
    Err(EditError::Shape { what: "anchors or merged mappings tie the place to others".to_owned() })
}

#[cfg(test)]
mod tests;
