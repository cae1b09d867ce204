//! How the program ends: the exit code as a type, and an error as primary, detail, hint.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use naru_execute::{ExecuteError, JournalError};
use naru_inventory::InvalidInventory;
use naru_inventory::edit::EditError;
use naru_observe::{AgentError, Problem};
use naru_plan::Colour;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    /// Something the user gave is wrong; nothing was done.
    UserMistake = 1,
    /// Something that should have been done was not.
    OurFailure = 2,
    /// `plan --detailed-exitcode`: there is something to do.
    Pending = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error as it is shown.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    primary: String,
    detail: Option<String>,
    hint: Option<String>,
    /// Text that is shown as it stands, without `error:`.
    is_whole: bool,
}

impl Failure {
    pub(crate) fn user(primary: impl Into<String>) -> Self {
        Self { exit: Exit::UserMistake, primary: primary.into(), detail: None, hint: None, is_whole: false }
    }

    pub(crate) fn ours(primary: impl Into<String>) -> Self {
        Self { exit: Exit::OurFailure, ..Self::user(primary) }
    }

    /// Our failure with an error and its sources as the detail.
    pub(crate) fn because(primary: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self::ours(primary).detail(chain(error))
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn problem(host: &str, problem: &Problem) -> Self {
        let primary = format!("{host}: {}", problem.primary);
        Self { detail: problem.detail.clone(), hint: problem.hint.clone(), ..Self::ours(primary) }
    }

    pub(crate) fn render(&self, colour: Colour) -> String {
        if self.is_whole {
            return format!("{}\n", self.primary);
        }
        let error = match colour {
            Colour::Always => "\x1b[1;31merror\x1b[0m",
            Colour::Never => "error",
        };
        let mut text = format!("{error}: {}\n", self.primary);
        if let Some(detail) = &self.detail {
            let _ = writeln!(text, "  {}", detail.trim_end().replace('\n', "\n  "));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

/// An error and what caused it, joined by colons.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

impl From<InvalidInventory> for Failure {
    fn from(error: InvalidInventory) -> Self {
        Self { is_whole: true, ..Self::user(error.to_string()) }
    }
}

impl From<naru_machines::Error> for Failure {
    fn from(error: naru_machines::Error) -> Self {
        use naru_machines::Error::{MissingPrograms, NotRoot, Specification, Taken, Unknown};
        let exit = match &error {
            MissingPrograms { .. } | NotRoot | Specification { .. } | Taken { .. } | Unknown { .. } => {
                Exit::UserMistake
            }
            _ => Exit::OurFailure,
        };
        Self { exit, ..Self::ours(chain(&error)) }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::ours(chain(&error)).hint("XDG_STATE_HOME says where journals are kept")
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        let failure = Self::ours(chain(&error));
        match error {
            ExecuteError::Locked { host, detail } => failure
                .detail(format!("{host} says: {}", detail.unwrap_or_else(|| "the lock is held".to_owned())))
                .hint("--wait-for-lock SECONDS waits for it; the lock ends with the other run, however that ends"),
            ExecuteError::NoMajority { problems, .. } => {
                let line = |(host, problem): &(String, Problem)| match &problem.detail {
                    Some(detail) => format!("{host}: {}: {}", problem.primary, detail.replace('\n', "; ")),
                    None => format!("{host}: {}", problem.primary),
                };
                let hint = match problems.first() {
                    Some((host, problem)) => problem.hint.clone().unwrap_or_else(|| format!("naru explain {host}")),
                    None => "an inventory needs a control plane".to_owned(),
                };
                let detail = problems.iter().map(line).collect::<Vec<_>>().join("\n");
                let failure = if detail.is_empty() { failure } else { failure.detail(detail) };
                failure.hint(hint)
            }
            ExecuteError::Interrupted => failure,
        }
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Before(invalid) | EditError::After(invalid) => invalid.into(),
            EditError::Machines => Self::user(chain(&error)).hint("change `count` of a group under spec.machines"),
            _ => Self::user(chain(&error)),
        }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let (detail, hint) = (error.detail().map(str::to_owned), error.hint().map(str::to_owned));
        Self { detail, hint, ..Self::ours(error.to_string()) }
    }
}
