//! Where a host is, as whom to log in, and which host key to believe.

use std::path::PathBuf;
use std::time::Duration;

/// A host and the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// What people call it; every message names it.
    pub name: String,
    /// IP address or DNS name.
    pub address: String,
    pub port: u16,
    pub user: String,
}

/// What may prove who we are, tried in this order: the agent's keys, then the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Private keys (ed25519 or ECDSA) without a passphrase.
    pub identity_files: Vec<PathBuf>,
    /// Socket of an ssh-agent.
    pub agent_socket: Option<PathBuf>,
}

/// Which host keys are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Only these: public keys as in `ssh_host_ed25519_key.pub`, or `SHA256:…` fingerprints.
    Pinned(Vec<String>),
    /// Those in these known_hosts files; missing files are empty ones.
    KnownHosts(Vec<PathBuf>),
    /// The same, and the key of an unknown host is added to the first file. A changed key is still refused.
    AcceptNew(Vec<PathBuf>),
}

/// How long each part of the way may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Resolving the name and opening the TCP connection, for each address.
    pub connect: Duration,
    /// Key exchange and authentication.
    pub login: Duration,
    /// Uploading the agent.
    pub upload: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), login: Duration::from_secs(20), upload: Duration::from_secs(600) }
    }
}

impl HostKeyPolicy {
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self {
            Self::Pinned(_) => &[],
            Self::KnownHosts(files) | Self::AcceptNew(files) => files,
        }
    }
}
