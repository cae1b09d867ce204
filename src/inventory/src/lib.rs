//! The inventory: what the operator wants, as one YAML file. Read, checked as a whole and defaulted here; every mistake
//! is reported in one go with its line and column, what was expected, and how to mend it.
//!
//! A file goes through these hands: `stream` (its documents), `document` (YAML to a tree that knows positions),
//! `structure` (the tree against the JSON schema of `spec`: unknown, missing and mistyped fields), serde (tree to
//! types), `semantics` (what no schema can say: duplicates, overlaps, counts), `manifests` (the documents beside the
//! inventory). The types of `spec` are the only description of the format; schema, explanations and the reference
//! page are derived from them.

mod cidr;
mod conceal;
mod diagnostic;
mod document;
pub mod edit;
mod explain;
mod extra_args;
mod files;
mod lookups;
mod manifests;
mod names;
mod reference;
mod schema;
mod secret;
mod semantics;
mod spec;
mod stream;
mod structure;

use std::path::Path;

use conceal::Concealed;
use document::Node;
use semantics::Ahead;

pub use cidr::{Cidr, CidrError};
pub use diagnostic::{Diagnostic, InvalidInventory, Position};
pub use explain::{UnknownField, explain};
pub use extra_args::{API_SERVER_ARGS, ArgKind, ArgValue, ExtraArg, KUBELET_ARGS, api_server_arg, kubelet_arg};
pub use reference::reference;
pub use schema::schema;
pub use spec::{
    ApiServer, Bastion, Become, BecomeMethod, Connection, ControlPlane, Effect, Group, Hook, HookMoment, HookPlace,
    Host, HostFile, HostState, Inventory, Kubelet, MachineImage, Machines, Metadata, Network, Plugin, Provider, Proxy,
    Registry, Role, Rollout, Runtime, RuntimeSource, RuntimeType, Secret, Spec, Ssh, Store, Taint,
};

/// The only `apiVersion` that is understood.
pub const API_VERSION: &str = "naru.dev/v1alpha1";
/// The only `kind`.
pub const KIND: &str = "Cluster";
/// The version that this program installs: its own.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// A larger file is surely not an inventory.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Reads an inventory, and the files that it names. `file` is for messages, and its folder is where those files are
/// looked for.
///
/// # Errors
/// All mistakes of the file at once.
pub fn parse(file: &str, text: &str) -> Result<Inventory, InvalidInventory> {
    read(file, text, Ahead::No, Some(folder_of(file)))
}

/// The same for what the planner knows already and the control-plane program does not yet: several control planes
/// over etcd.
///
/// # Errors
/// All mistakes of the file at once.
pub fn parse_ahead(file: &str, text: &str) -> Result<Inventory, InvalidInventory> {
    read(file, text, Ahead::Yes, Some(folder_of(file)))
}

fn folder_of(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new("."))
}

/// Without a folder, files that the inventory names are not read.
fn read(file: &str, text: &str, ahead: Ahead, folder: Option<&Path>) -> Result<Inventory, InvalidInventory> {
    if text.len() > MAX_FILE_BYTES {
        let size = format!("the file has {} bytes; an inventory has at most {MAX_FILE_BYTES}", text.len());
        return Err(InvalidInventory::new(file, "", vec![Diagnostic::at_start(size)], &Concealed::default()));
    }
    let parts = stream::split(text);
    let mut diagnostics = Vec::new();
    let mut concealed = Concealed::default();
    let documents: Vec<Option<Node>> = parts
        .iter()
        .map(|part| match Node::parse(part) {
            Ok(node) => {
                concealed.add_document(&node);
                Some(node)
            }
            Err(diagnostic) => {
                concealed.add_unreadable(part);
                diagnostics.push(concealed.without_text(diagnostic));
                None
            }
        })
        .collect();
    let index = stream::inventory_of(&documents);
    let others = documents.iter().enumerate().filter(|(other, _)| Some(*other) != index);
    let manifests = manifests::read(others.filter_map(|(_, document)| document.as_ref()), &mut diagnostics);
    let inventory = match index.and_then(|index| documents[index].as_ref()) {
        Some(document) => read_document(document, ahead, folder, &mut diagnostics),
        None => {
            if documents.iter().all(Option::is_some) {
                diagnostics.push(Diagnostic {
                    detail: Some("the other documents of an inventory's file are Kubernetes objects".to_owned()),
                    ..Diagnostic::at_start(format!("no document has apiVersion {API_VERSION} and kind {KIND}"))
                });
            }
            None
        }
    };
    match inventory.filter(|_| diagnostics.is_empty()) {
        Some(inventory) => Ok(Inventory { manifests, ..inventory }),
        None => Err(InvalidInventory::new(file, text, diagnostics, &concealed)),
    }
}

fn read_document(
    document: &Node,
    ahead: Ahead,
    folder: Option<&Path>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Inventory> {
    let mut findings = structure::Findings::default();
    let value = structure::check(document, &mut findings);
    let inventory = serde_json::from_value::<Inventory>(value).map(|mut inventory| {
        let semantic = semantics::check(&inventory, ahead);
        let unread = folder.map(|folder| files::load(&mut inventory, folder)).unwrap_or_default();
        semantic.into_iter().chain(unread).for_each(|finding| findings.add_semantic(finding));
        inventory
    });
    let before = diagnostics.len();
    diagnostics.extend(findings.into_diagnostics(document));
    if let (Err(source), true) = (&inventory, diagnostics.len() == before) {
        diagnostics.push(Diagnostic::at_start(format!("the inventory cannot be read: {source}")));
    }
    inventory.ok()
}

#[cfg(test)]
mod tests;
