//! What can go wrong, and when.

use std::fmt;

/// One fault of a run: at the n-th point of an operator, counted from zero. Points are where something can go wrong:
/// a connection is opened, a request leaves, a host is about to make a small change, an answer arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at_point: u64,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The operator's process dies; its connections close at once.
    Kill,
    /// The operator's process dies and its hosts notice only so much later.
    KillUnnoticed { after_ms: u64 },
    /// The operator's process stands still for ever and keeps its connections.
    Freeze,
    /// The operator's process stands still for a while and goes on as if nothing had been.
    Pause { for_ms: u64 },
    /// The request is lost, and the connection with it.
    DropRequest,
    /// The request is carried out, the answer is lost, and the connection with it.
    DropAnswer,
    /// The answer never comes, and the connection seems to live.
    SwallowAnswer,
    /// The agent says that it failed: for now, or for good.
    Fail { is_transient: bool },
    /// The agent's process dies in the midst of what it does.
    CrashAgent,
    /// The host's power goes and comes back.
    Reboot,
    /// The host's power goes.
    PowerOff,
    /// The disk is full from now on.
    FillDisk,
    /// Everything on the disk takes so many times as long.
    SlowDisk { factor: u64 },
    /// The host's clock jumps.
    Skew { seconds: i64 },
    /// The operator and other hosts do not reach this host for a while.
    Isolate { for_ms: u64 },
    /// The host gives wrong bytes to neighbours that fetch artifacts from it.
    Lie,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} at point {}", self.kind, self.at_point)
    }
}
