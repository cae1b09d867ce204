//! Why a host could not be reached or did not do its work. Every message names the host.

use std::io;
use std::sync::Arc;

use naru_agent::{ClientError, Failure, FailureKind};

const KIBIBYTE: u64 = 1024;

/// The four ways it can fail, as a caller has to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostErrorKind {
    /// Nothing answers, or the line breaks.
    Unreachable,
    /// The host does not let us in.
    Authentication,
    /// The host is not the one that was expected, or nobody said which is.
    HostKey,
    /// The host answers, but the work cannot be done there.
    Agent,
}

/// Why a login does not become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRootReason {
    /// Neither sudo nor doas is there.
    Missing,
    PasswordRequired,
    WrongPassword,
    /// sudo wants a terminal (`requiretty`).
    TerminalRequired,
    NotAllowed,
    Other,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{host}: the name {address} cannot be resolved")]
    Resolve { host: String, address: String, reason: String },
    #[error("{host}: {address}:{port} cannot be reached")]
    Unreachable { host: String, address: String, port: u16, reason: String },
    #[error("{host}: {address}:{port} does not speak SSH with us")]
    Handshake { host: String, address: String, port: u16, reason: String },
    #[error("{host}: the connection broke")]
    Broken { host: String, reason: String },
    #[error("{host}: {what} took longer than {seconds} s")]
    Deadline { host: String, what: String, seconds: u64 },
    #[error("{host}: the host key of {address} is not known")]
    HostKeyUnknown { host: String, address: String, key: String, fingerprint: String },
    #[error("{host}: the host key of {address} has CHANGED")]
    HostKeyChanged { host: String, address: String, found: String, recorded: String, place: String },
    #[error("{host}: the host key of {address} is revoked")]
    HostKeyRevoked { host: String, address: String, found: String, place: String },
    #[error("{host}: the host certificate of {address} is not valid")]
    HostCertificate { host: String, address: String, reason: String },
    #[error("{host}: `{text}` is neither a public key nor a SHA256 fingerprint")]
    PinnedKey { host: String, text: String },
    #[error("{host}: known hosts cannot be read or written")]
    KnownHosts {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{host}: the key {path} cannot be used")]
    Identity { host: String, path: String, reason: String },
    #[error("{host}: {user} is not let in")]
    Authentication { host: String, user: String, tried: Vec<String>, methods: String },
    #[error("{host}: {}", not_root(.user, *.reason))]
    NotRoot { host: String, user: String, reason: NotRootReason, output: String },
    #[error("{host}: the bastion {bastion} is no way there")]
    Bastion {
        host: String,
        bastion: String,
        #[source]
        source: Arc<HostError>,
    },
    #[error("{host}: no further command is let in on this connection")]
    ChannelRefused { host: String, reason: String },
    #[error("{host}: no space is left for {directory}")]
    NoSpace { host: String, directory: String, missing_bytes: u64, free_bytes: Option<u64> },
    #[error("{host}: `{command}` failed with status {status}")]
    Command { host: String, command: String, status: u32, output: String },
    #[error("{host} has a {found} processor, but the agent at hand is for {program}")]
    Architecture { host: String, found: String, program: String },
    #[error("{host}: the agent program {path} cannot be read")]
    Program {
        host: String,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{host}: the agent does not answer")]
    Client {
        host: String,
        #[source]
        source: ClientError,
    },
    #[error("{host}: {}", .failure.message)]
    Failed { host: String, failure: Failure },
}

impl HostError {
    #[must_use]
    pub fn kind(&self) -> HostErrorKind {
        match self {
            Self::Resolve { .. } | Self::Unreachable { .. } | Self::Handshake { .. } | Self::Broken { .. } => {
                HostErrorKind::Unreachable
            }
            Self::Deadline { .. } | Self::Client { .. } | Self::ChannelRefused { .. } => HostErrorKind::Unreachable,
            Self::Bastion { source, .. } => source.kind(),
            Self::Identity { .. } | Self::Authentication { .. } | Self::NotRoot { .. } => HostErrorKind::Authentication,
            Self::HostKeyUnknown { .. }
            | Self::HostKeyChanged { .. }
            | Self::HostKeyRevoked { .. }
            | Self::HostCertificate { .. }
            | Self::PinnedKey { .. }
            | Self::KnownHosts { .. } => HostErrorKind::HostKey,
            _ => HostErrorKind::Agent,
        }
    }

    /// Whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Failed { failure, .. } => failure.kind == FailureKind::Transient,
            _ => self.kind() == HostErrorKind::Unreachable,
        }
    }

    /// The host that it is about.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Resolve { host, .. }
            | Self::Unreachable { host, .. }
            | Self::Handshake { host, .. }
            | Self::Broken { host, .. }
            | Self::Deadline { host, .. }
            | Self::HostKeyUnknown { host, .. }
            | Self::HostKeyChanged { host, .. }
            | Self::HostKeyRevoked { host, .. }
            | Self::HostCertificate { host, .. }
            | Self::PinnedKey { host, .. }
            | Self::KnownHosts { host, .. }
            | Self::Identity { host, .. }
            | Self::Authentication { host, .. }
            | Self::NotRoot { host, .. }
            | Self::Bastion { host, .. }
            | Self::ChannelRefused { host, .. }
            | Self::NoSpace { host, .. }
            | Self::Command { host, .. }
            | Self::Architecture { host, .. }
            | Self::Program { host, .. }
            | Self::Client { host, .. }
            | Self::Failed { host, .. } => host,
        }
    }

    /// More lines for those who want to know why.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let text = match self {
            Self::Resolve { reason, .. }
            | Self::Unreachable { reason, .. }
            | Self::Handshake { reason, .. }
            | Self::Broken { reason, .. }
            | Self::Identity { reason, .. }
            | Self::HostCertificate { reason, .. } => reason.clone(),
            Self::ChannelRefused { reason, .. } => reason.clone(),
            Self::Bastion { source, .. } => {
                let detail = source.detail().map(|detail| format!("\n{detail}")).unwrap_or_default();
                format!("{source}{detail}")
            }
            Self::NoSpace { missing_bytes, free_bytes, .. } => {
                let free = free_bytes.map_or_else(|| "less".to_owned(), |bytes| format!("{} KiB", bytes / KIBIBYTE));
                format!("{} KiB are needed, {free} are free", missing_bytes.div_ceil(KIBIBYTE))
            }
            Self::HostKeyUnknown { fingerprint, .. } => format!("it shows {fingerprint}"),
            Self::HostKeyChanged { found, recorded, place, .. } => {
                format!("it shows {found}\nrecorded is {recorded} ({place})")
            }
            Self::HostKeyRevoked { found, place, .. } => format!("{found} is revoked by {place}"),
            Self::Authentication { tried, methods, .. } => {
                let tried = if tried.is_empty() { "nothing to try".to_owned() } else { tried.join("\n") };
                format!("{tried}\nthe host offers: {methods}")
            }
            Self::NotRoot { output, .. } | Self::Command { output, .. } => output.clone(),
            Self::Failed { failure, .. } => failure.detail.clone().unwrap_or_default(),
            Self::Client { source, .. } => chain(source),
            Self::KnownHosts { source, .. } | Self::Program { source, .. } => source.to_string(),
            Self::Deadline { .. } | Self::PinnedKey { .. } | Self::Architecture { .. } => String::new(),
        };
        (!text.trim().is_empty()).then(|| text.trim_end().to_owned())
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Resolve { .. } => "check the name, or give the IP address".to_owned(),
            Self::Unreachable { .. } => {
                "is the machine on, is sshd running there, does a firewall drop the port?".to_owned()
            }
            // OpenSSH since 9.8: PerSourcePenalties.
            Self::Handshake { reason, .. } if reason.contains("reset by peer") => {
                "after failed logins sshd turns an address away for a while: wait a minute and try again".to_owned()
            }
            Self::Handshake { .. } => {
                "an ed25519 or ECDSA host key and current algorithms are needed (`ssh-keygen -A` on the host)"
                    .to_owned()
            }
            Self::HostKeyUnknown { key, .. } => format!(
                "compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then \
                 write `hostKey: {key}` into the inventory, or pass --accept-new-host-keys"
            ),
            Self::HostKeyChanged { .. } => {
                "was the machine reinstalled? If not, somebody may be in between. If so, remove the recorded key"
                    .to_owned()
            }
            Self::PinnedKey { .. } => "copy the line of /etc/ssh/ssh_host_ed25519_key.pub".to_owned(),
            Self::Identity { reason, .. } if reason.contains("passphrase") => {
                "open it for this session with `ssh-add KEY`, or run naru on a terminal, where it asks".to_owned()
            }
            Self::Identity { .. } => {
                "ed25519, ECDSA and RSA keys are read; `ssh-keygen -p -f KEY` rewrites one of an older format, and an \
                 ssh-agent holds keys with a passphrase open (`ssh-add KEY`)"
                    .to_owned()
            }
            Self::Authentication { user, .. } => {
                format!(
                    "put your public key into ~{user}/.ssh/authorized_keys on the host, or name another key or user"
                )
            }
            Self::NotRoot { user, reason, .. } => not_root_hint(user, *reason),
            Self::Bastion { source, .. } => source.hint().unwrap_or_default(),
            Self::ChannelRefused { .. } => "raise MaxSessions in the host's sshd_config".to_owned(),
            Self::NoSpace { directory, .. } => format!("make room on the file system of {directory}"),
            Self::Failed { failure, .. } => failure.hint.clone().unwrap_or_default(),
            _ => String::new(),
        };
        (!text.is_empty()).then_some(text)
    }
}

