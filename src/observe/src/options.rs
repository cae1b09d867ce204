//! What an observation looks at, how much of it at once, and by which clock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

/// The operator's clock, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Hosts that are probed at the same time, where nothing else is said.
const PARALLELISM: usize = 256;
/// Descriptors that one host may need at a time: its connection, a bastion's, a key that is read.
const DESCRIPTORS_PER_HOST: u64 = 3;
/// Descriptors for everything else that the program has open.
const DESCRIPTORS_KEPT_BACK: u64 = 64;

#[derive(Clone)]
pub struct ObserveOptions {
    /// Hosts that are probed at the same time.
    pub parallelism: usize,
    /// Whether hosts that are going to be set up try to reach the others.
    pub preflight: bool,
    pub pods: Pods,
    pub clock: Clock,
}

/// Of which nodes the pods are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pods {
    /// Those that a plan may drain.
    #[default]
    WhereNeeded,
    Everywhere,
}

impl Default for ObserveOptions {
    fn default() -> Self {
        Self { parallelism: PARALLELISM, preflight: true, pods: Pods::WhereNeeded, clock: Arc::new(system_clock) }
    }
}

fn system_clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// How connections fit into the descriptors that this process may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Hosts at a time.
    pub(crate) parallelism: usize,
    /// Whether connections to all hosts can stay open until they are used again.
    pub(crate) keeps_connections: bool,
}

impl Room {
    pub(crate) fn of(options: &ObserveOptions, hosts: usize) -> Self {
        Self::within(getrlimit(Resource::Nofile).current, options.parallelism, hosts)
    }

    fn within(limit: Option<u64>, parallelism: usize, hosts: usize) -> Self {
        let free = limit.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_KEPT_BACK);
        let at_once = usize::try_from(free / DESCRIPTORS_PER_HOST).unwrap_or(usize::MAX);
        Self {
            parallelism: parallelism.min(at_once).max(1),
            keeps_connections: u64::try_from(hosts).is_ok_and(|hosts| hosts <= free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_what_may_be_open() {
        let room = |limit, hosts| Room::within(limit, 256, hosts);
        assert_eq!(room(None, 5_000), Room { parallelism: 256, keeps_connections: true });
        assert_eq!(room(Some(256), 1_000), Room { parallelism: 64, keeps_connections: false });
        assert_eq!(room(Some(256), 100), Room { parallelism: 64, keeps_connections: true });
        assert_eq!(room(Some(10), 3), Room { parallelism: 1, keeps_connections: false });
    }
}
