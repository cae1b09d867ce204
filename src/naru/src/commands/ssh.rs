//! `naru ssh`: the system's own ssh, with the inventory's user, key and pinned host key.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use naru_inventory::{Host, Inventory};

use crate::exit::{Exit, Failure};
use crate::machines;
use crate::private;
use crate::session::{InventoryFlag, read_inventory};

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// The host.
    host: String,
    /// A command instead of a shell.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    #[command(flatten)]
    inventory: InventoryFlag,
}

impl Ssh {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let (inventory, _) = machines::with_hosts(read_inventory(&self.inventory.file)?).await?;
        let host = inventory.host(&self.host).ok_or_else(|| {
            Failure::user(format!("there is no host {} that runs", self.host)).detail(format!(
                "hosts of cluster {}: {}",
                inventory.name(),
                inventory.host_names().join(", ")
            ))
        })?;
        let mut command = command(&inventory, host)?;
        command.args(&self.command);
        // Only comes back when ssh could not be started.
        let error = command.exec();
        Err(Failure::because("ssh cannot be started", &error).hint("apt-get install openssh-client"))
    }
}

fn command(inventory: &Inventory, host: &Host) -> Result<Command, Failure> {
    let ssh = &inventory.spec.ssh;
    let port = host.port.or(ssh.port).unwrap_or(22);
    let mut command = Command::new("ssh");
    command
        .arg("-p")
        .arg(port.to_string())
        .arg("-l")
        .arg(host.user.as_deref().or(ssh.user.as_deref()).unwrap_or("root"));
    if let Some(key) = host.key_path.as_ref().or(ssh.key_path.as_ref()) {
        command.arg("-i").arg(crate::fleet::expand_home(key)).args(["-o", "IdentitiesOnly=yes"]);
    }
    if let Some(key) = &host.host_key {
        let name = if port == 22 { host.address.clone() } else { format!("[{}]:{port}", host.address) };
        // Not in a folder that others write to: whoever owned this file would say which host to believe.
        let path = naru_execute::cluster_folder(inventory.name()).join(format!("known-hosts-{}", host.name));
        private::write(&path, &format!("{name} {key}\n"))
            .map_err(|error| Failure::because("no host key file", &error))?;
        command.arg("-o").arg(format!("UserKnownHostsFile={}", path.display()));
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]);
    }
    command.arg(&host.address);
    Ok(command)
}
