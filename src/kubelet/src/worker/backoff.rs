//! Doubling delays between restarts and between pulls.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(300);
/// A container that ran this long starts over with the first delay.
const FORGET_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    delay: Duration,
    updated: Option<Instant>,
}

impl Backoff {
    /// What is left of the delay that began with the last `bump`.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.updated?);
        self.delay.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// What is left of the delay if it began `elapsed` ago.
    pub(crate) fn remaining_after(&self, elapsed: Duration) -> Option<Duration> {
        self.updated?;
        self.delay.checked_sub(elapsed).filter(|left| !left.is_zero())
    }

    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    pub(crate) fn bump(&mut self, now: Instant) {
        let stale = self.updated.is_none_or(|at| now.saturating_duration_since(at) > FORGET_AFTER);
        self.delay = if stale { FIRST } else { (self.delay * 2).min(MOST) };
        self.updated = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_forgets() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining_after(Duration::ZERO), None, "the first restart is immediate");
        backoff.bump(start);
        assert_eq!(backoff.remaining_after(Duration::from_secs(4)), Some(Duration::from_secs(6)));
        for _ in 0..8 {
            backoff.bump(start);
        }
        assert_eq!(backoff.delay(), MOST);
        backoff.bump(start + FORGET_AFTER + Duration::from_secs(1));
        assert_eq!(backoff.delay(), FIRST);
    }
}
