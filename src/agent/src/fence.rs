//! Fences: numbers that grow with every holder of the cluster's lock. A host keeps the highest that it has seen and
//! refuses changes that belong to a lower one, so a holder who lost the lock unnoticed can do no harm.

use fs_err as fs;
use naru_resources::{Host, ResourceError, turn, write_whole};
use serde::{Deserialize, Serialize};

use crate::{Failure, FailureKind, lock};

const FILE: &str = "/var/lib/naru/fence";
const MODE: u32 = 0o600;

/// The highest fence that this host has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) fence: u64,
    /// Who brought it, where the lock was taken over the same connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

/// In whose name a connection makes changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    pub(crate) fence: Option<u64>,
    pub(crate) holds_lock: bool,
}

impl Claim {
    /// Whether a change may be made now. Without a fence it may as long as no other connection holds the lock.
    pub(crate) fn check(&self, host: &Host) -> Result<(), Failure> {
        match self.fence {
            Some(fence) => {
                let seen = highest(host)?;
                if fence < seen.fence { Err(refusal(fence, &seen)) } else { Ok(()) }
            }
            None if self.holds_lock => Ok(()),
            None => lock::holder(host).map_or(Ok(()), Err),
        }
    }

    /// The same between the resources of one request.
    pub(crate) fn guard(&self, host: &Host) -> Result<(), ResourceError> {
        self.check(host).map_err(|failure| ResourceError::Overtaken { message: failure.message })
    }
}

pub(crate) fn highest(host: &Host) -> Result<Seen, Failure> {
    let bytes = match fs::read(host.path(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Seen::default()),
        Err(error) => return Err(broken(&error)),
    };
    serde_json::from_slice(&bytes).map_err(|error| broken(&error))
}

/// Takes note of a fence; a lower one than the highest is refused, and so is the highest itself if another holder of
/// the lock has brought it: whoever slept through the loss of the lock may come with what is somebody else's by now.
pub(crate) fn raise(host: &Host, fence: u64, owner: Option<&str>) -> Result<(), Failure> {
    let _turn = turn(&host.path(FILE)).map_err(|error| broken(&error))?;
    let seen = highest(host)?;
    let is_anothers = fence == seen.fence && owner.zip(seen.owner.as_deref()).is_some_and(|(one, other)| one != other);
    if fence < seen.fence || is_anothers {
        return Err(refusal(fence, &seen));
    }
    let now = Seen { fence, owner: owner.map(str::to_owned) };
    if fence == seen.fence && (owner.is_none() || now == seen) {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&now).map_err(|error| broken(&error))?;
    write_whole(&host.path(FILE), MODE, &bytes).map_err(|error| broken(&error))
}

fn refusal(fence: u64, seen: &Seen) -> Failure {
    let by = seen.owner.as_ref().map_or_else(|| "another run of naru".to_owned(), Clone::clone);
    Failure {
        kind: FailureKind::Fenced,
        message: format!("{by} has taken over the changes of this cluster"),
        detail: Some(format!("this run has fence {fence}, the host has seen {}", seen.fence)),
        hint: Some("run naru again: it waits for its turn and sees what the other has done".to_owned()),
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        message: "the highest fence of this host cannot be read or kept".to_owned(),
        detail: Some(error.to_string()),
        hint: Some(format!("look at {FILE} on the host; it may be removed while nobody else runs naru")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Lock;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_only_grows_and_is_kept_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        assert_eq!(highest(&host).unwrap().fence, 0);
        raise(&host, 5, Some("ann")).unwrap();
        raise(&host, 5, None).unwrap();
        let refused = raise(&host, 4, Some("bob")).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Fenced);
        assert!(refused.message.starts_with("ann has taken over"), "{}", refused.message);
        assert!(raise(&host, 5, Some("bob")).is_err(), "two holders under one fence");
        raise(&host, 5, Some("ann")).unwrap();
        assert_eq!(highest(&host).unwrap(), Seen { fence: 5, owner: Some("ann".to_owned()) });
        assert_eq!(fs::metadata(host.path(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_claim_ends_when_a_higher_fence_comes_and_one_without_a_fence_when_another_locks() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let (old, nameless) = (Claim { fence: Some(1), holds_lock: false }, Claim::default());
        raise(&host, 1, None).unwrap();
        assert!(old.check(&host).is_ok() && nameless.check(&host).is_ok());
        let _lock = Lock::take(&host, "bob").unwrap();
        assert_eq!(nameless.check(&host).unwrap_err().kind, FailureKind::Locked);
        assert!(Claim { fence: None, holds_lock: true }.check(&host).is_ok());
        assert!(old.check(&host).is_ok());
        raise(&host, 2, Some("bob")).unwrap();
        assert_eq!(old.check(&host).unwrap_err().kind, FailureKind::Fenced);
        assert!(matches!(old.guard(&host), Err(ResourceError::Overtaken { .. })));
    }

    #[test]
    fn what_cannot_be_read_allows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        write_whole(&host.path(FILE), MODE, b"{").unwrap();
        assert!(raise(&host, 9, None).is_err());
        assert!(Claim { fence: Some(9), holds_lock: true }.check(&host).is_err());
    }

    #[test]
    fn many_at_once_leave_the_highest() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        std::thread::scope(|scope| {
            for fence in 1..=16 {
                let host = &host;
                scope.spawn(move || drop(raise(host, fence, None)));
            }
        });
        assert_eq!(highest(&host).unwrap().fence, 16);
    }
}
