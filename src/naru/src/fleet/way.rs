//! The way to a host, from the inventory: address, keys, which host key to believe, which agent to put there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use naru_agent::Host as AgentHost;
use naru_hosts::{AgentProgram, Connection, Credentials, Deadlines, HostAddress, HostError, HostKeyPolicy};
use naru_inventory::{Connection as Kind, Host, Inventory};

pub(super) enum Way {
    Ssh {
        address: HostAddress,
        credentials: Credentials,
        policy: HostKeyPolicy,
        program: Arc<AgentProgram>,
    },
    /// The agent in this process.
    Local {
        name: String,
        host: AgentHost,
    },
}

impl Way {
    pub(super) fn to(inventory: &Inventory, host: &Host, accepts_new: bool, program: Arc<AgentProgram>) -> Self {
        if host.connection == Kind::Local {
            return Self::Local { name: host.name.clone(), host: AgentHost::local() };
        }
        let ssh = &inventory.spec.ssh;
        Self::Ssh {
            address: HostAddress {
                name: host.name.clone(),
                address: host.address.clone(),
                port: host.port.or(ssh.port).unwrap_or(22),
                user: host.user.clone().or_else(|| ssh.user.clone()).unwrap_or_else(|| "root".to_owned()),
            },
            credentials: credentials(host.key_path.as_deref().or(ssh.key_path.as_deref())),
            policy: match &host.host_key {
                Some(key) => HostKeyPolicy::Pinned(vec![key.clone()]),
                None if accepts_new => HostKeyPolicy::AcceptNew(known_hosts()),
                None => HostKeyPolicy::KnownHosts(known_hosts()),
            },
            program,
        }
    }

    pub(super) async fn open(&self) -> Result<Connection, HostError> {
        match self {
            Self::Ssh { address, credentials, policy, program } => {
                Connection::open(address, credentials, policy, &Deadlines::default(), program).await
            }
            Self::Local { name, host } => Ok(Connection::local(name, host.clone())),
        }
    }
}

/// The key that was named and no other; without one the SSH agent's and the usual files.
fn credentials(key_path: Option<&str>) -> Credentials {
    if let Some(path) = key_path {
        return Credentials { identity_files: vec![expand_home(path)], agent_socket: None };
    }
    let usual = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa"].map(expand_home);
    Credentials {
        identity_files: usual.into_iter().filter(|path| path.is_file()).collect(),
        agent_socket: std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from),
    }
}

fn known_hosts() -> Vec<PathBuf> {
    vec![expand_home("~/.ssh/known_hosts"), Path::new("/etc/ssh/ssh_known_hosts").to_owned()]
}

/// `~/x` below the home folder.
pub(crate) fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}
