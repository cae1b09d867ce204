//! Which entries are to be removed when (events live an hour), and never more than a stated number of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::memory::State;

type Due = (u64, Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub(crate) struct Expiry {
    due: BTreeSet<Due>,
    entries_max: usize,
}

impl Expiry {
    pub(crate) fn new(state: &State, entries_max: usize) -> Self {
        let mut expiry = Self { due: BTreeSet::new(), entries_max };
        for (table, content) in &state.tables {
            for (key, entry) in &content.entries {
                expiry.change(table, key, 0, entry.expires_at_unix_s);
            }
        }
        expiry
    }

    /// The entry's time changed; 0 stands for never.
    pub(crate) fn change(&mut self, table: &Arc<str>, key: &Arc<str>, before_unix_s: u64, after_unix_s: u64) {
        if before_unix_s != 0 {
            self.due.remove(&(before_unix_s, Arc::clone(table), Arc::clone(key)));
        }
        if after_unix_s != 0 {
            self.due.insert((after_unix_s, Arc::clone(table), Arc::clone(key)));
        }
    }

    /// Table and key of entries past their time or above the limit, oldest first, at most `count_max`.
    pub(crate) fn overdue(&self, now_unix_s: u64, count_max: usize) -> Vec<(Arc<str>, Arc<str>)> {
        let surplus = self.due.len().saturating_sub(self.entries_max);
        self.due
            .iter()
            .enumerate()
            .take_while(|(position, (at, ..))| *position < surplus || *at <= now_unix_s)
            .take(count_max)
            .map(|(_, (_, table, key))| (Arc::clone(table), Arc::clone(key)))
            .collect()
    }
}
