//! The verbs, one file each.

pub(crate) mod apply;
pub(crate) mod explain_field;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod kubeconfig;
pub(crate) mod logs;
pub(crate) mod machines;
pub(crate) mod plan;
pub(crate) mod ssh;
pub(crate) mod status;

use std::io::Write;

use crate::cli::Terminal;
use crate::exit::{Exit, Failure};

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

/// Whether the operator wants it: `--yes`, no terminal to ask on, or an answer.
pub(crate) fn agreed(question: &str, yes: bool, terminal: Terminal) -> Result<bool, Failure> {
    if yes || !terminal.can_ask {
        return Ok(true);
    }
    tell(&format!("\n{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::because("no answer", &error))?;
    let agreed = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !agreed {
        tell("Nothing was changed.\n");
    }
    Ok(agreed)
}
