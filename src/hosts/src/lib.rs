//! Reaching a host: SSH with strict host keys, one session per host (through bastions where need be), and the agent
//! at its far end.

mod address;
mod agent_program;
mod algorithms;
mod channel;
mod connection;
mod dialer;
mod elevation;
mod error;
mod host_key;
mod keys;
mod known_hosts;
mod link;
mod login;
mod resolve;
mod rsa;
mod session;
mod ssh_config;

pub use address::{Credentials, Deadlines, HostAddress, HostKeyPolicy, Route};
pub use agent_program::AgentProgram;
pub use connection::Connection;
pub use dialer::{Dialer, TrafficCount};
pub use elevation::{Elevation, ElevationMethod};
pub use error::{HostError, HostErrorKind, NotRootReason};
pub use host_key::scan_host_key;
pub use keys::PassphrasePrompt;
pub use known_hosts::KnownHosts;
pub use link::HostLink;
pub use session::{ExecOutput, HostEvent, Session};
pub use ssh_config::{HostConfig, Jump, SshConfig};
