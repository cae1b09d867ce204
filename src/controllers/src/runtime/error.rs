//! The error of every reconcile, and how a caller tells the ordinary ones apart.

/// Why a reconcile failed. The key goes back into the queue with a delay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The world is not ready for it yet; not a failure worth a warning.
    #[error("{0}")]
    Later(String),
    #[error("pod network {0} is not an IPv4 network in CIDR notation")]
    PodNetwork(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    fn reason_is(&self, code: u16, reason: &str) -> bool {
        self.status().is_some_and(|status| status.reason == reason || (status.reason.is_empty() && status.code == code))
    }

    pub fn is_not_found(&self) -> bool {
        self.reason_is(404, "NotFound")
    }

    pub fn is_conflict(&self) -> bool {
        self.reason_is(409, "Conflict")
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason_is(409, "AlreadyExists")
    }

    /// A create was refused because its namespace is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|status| {
            let caused = |details: &kube::core::response::StatusDetails| {
                details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
            };
            status.details.as_ref().is_some_and(caused) || status.message.contains("because it is being terminated")
        })
    }

    /// Others write and delete too, and the queue retries: nothing to tell anybody.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Self::Later(_)) || self.is_conflict() || self.is_not_found() || self.is_namespace_terminating()
    }

    /// The server's own words, without the wrapping that debug output adds.
    pub fn message(&self) -> String {
        match self.status() {
            Some(status) => status.message.clone(),
            None => error_chain(self),
        }
    }
}

/// An error with all its causes on one line, each said once.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16, reason: &str) -> Error {
        let status = kube::core::Status { code, reason: reason.to_owned(), ..kube::core::Status::default() };
        Error::Kube(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn an_object_deleted_meanwhile_is_ordinary_and_a_refusal_is_not() {
        assert!(answered(404, "NotFound").is_ordinary());
        assert!(!answered(403, "Forbidden").is_ordinary());
    }
}
