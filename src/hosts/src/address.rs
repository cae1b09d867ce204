//! Where a host is, how to get there, as whom to log in, and which host key to believe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Elevation;

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// What people call it; every message names it.
    pub name: String,
    /// IP address or DNS name.
    pub address: String,
    pub port: u16,
    pub user: String,
}

/// What may prove who we are, tried in this order: the agent's keys, then the files. Whoever has several hosts shares
/// the opened keys between them through the `Dialer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Private keys; `KEY-cert.pub` beside one is its certificate.
    pub identity_files: Vec<PathBuf>,
    /// Socket of an ssh-agent.
    pub agent_socket: Option<PathBuf>,
    /// Of the agent's keys only those that `identity_files` names.
    pub only_these: bool,
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

/// Everything that is needed to be logged in on a host.
#[derive(Debug, Clone)]
pub struct Route {
    pub host: HostAddress,
    pub credentials: Credentials,
    pub host_keys: HostKeyPolicy,
    /// How the login becomes root; not asked of bastions.
    pub elevation: Elevation,
    pub deadlines: Deadlines,
    /// The bastion before it, which may have one of its own.
    pub via: Option<Arc<Route>>,
}

/// How long each part of the way may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Resolving the name and opening the TCP connection, for each address.
    pub connect: Duration,
    /// Key exchange, and then again authentication.
    pub login: Duration,
    /// From asking for the agent until it (or what keeps it from starting) shows.
    pub start: Duration,
    /// Answers of the agent to questions.
    pub question: Duration,
    /// Answers of the agent to changes: installing packages over a slow line is the longest there is.
    pub change: Duration,
    /// A whole program or artifact on its way.
    pub upload: Duration,
    /// An upload of which nothing moves.
    pub upload_stall: Duration,
    /// Silence after which a sign of life is asked for; three unanswered ones end the connection.
    pub keepalive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            login: Duration::from_secs(20),
            start: Duration::from_secs(30),
            question: Duration::from_secs(120),
            change: Duration::from_secs(30 * 60),
            upload: Duration::from_secs(15 * 60),
            upload_stall: Duration::from_secs(60),
            keepalive: Duration::from_secs(15),
        }
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

impl Route {
    /// Names the way to this host: hosts behind the same bastion share one connection to it.
    pub(crate) fn hops(&self) -> String {
        let own = format!("{}@{}:{}", self.host.user, self.host.address, self.host.port);
        match &self.via {
            Some(via) => format!("{},{own}", via.hops()),
            None => own,
        }
    }
}
