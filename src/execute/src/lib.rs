//! The executor: runs a plan's graph with bounded parallelism, a deadline for each step, retries for what can pass,
//! a lock on control-plane hosts, a journal, and one stream of events. A failed step stops what depends on it and
//! nothing else. There is no state besides the hosts: killed at any moment and run again, it converges.

mod actions;
mod event;
mod executor;
mod graph;
pub mod journal;
mod lock;
mod random;
mod run;
mod step;
mod world;

pub use actions::hook::{Commands, Shell};
pub use event::{Event, Finish, Sink, StepError};
pub use executor::{Executor, Limits, Outcome, ProgramFiles, Stopped};
pub use journal::{Header, Journal, JournalError, cluster_folder};
pub use lock::{ExecuteError, Held};
pub use random::Random;

#[cfg(test)]
mod tests;
