//! What a controller did and has not yet seen in its cache: until then it must not act on the cache again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ObjectKey;

/// A lost watch event must not stop a controller for ever.
const EXPIRY: Duration = Duration::from_secs(300);

struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

#[derive(Default)]
pub struct Expectations {
    by_key: Mutex<HashMap<ObjectKey, Expected>>,
}

impl Expectations {
    pub fn satisfied(&self, key: &ObjectKey) -> bool {
        self.by_key.lock().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > EXPIRY
        })
    }

    pub fn expect_creations(&self, key: &ObjectKey, creations: usize) {
        let expected = Expected { creations, deletions: HashSet::new(), since: Instant::now() };
        self.by_key.lock().insert(key.clone(), expected);
    }

    pub fn expect_deletions(&self, key: &ObjectKey, uids: HashSet<String>) {
        let expected = Expected { creations: 0, deletions: uids, since: Instant::now() };
        self.by_key.lock().insert(key.clone(), expected);
    }

    pub fn creation_observed(&self, key: &ObjectKey) {
        if let Some(expected) = self.by_key.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    pub fn deletion_observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(expected) = self.by_key.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.by_key.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsatisfied_until_everything_was_seen() {
        let expectations = Expectations::default();
        let key = ObjectKey::new("n", "rs");
        assert!(expectations.satisfied(&key));
        expectations.expect_creations(&key, 2);
        expectations.creation_observed(&key);
        assert!(!expectations.satisfied(&key));
        expectations.creation_observed(&key);
        expectations.creation_observed(&key);
        assert!(expectations.satisfied(&key));
        expectations.expect_deletions(&key, HashSet::from(["u1".to_owned()]));
        expectations.deletion_observed(&key, "u2");
        assert!(!expectations.satisfied(&key));
        expectations.deletion_observed(&key, "u1");
        assert!(expectations.satisfied(&key));
    }
}