fn not_root(user: &str, reason: NotRootReason) -> String {
    match reason {
        NotRootReason::Missing => format!("{user} is not root, and what would make it root is not installed"),
        NotRootReason::PasswordRequired => format!("{user} needs a password to become root"),
        NotRootReason::WrongPassword => format!("the password for {user} to become root is wrong"),
        NotRootReason::TerminalRequired => format!("{user} may become root only on a terminal"),
        NotRootReason::NotAllowed => format!("{user} may not become root"),
        NotRootReason::Other => format!("{user} does not become root"),
    }
}

fn not_root_hint(user: &str, reason: NotRootReason) -> String {
    match reason {
        NotRootReason::Missing => "install sudo or doas, or log in as root".to_owned(),
        NotRootReason::PasswordRequired => format!(
            "give it as `become: {{password: ${{NAME}}}}` under ssh or the host, or let {user} do without (`{user} \
             ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d)"
        ),
        NotRootReason::WrongPassword => "correct what `become.password` refers to".to_owned(),
        NotRootReason::TerminalRequired => {
            format!("write `Defaults:{user} !requiretty` into a file in /etc/sudoers.d")
        }
        NotRootReason::NotAllowed | NotRootReason::Other => {
            format!("add {user} to the group sudo (or wheel), or log in as root")
        }
    }
}

/// An error and all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(cause) = current {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        current = cause.source();
    }
    text
}
