//! Reaching a host: SSH with strict host keys, one connection per host, and the agent at its far end.

mod address;
mod agent_program;
mod connection;
mod error;
mod host_key;
mod known_hosts;
mod resolve;
mod session;

pub use address::{Credentials, Deadlines, HostAddress, HostKeyPolicy};
pub use agent_program::AgentProgram;
pub use connection::Connection;
pub use error::{HostError, HostErrorKind};
pub use host_key::scan_host_key;
pub use known_hosts::KnownHosts;
pub use session::{ExecOutput, Session};
