//! Inventories of the machines of a suite, written as text the way a person would.

use anyhow::Result;
use naru_machines::{Machine, Role};

use crate::Context;

/// What an inventory of given machines says beyond names and addresses.
#[derive(Default)]
pub struct Wish<'a> {
    /// Inside the braces of `spec.ssh`.
    pub ssh: String,
    /// Further lines of `spec`, with their indentation.
    pub spec: String,
    /// Inside the braces of each host's entry.
    pub host: Option<&'a dyn Fn(&Machine) -> String>,
    /// Documents after the first.
    pub documents: String,
}

impl Context {
    /// Logging in as root with the key that the machines were made for.
    pub fn as_root(&self) -> String {
        format!("user: root, keyPath: {}", self.machines.key_path(&self.name).display())
    }

    /// Writes `cluster.yaml` for the machines that there are.
    ///
    /// # Errors
    /// When the machines' state cannot be read or the file not be written.
    pub fn write_inventory(&self, wish: &Wish<'_>) -> Result<()> {
        let mut text = format!(
            "# written by a test\napiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {}}}\nspec:\n  ssh: {{{}}}\n{}  \
             hosts:\n",
            self.name, wish.ssh, wish.spec
        );
        for machine in self.hosts()? {
            let role = match machine.role {
                Role::ControlPlane => "control-plane",
                Role::Worker => "worker",
            };
            let more = wish.host.map(|host| host(&machine)).filter(|more| !more.is_empty());
            let more = more.map(|more| format!(", {more}")).unwrap_or_default();
            let (name, address) = (&machine.host, &machine.address);
            text += &format!("    - {{name: {name}, role: {role}, address: {address}{more}}} # about {name}\n");
        }
        text += &wish.documents;
        Ok(fs_err::write(&self.inventory, text)?)
    }

    /// Changes the text of `cluster.yaml`, which must have what is replaced.
    ///
    /// # Errors
    /// When it has not.
    pub fn edit_inventory(&self, from: &str, to: &str) -> Result<()> {
        let text = fs_err::read_to_string(&self.inventory)?;
        anyhow::ensure!(text.contains(from), "the inventory has no {from:?}:\n{text}");
        Ok(fs_err::write(&self.inventory, text.replacen(from, to, 1))?)
    }
}

/// The host's key, pinned.
pub fn pinned(machine: &Machine) -> String {
    format!("hostKey: \"{}\"", machine.host_key.as_deref().unwrap_or_default())
}
