//! Where hosts come from: the [`Provider`] trait, hosts the user lists ([`Given`]), and machines made on this
//! computer out of systemd-nspawn ([`local::Local`]).
//!
//! Everything here blocks the calling thread: the work is running programs and waiting for them. Asynchronous callers
//! wrap a call in `tokio::task::spawn_blocking`.

mod command;
mod error;
pub mod local;
mod lock;
mod provider;
mod spec;
pub mod test_images;

pub use error::Error;
pub use provider::{Given, GivenHost, Progress, Provider};
pub use spec::{ClusterSpec, Group, ImageSpec, Machine, Power, Release, Role};

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
