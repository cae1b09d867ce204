//! Why a resource could not be checked or applied, with what a person needs to go on.

use std::io;

/// Signs in the output of a package manager that waiting may help.
const PASSING_TROUBLE: &[&str] = &[
    "Could not get lock",
    "Unable to acquire the dpkg frontend lock",
    "Temporary failure resolving",
    "Failed to fetch",
    "Connection timed out",
    "Connection refused",
    "Connection failed",
    "Could not connect",
    "Unable to connect",
    "Hash Sum mismatch",
    "File has unexpected size",
    "Mirror sync in progress",
    "503  Service Unavailable",
];

const NO_SPACE: &str = "No space left on device";

#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// `fs_err` names the path.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pki(#[from] naru_pki::PkiError),
    #[error("`{program}` is not installed on this host")]
    ProgramMissing { program: String },
    #[error("`{command}` failed ({status})")]
    CommandFailed { command: String, status: String, output: String },
    #[error("`{command}` did not end within {deadline_seconds} s and was stopped")]
    CommandTimedOut { command: String, deadline_seconds: u64, output: String },
    #[error("{unit} did not start")]
    UnitFailed { unit: String, reason: String, journal: Vec<String> },
    #[error("{message}")]
    Refused { message: String, hint: String },
    #[error("stopped before {before}: the connection to naru ended")]
    Stopped { before: String },
    #[error("{message}")]
    Overtaken { message: String },
    #[error("{message}")]
    Passing { message: String },
    #[error("the disk is full: {path} needs {needed_bytes} bytes, {free_bytes} are free")]
    NoSpace { path: String, needed_bytes: u64, free_bytes: u64 },
    #[error("{path} cannot be read as {what}: {reason}")]
    Unreadable { path: String, what: &'static str, reason: String },
}

impl ResourceError {
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into() }
    }

    /// Something that waiting or another attempt may mend.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self::Passing { message: message.into() }
    }

    /// Whether the host's disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io(error) => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            Self::CommandFailed { output, .. } => output.contains(NO_SPACE),
            _ => false,
        }
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::CommandTimedOut { .. } | Self::Stopped { .. } | Self::Passing { .. } => true,
            Self::CommandFailed { output, .. } => PASSING_TROUBLE.iter().any(|sign| output.contains(sign)),
            Self::Io(error) => matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy),
            _ => false,
        }
    }

    /// More lines for those who want to know why.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let text = match self {
            Self::CommandFailed { output, .. } | Self::CommandTimedOut { output, .. } => output.clone(),
            Self::UnitFailed { reason, journal, .. } => {
                let mut lines = vec![reason.clone()];
                lines.extend(journal.iter().cloned());
                lines.retain(|line| !line.trim().is_empty());
                lines.join("\n")
            }
            Self::Pki(error) => causes(error),
            _ => String::new(),
        };
        (!text.trim().is_empty()).then(|| text.trim_end().to_owned())
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ProgramMissing { program } => Some(format!("install the package that brings `{program}`")),
            Self::UnitFailed { unit, .. } => Some(format!("`journalctl -u {unit}` on the host shows the whole log")),
            Self::Refused { hint, .. } if !hint.is_empty() => Some(hint.clone()),
            other if other.is_no_space() => Some("free space on the host's disk".to_owned()),
            Self::CommandFailed { output, .. } if output.contains("Unable to locate package") => {
                Some("check the package sources in /etc/apt on the host".to_owned())
            }
            _ => None,
        }
    }
}

/// The messages of all sources below this error, innermost last.
fn causes(error: &dyn std::error::Error) -> String {
    let mut lines = Vec::new();
    let mut current = error.source();
    while let Some(cause) = current {
        lines.push(cause.to_string());
        current = cause.source();
    }
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_package_manager_passes_and_a_missing_package_does_not() {
        let failed = |output: &str| ResourceError::CommandFailed {
            command: "apt-get install".to_owned(),
            status: "exit status: 100".to_owned(),
            output: output.to_owned(),
        };
        assert!(failed("E: Could not get lock /var/lib/dpkg/lock-frontend").is_transient());
        let missing = failed("E: Unable to locate package nonsense");
        assert!(!missing.is_transient());
        assert!(missing.hint().unwrap().contains("package sources"));
    }
}
