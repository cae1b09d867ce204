//! Pods that wait for a node: ready ones by priority and age, others for their back-off or for the world to change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::PodInfo;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);
/// An unschedulable pod is tried again after this even if nothing seems to have changed.
const UNSCHEDULABLE_LIMIT: Duration = Duration::from_secs(300);

type Rank = (Reverse<i32>, Option<Timestamp>, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready(Rank),
    /// Ready at this time.
    BackOff(Instant),
    /// Waits for a change; tried anyway at this time.
    Unschedulable(Instant),
    /// Being scheduled, or gated.
    Out,
}

struct Waiting {
    pod: Arc<PodInfo>,
    attempts: u32,
    /// Not before this time, whatever changes.
    not_before: Instant,
    place: Place,
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: HashMap<String, Waiting>,
    ready: BTreeSet<(Rank, String)>,
    timed: BTreeMap<(Instant, u64), String>,
    timed_key: HashMap<String, (Instant, u64)>,
    sequence: u64,
}

impl Queue {
    /// A pod that is new, or whose own change may make it schedulable.
    pub(crate) fn put(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        let gated = pod.gated;
        let (attempts, not_before) = match self.waiting.get(&uid) {
            Some(known) => (known.attempts, known.not_before),
            None => (0, Instant::now()),
        };
        self.leave_place(&uid);
        self.waiting.insert(uid.clone(), Waiting { pod, attempts, not_before, place: Place::Out });
        if !gated {
            self.wake(&uid);
        }
    }

    /// Keeps its place: nothing about the pod changed that matters here.
    pub(crate) fn refresh(&mut self, pod: Arc<PodInfo>) {
        if let Some(waiting) = self.waiting.get_mut(&pod.uid) {
            waiting.pod = pod;
        }
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.waiting.get(uid).map(|waiting| &waiting.pod)
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        self.leave_place(uid);
        self.waiting.remove(uid);
    }

    pub(crate) fn uids(&self) -> Vec<String> {
        self.waiting.keys().cloned().collect()
    }

    /// The most important pod that is ready; it stays known until removed or put back.
    pub(crate) fn pop(&mut self) -> Option<Arc<PodInfo>> {
        self.release_due(Instant::now());
        let (_, uid) = self.ready.pop_first()?;
        let waiting = self.waiting.get_mut(&uid)?;
        waiting.place = Place::Out;
        waiting.attempts = waiting.attempts.saturating_add(1);
        Some(waiting.pod.clone())
    }

    /// No node fits: wait until something changes.
    pub(crate) fn park(&mut self, uid: &str) {
        let now = Instant::now();
        if let Some(waiting) = self.waiting.get_mut(uid) {
            waiting.not_before = now + back_off(waiting.attempts);
            self.set_timer(uid, now + UNSCHEDULABLE_LIMIT, Place::Unschedulable(now + UNSCHEDULABLE_LIMIT));
        }
    }

    /// Something failed that may work later.
    pub(crate) fn retry(&mut self, uid: &str) {
        let now = Instant::now();
        if let Some(waiting) = self.waiting.get_mut(uid) {
            let at = now + back_off(waiting.attempts);
            waiting.not_before = at;
            self.set_timer(uid, at, Place::BackOff(at));
        }
    }

    /// The world changed: parked pods that `concerned` picks may fit now.
    pub(crate) fn wake_parked(&mut self, concerned: impl Fn(&PodInfo) -> bool) {
        let parked = |waiting: &&Waiting| matches!(waiting.place, Place::Unschedulable(_)) && concerned(&waiting.pod);
        let uids: Vec<String> = self.waiting.values().filter(parked).map(|waiting| waiting.pod.uid.clone()).collect();
        for uid in uids {
            self.leave_place(&uid);
            self.wake(&uid);
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.timed.first_key_value().map(|((at, _), _)| *at)
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(((at, _), uid)) = self.timed.first_key_value() {
            if *at > now {
                break;
            }
            let uid = uid.clone();
            self.leave_place(&uid);
            self.wake(&uid);
        }
    }

    fn wake(&mut self, uid: &str) {
        let now = Instant::now();
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        if waiting.not_before > now {
            let at = waiting.not_before;
            return self.set_timer(uid, at, Place::BackOff(at));
        }
        self.sequence += 1;
        let rank = (Reverse(waiting.pod.priority), waiting.pod.created, self.sequence);
        waiting.place = Place::Ready(rank);
        self.ready.insert((rank, uid.to_owned()));
    }

    fn set_timer(&mut self, uid: &str, at: Instant, place: Place) {
        self.leave_place(uid);
        self.sequence += 1;
        let key = (at, self.sequence);
        self.timed.insert(key, uid.to_owned());
        self.timed_key.insert(uid.to_owned(), key);
        if let Some(waiting) = self.waiting.get_mut(uid) {
            waiting.place = place;
        }
    }

    fn leave_place(&mut self, uid: &str) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        if let Place::Ready(rank) = waiting.place {
            self.ready.remove(&(rank, uid.to_owned()));
        }
        waiting.place = Place::Out;
        if let Some(key) = self.timed_key.remove(uid) {
            self.timed.remove(&key);
        }
    }
}

/// 1, 2, 4, 8, 10, 10… seconds.
fn back_off(attempts: u32) -> Duration {
    let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, priority: i32) -> Arc<PodInfo> {
        let value = json!({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [], "priority": priority}});
        Arc::new(PodInfo::from_pod(serde_json::from_value(value).unwrap()))
    }

    #[tokio::test]
    async fn priority_first_then_arrival() {
        let mut queue = Queue::default();
        queue.put(pod("a", 0));
        queue.put(pod("b", 0));
        queue.put(pod("c", 10));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|pod| pod.uid.clone()).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn parked_pods_wake_by_change_but_not_before_their_back_off() {
        let mut queue = Queue::default();
        queue.put(pod("a", 0));
        queue.pop().unwrap();
        queue.park("a");
        assert!(queue.pop().is_none());
        queue.wake_parked(|_| true);
        assert!(queue.pop().is_none(), "back-off of a second");
        let wait = queue.next_wake().expect("has a timer").duration_since(Instant::now());
        assert!(wait <= BACKOFF_FIRST && wait > Duration::from_millis(500), "{wait:?}");
        queue.remove("a");
        assert!(queue.next_wake().is_none());
    }

    #[test]
    fn back_off_doubles_to_ten_seconds() {
        let seconds: Vec<u64> = (1..=6).map(|attempts| back_off(attempts).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
        assert_eq!(back_off(100), BACKOFF_LIMIT);
    }
}
