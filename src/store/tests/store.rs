//! The store against a model, under a crash, and as watchers see it.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_store::{Change, Condition, Draft, EmbeddedStore, Index, Indexer, Options, Store, StoreError, Write};
use proptest::prelude::*;

/// Longer than any machine under load takes.
const DEADLINE: Duration = Duration::from_secs(60);
const CRASH_DIRECTORY: &str = "NARU_STORE_TEST_CRASH_DIRECTORY";

fn indexer() -> Indexer {
    Arc::new(|_, _| Index::default())
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&Options::new(path), &indexer()).unwrap()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn draft(text: &str) -> Draft {
    let bytes = format!("{{\"rv\":\"\",\"text\":\"{text}\"}}").into_bytes();
    Draft { bytes, revision_at: 7, index: Index::default(), expires_at_unix_s: 0 }
}

fn put(table: &str, key: &str, condition: Condition, text: &str) -> Write {
    Write { table: table.into(), key: key.into(), condition, change: Change::Put(draft(text)) }
}

fn delete(table: &str, key: &str, revision: u64) -> Write {
    Write {
        table: table.into(),
        key: key.into(),
        condition: Condition::Revision(revision),
        change: Change::Delete(None),
    }
}

#[tokio::test]
async fn revision_is_part_of_the_bytes_and_deletions_carry_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = store.write(put("pods", "a/x", Condition::Absent, "one")).await.unwrap();
    assert_eq!(first.value, "{\"rv\":\"1\",\"text\":\"one\"}");
    for _ in 0..10 {
        let now = store.get("pods", "a/x").unwrap().revision;
        store.write(put("pods", "a/x", Condition::Revision(now), "two")).await.unwrap();
    }
    let mut watcher = store.watch("pods", 10).unwrap();
    let last = store.write(delete("pods", "a/x", 11)).await.unwrap();
    assert_eq!(last.value, "{\"rv\":\"12\",\"text\":\"two\"}");
    let events = watcher.next().await.unwrap();
    assert_eq!(
        events.iter().map(|event| (event.revision, event.deleted)).collect::<Vec<_>>(),
        [(11, false), (12, true)]
    );
    assert_eq!(watcher.revision(), 12);
    assert!(store.get("pods", "a/x").is_none());
}

#[tokio::test]
async fn conditions_are_checked_against_the_newest_state() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.write(put("pods", "a/x", Condition::Absent, "one")).await.unwrap();
    let again = store.write(put("pods", "a/x", Condition::Absent, "two")).await;
    assert_eq!(again, Err(StoreError::AlreadyExists));
    let stale = store.write(put("pods", "a/x", Condition::Revision(9), "two")).await;
    assert_eq!(stale, Err(StoreError::Conflict { current: 1 }));
    assert_eq!(store.write(delete("pods", "a/y", 1)).await, Err(StoreError::NotFound));
    assert_eq!(store.revision(), 1, "refused writes take no revision");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_watchers_see_every_change_once_in_one_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let mut watcher = store.watch("pods", 0).unwrap();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < 1000 {
                    seen.extend(watcher.next().await.unwrap().iter().map(|event| (event.revision, event.key.clone())));
                }
                seen
            })
        })
        .collect();
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..100 {
                    let key = format!("ns/{writer}-{number}");
                    store.write(put("pods", &key, Condition::Absent, "x")).await.unwrap();
                    store.write(put("other", &key, Condition::Absent, "x")).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut orders = Vec::new();
    for watcher in watchers {
        orders.push(watcher.await.unwrap());
    }
    assert!(orders[0].windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(orders.iter().all(|order| *order == orders[0]));
    assert_eq!(store.snapshot("pods").entries.len(), 1000);
}

#[tokio::test]
async fn compaction_expires_lists_and_watches_but_not_quiet_tables() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.retention = Duration::from_millis(50);
    options.tick = Duration::from_millis(10);
    let store = EmbeddedStore::open(&options, &indexer()).unwrap();
    store.write(put("pods", "a/0", Condition::Absent, "x")).await.unwrap();
    let mut behind = store.watch("pods", 1).unwrap();
    for number in 1..5 {
        store.write(put("pods", &format!("a/{number}"), Condition::Absent, "x")).await.unwrap();
    }
    store.write(put("quiet", "q", Condition::Absent, "x")).await.unwrap();
    let expired = StoreError::Expired { requested: 2, oldest: 6 };
    wait_until(|| store.snapshot_at("pods", 2).is_err_and(|error| error == expired)).await;
    assert_eq!(store.snapshot_at("pods", 2).unwrap_err(), expired);
    assert_eq!(store.watch("pods", 4).unwrap_err(), StoreError::Expired { requested: 4, oldest: 5 });
    assert!(behind.take().is_err(), "a watcher that fell behind is told");
    assert!(store.watch("pods", 5).is_ok() && store.watch("quiet", 6).is_ok());
    assert!(matches!(store.watch("pods", 7), Err(StoreError::Future { requested: 7, current: 6 })));
}

