//! The verbs, one file each.

pub(crate) mod apply;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod explain_field;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod journal;
pub(crate) mod kubeconfig;
pub(crate) mod logs;
pub(crate) mod machines;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod reset;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod upgrade;

use std::io::Write;

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// How data is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    /// One JSON document on standard output.
    Json,
}

/// A document for standard output.
pub(crate) fn json(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("what verbs show is plain data with text keys") + "\n"
}

/// Data for standard output.
pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Done),
        // `naru plan | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::because("standard output cannot be written", &error)),
    }
}

/// Everything else, for standard error.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
