//! A work queue of keys: a key is worked on by one worker at a time, is queued at most once, and comes back after a
//! failure with a delay that doubles from 5 ms to about 16 minutes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Result, Shutdown, Tasks, error_chain, stopped};

const RETRY_FIRST_MS: u64 = 5;
const RETRY_LIMIT: Duration = Duration::from_secs(1000);

struct State<T> {
    ready: VecDeque<T>,
    /// Wanted: in `ready`, or added while being worked on.
    dirty: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    delayed_until: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
}

/// Cheap to clone through an `Arc`; all methods take `&self`.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Clone + Eq + Hash + Debug> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashSet::new(),
                working: HashSet::new(),
                delayed: BTreeMap::new(),
                delayed_until: HashMap::new(),
                failures: HashMap::new(),
                sequence: 0,
            }),
            wake: Notify::new(),
        }
    }
}

impl<T: Clone + Eq + Hash + Debug> State<T> {
    /// True if the key became ready by this.
    fn add(&mut self, key: T) -> bool {
        if !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.delayed_until.remove(&key);
            self.add(key);
        }
    }
}

impl<T: Clone + Eq + Hash + Debug> Queue<T> {
    pub fn add(&self, key: T) {
        if self.state.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Adds the key after a while; of several waits for one key the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.state.lock();
        let until = Instant::now() + delay;
        if let Some(at) = state.delayed_until.get(&key).copied() {
            if at.0 <= until {
                return;
            }
            state.delayed.remove(&at);
        }
        state.sequence += 1;
        let at = (until, state.sequence);
        state.delayed.insert(at, key.clone());
        state.delayed_until.insert(key, at);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds the key after a delay that doubles with every failure since `forget`.
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = retry_delay(*failures);
            *failures = failures.saturating_add(1);
            delay
        };
        self.add_after(key, delay);
    }

    pub fn forget(&self, key: &T) {
        self.state.lock().failures.remove(key);
    }

    pub fn failures(&self, key: &T) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key. It must be given back with `done`.
    pub async fn next(&self) -> T {
        loop {
            let wakeup = {
                let mut state = self.state.lock();
                state.release_due(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.first_key_value().map(|(at, _)| at.0)
            };
            match wakeup {
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Work on the key is over; if it was added meanwhile it becomes ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }
}

fn retry_delay(failures: u32) -> Duration {
    let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
    Duration::from_millis(RETRY_FIRST_MS.saturating_mul(factor)).min(RETRY_LIMIT)
}

/// Starts `count` workers that reconcile keys of the queue until shutdown.
pub fn run_workers<T, F, R>(
    tasks: &mut Tasks,
    controller: &'static str,
    count: usize,
    queue: &Arc<Queue<T>>,
    shutdown: &Shutdown,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send,
{
    for _ in 0..count {
        let queue = Arc::clone(queue);
        let reconcile = reconcile.clone();
        let mut shutdown = shutdown.clone();
        tasks.spawn(async move {
            loop {
                let key = tokio::select! {
                    key = queue.next() => key,
                    () = stopped(&mut shutdown) => return,
                };
                let outcome = reconcile(key.clone()).await;
                settle(controller, &queue, &key, outcome);
                queue.done(&key);
            }
        });
    }
}

fn settle<T: Clone + Eq + Hash + Debug>(controller: &'static str, queue: &Queue<T>, key: &T, outcome: Result<()>) {
    match outcome {
        Ok(()) => queue.forget(key),
        Err(error) => {
            if error.is_ordinary() {
                tracing::debug!(controller, ?key, error = %error.message(), "reconcile again");
            } else {
                tracing::warn!(controller, ?key, error = %error_chain(&error), "reconcile failed");
            }
            queue.add_rate_limited(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_queued_once_and_again_when_added_during_work() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        let key = queue.next().await;
        assert_eq!(key, "a");
        queue.add("a");
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.next()).await.is_err(), "one worker per key");
        queue.done(&key);
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.next()).await.is_err(), "nothing left");
    }

    #[tokio::test]
    async fn the_earliest_delay_wins() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_millis(10));
        queue.add_after("a", Duration::from_secs(30));
        let key = tokio::time::timeout(Duration::from_secs(20), queue.next()).await.expect("due after 10 ms");
        queue.done(&key);
        assert!(tokio::time::timeout(Duration::from_millis(30), queue.next()).await.is_err());
    }

    #[test]
    fn retries_double_up_to_the_limit() {
        assert_eq!(retry_delay(0), Duration::from_millis(5));
        assert_eq!(retry_delay(3), Duration::from_millis(40));
        assert_eq!(retry_delay(17), Duration::from_millis(655_360));
        assert_eq!(retry_delay(18), RETRY_LIMIT);
        assert_eq!(retry_delay(200), RETRY_LIMIT);
    }
}