#[tokio::test]
async fn expiring_entries_go_by_time_and_by_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.tick = Duration::from_millis(10);
    options.expiring_entries_max = 3;
    let store = EmbeddedStore::open(&options, &indexer()).unwrap();
    let far_unix_s = 4_000_000_000;
    for (key, expires_at_unix_s) in [("past", 1), ("a", far_unix_s), ("b", far_unix_s + 1), ("c", far_unix_s + 2)] {
        let change = Change::Put(Draft { expires_at_unix_s, ..draft("x") });
        let write = Write { table: "events".into(), key: key.into(), condition: Condition::Absent, change };
        store.write(write).await.unwrap();
    }
    let change = Change::Put(Draft { expires_at_unix_s: far_unix_s + 3, ..draft("x") });
    store.write(Write { table: "events".into(), key: "d".into(), condition: Condition::Absent, change }).await.unwrap();
    wait_until(|| store.snapshot("events").entries.len() <= options.expiring_entries_max).await;
    // Some more ticks, which must take nothing else.
    tokio::time::sleep(options.tick * 10).await;
    let left: Vec<String> = store.snapshot("events").entries.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["b", "c", "d"]);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Delete(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => (0..12_u8).prop_map(Step::Put), 4 => (0..12_u8).prop_map(Step::Delete), 1 => Just(Step::Reopen)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every past revision since the last opening can be listed as it was, and a reopened store is the same store.
    #[test]
    fn store_equals_its_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut store = open(directory.path());
            let mut now: BTreeMap<String, u64> = BTreeMap::new();
            let mut past: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(number) => {
                        let key = format!("ns/{number}");
                        let present = now.get(&key).copied();
                        let condition = present.map_or(Condition::Absent, Condition::Revision);
                        let entry = store.write(put("pods", &key, condition, "x")).await.unwrap();
                        now.insert(key, entry.revision);
                    }
                    Step::Delete(number) => {
                        let key = format!("ns/{number}");
                        let Some(revision) = now.remove(&key) else { continue };
                        store.write(delete("pods", &key, revision)).await.unwrap();
                    }
                    Step::Reopen => {
                        let revision = store.revision();
                        drop(store);
                        store = open(directory.path());
                        assert_eq!(store.revision(), revision);
                        past.clear();
                    }
                }
                past.insert(store.revision(), now.clone());
            }
            for (revision, expected) in past {
                let listed = store.snapshot_at("pods", revision).unwrap();
                let listed = listed.entries.iter().map(|(key, entry)| (key.to_string(), entry.revision)).collect();
                assert_eq!(expected, listed);
            }
        });
    }
}

/// Not a test by itself: the process that the next test kills. Prints every acknowledged key.
#[test]
fn crash_child() {
    let Ok(directory) = std::env::var(CRASH_DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(Path::new(&directory)));
        let start = store.revision();
        let writers = (0..16).map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..1_000_000 {
                    let key = format!("ns/{start}-{writer}-{number}");
                    let entry = store.write(put("pods", &key, Condition::Absent, &"x".repeat(2000))).await.unwrap();
                    println!("ACK {key} {}", entry.revision);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

#[test]
fn killed_at_any_moment_keeps_every_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash_child", "--nocapture", "--test-threads=1"])
            .env(CRASH_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for (count, line) in lines.map_while(Result::ok).filter(|line| line.starts_with("ACK ")).enumerate() {
            let mut words = line.split(' ').skip(1);
            // The last line may have been cut short by the kill.
            if let (Some(key), Some(Ok(revision))) = (words.next(), words.next().map(str::parse)) {
                acknowledged.insert(key.to_owned(), revision);
            }
            if count == 200 + 137 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = open(directory.path());
        let lost = acknowledged.keys().filter(|key| store.get("pods", key).is_none()).count();
        assert_eq!(lost, 0, "of {} in round {round}", acknowledged.len());
        assert!(acknowledged.values().all(|revision| *revision <= store.revision()));
    }
    assert!(acknowledged.len() > 1000);
}
