//! The inventory: what the operator wants, as one YAML file. Read, checked as a whole and defaulted here; every mistake
//! is reported in one go with its line and column, what was expected, and how to mend it.
//!
//! A file goes through four hands: `document` (YAML to a tree that knows positions), `structure` (the tree against the
//! JSON schema of `spec`: unknown, missing and mistyped fields), serde (tree to types), `semantics` (what no schema can
//! say: duplicates, overlaps, counts). The types of `spec` are the only description of the format.

mod cidr;
mod diagnostic;
mod document;
mod names;
mod semantics;
mod spec;
mod structure;

pub use cidr::{Cidr, CidrError};
pub use diagnostic::{Diagnostic, InvalidInventory};
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

/// Reads an inventory; `file` is only for messages.
///
/// # Errors
/// All mistakes of the file at once.
pub fn parse(file: &str, text: &str) -> Result<Inventory, InvalidInventory> {
    read(file, text, semantics::Ahead::No)
}

/// The same for what the planner knows already and the control-plane program does not yet: several control planes
/// over etcd.
///
/// # Errors
/// All mistakes of the file at once.
pub fn parse_ahead(file: &str, text: &str) -> Result<Inventory, InvalidInventory> {
    read(file, text, semantics::Ahead::Yes)
}

fn read(file: &str, text: &str, ahead: semantics::Ahead) -> Result<Inventory, InvalidInventory> {
    let fail = |diagnostics| Err(InvalidInventory::new(file, text, diagnostics));
    if text.len() > MAX_FILE_BYTES {
        let size = format!("the file has {} bytes; an inventory has at most {MAX_FILE_BYTES}", text.len());
        return fail(vec![Diagnostic::at_start(size)]);
    }
    let document = match document::Node::parse(text) {
        Ok(document) => document,
        Err(diagnostic) => return fail(vec![diagnostic]),
    };
    let mut findings = structure::Findings::default();
    let value = structure::check(&document, &mut findings);
    match serde_json::from_value::<Inventory>(value) {
        Ok(inventory) => {
            for finding in semantics::check(&inventory, ahead) {
                findings.add_semantic(finding);
            }
            let diagnostics = findings.into_diagnostics(&document);
            if diagnostics.is_empty() { Ok(inventory) } else { fail(diagnostics) }
        }
        Err(source) => {
            let mut diagnostics = findings.into_diagnostics(&document);
            if diagnostics.is_empty() {
                diagnostics.push(Diagnostic::at_start(format!("the inventory cannot be read: {source}")));
            }
            fail(diagnostics)
        }
    }
}

/// The JSON schema of an inventory, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Inventory>().to_value()
}

#[cfg(test)]
mod tests;
