//! Who gives files to whom: hosts that have one give it to others, a few at a time; what nobody can give goes over the
//! operator's line, a few at a time as well. Whoever finds neither free waits for the first that becomes free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naru_plan::{Action, Plan};
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};

/// Hosts that fetch from one neighbour at the same time.
const FETCHERS_MAX: usize = 4;

/// Where a neighbour gives a file.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) port: u16,
    pub(crate) path: String,
}

type OfferCell = Arc<OnceCell<Offer>>;

pub(crate) struct Exchange {
    state: Mutex<State>,
    changed: Notify,
    offers: Mutex<BTreeMap<(String, String), OfferCell>>,
}

struct State {
    /// Hosts that get a file in this run; any other neighbour that a plan names has it already.
    lacking: BTreeMap<String, BTreeSet<String>>,
    fetchers: BTreeMap<String, usize>,
    /// Neighbours that could not give what they have.
    useless: BTreeSet<String>,
    free_lines: usize,
}

/// Where a file comes from; the place is free again when this is dropped.
pub(crate) struct Source<'a> {
    exchange: &'a Exchange,
    /// None: from here.
    pub(crate) neighbour: Option<String>,
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        let mut state = self.exchange.state.lock();
        match &self.neighbour {
            Some(neighbour) => {
                if let Some(count) = state.fetchers.get_mut(neighbour) {
                    *count -= 1;
                }
            }
            None => state.free_lines += 1,
        }
        drop(state);
        self.exchange.changed.notify_waiters();
    }
}

impl Exchange {
    pub(crate) fn new(plan: &Plan, lines: usize) -> Self {
        let mut lacking: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for step in &plan.steps {
            if let Action::Upload { artifacts, .. } = &step.action {
                for artifact in artifacts {
                    lacking.entry(artifact.sha256.clone()).or_default().insert(step.host.clone());
                }
            }
        }
        let state = State { lacking, fetchers: BTreeMap::new(), useless: BTreeSet::new(), free_lines: lines.max(1) };
        Self { state: Mutex::new(state), changed: Notify::new(), offers: Mutex::default() }
    }

    /// The next free place to get the file from: the neighbour with the fewest others, else the line from here.
    pub(crate) async fn source(&self, sha256: &str, neighbours: &[String], host: &str) -> Source<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From now on no change is missed.
            changed.as_mut().enable();
            if let Some(source) = self.try_source(sha256, neighbours, host) {
                return source;
            }
            changed.await;
        }
    }

    fn try_source(&self, sha256: &str, neighbours: &[String], host: &str) -> Option<Source<'_>> {
        let mut state = self.state.lock();
        let nobody = BTreeSet::new();
        let lacking = state.lacking.get(sha256).unwrap_or(&nobody);
        let able = |name: &&String| *name != host && !lacking.contains(*name) && !state.useless.contains(*name);
        let load = |name: &String| state.fetchers.get(name).copied().unwrap_or(0);
        let best = neighbours.iter().filter(able).min_by_key(|name| load(name));
        let neighbour = best.filter(|name| load(name) < FETCHERS_MAX).cloned();
        match &neighbour {
            Some(neighbour) => *state.fetchers.entry(neighbour.clone()).or_default() += 1,
            None => state.free_lines = state.free_lines.checked_sub(1)?,
        }
        Some(Source { exchange: self, neighbour })
    }

    /// The host can give it from now on.
    pub(crate) fn has(&self, host: &str, sha256: &str) {
        if let Some(lacking) = self.state.lock().lacking.get_mut(sha256) {
            lacking.remove(host);
        }
        self.changed.notify_waiters();
    }

    /// The neighbour is not asked again in this run.
    pub(crate) fn is_useless(&self, neighbour: &str) {
        self.state.lock().useless.insert(neighbour.to_owned());
        self.changed.notify_waiters();
    }

    pub(crate) fn offer(&self, neighbour: &str, sha256: &str) -> OfferCell {
        self.offers.lock().entry((neighbour.to_owned(), sha256.to_owned())).or_default().clone()
    }
}
