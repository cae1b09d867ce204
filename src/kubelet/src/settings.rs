//! What an operator may set of the kubelet, with upstream's defaults.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Pods that may run here.
    pub max_pods: u32,
    /// Kept back for the system: not to be given to pods.
    pub system_reserved: Reserved,
    /// Size at which a container's log is closed and the next one begun.
    pub container_log_max_bytes: u64,
    /// Log files of a container: the current one and the rotated ones together.
    pub container_log_max_files: usize,
    /// How often the node is looked at; what has changed is sent.
    pub node_status_update: Duration,
    /// How often its status is sent although nothing has changed.
    pub node_status_report: Duration,
    /// Ordinary calls of the runtime.
    pub runtime_request_timeout: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    pub cpu_milli: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_pods: 110,
            system_reserved: Reserved::default(),
            container_log_max_bytes: 10 << 20,
            container_log_max_files: 5,
            node_status_update: Duration::from_secs(10),
            node_status_report: Duration::from_secs(300),
            runtime_request_timeout: Duration::from_secs(120),
        }
    }
}
