//! What an operator may set of the API server, with upstream's defaults.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// How long core Events live.
    pub event_ttl: Duration,
    /// Requests other than watches and streams end within this time.
    pub request_timeout: Duration,
    /// A watch that names no timeout ends after this at the earliest, and after twice this at the latest.
    pub watch_timeout_min_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            event_ttl: Duration::from_secs(3_600),
            request_timeout: Duration::from_secs(60),
            watch_timeout_min_seconds: 1_800,
        }
    }
}
