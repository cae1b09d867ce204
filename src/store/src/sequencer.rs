//! The one thread that orders writes: it checks conditions, assigns revisions, commits groups, then publishes them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use crate::expiry::Expiry;
use crate::journal::{Journal, Row};
use crate::log::Event;
use crate::memory::{Memory, State};
use crate::model::{Change, Condition, Entry, StoreError, Write};

/// Most writes in one synced batch: bounds the time any one of them waits for the others.
const GROUP_WRITES_MAX: usize = 256;

pub(crate) type Reply = oneshot::Sender<Result<Arc<Entry>, StoreError>>;

pub(crate) struct Command {
    pub(crate) write: Write,
    pub(crate) reply: Reply,
}

pub(crate) struct Sequencer {
    pub(crate) memory: Arc<Memory>,
    pub(crate) journal: Journal,
    pub(crate) expiry: Expiry,
    pub(crate) retention: Duration,
    pub(crate) tick: Duration,
    /// Where the store was at past ticks, oldest first: tells which revision has outlived the retention.
    pub(crate) marks: VecDeque<(Instant, u64)>,
    /// Why no more writes are taken; set once, read by whoever asks for the store's health.
    pub(crate) failed: Arc<OnceLock<Arc<str>>>,
}

/// A group under way: the state it leads to and what has to be written and told.
struct Group {
    state: State,
    rows: Vec<Row>,
    tables: HashMap<Arc<str>, u64>,
    events: HashMap<Arc<str>, Vec<Arc<Event>>>,
    at: Instant,
}

impl Sequencer {
    /// Runs until every handle of the store is gone. Meant for a thread of its own: it blocks on the disk.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = Vec::with_capacity(GROUP_WRITES_MAX);
        loop {
            tokio::select! {
                received = commands.recv_many(&mut waiting, GROUP_WRITES_MAX) => match received {
                    0 => return,
                    _ => self.commit(std::mem::take(&mut waiting)),
                },
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.marks.push_back((now, self.memory.revision()));
        let mut compact_to = 0;
        while let Some((at, revision)) = self.marks.front() {
            if now.duration_since(*at) < self.retention {
                break;
            }
            compact_to = *revision;
            self.marks.pop_front();
        }
        self.memory.compact(compact_to);
        self.expire();
    }

    fn expire(&mut self) {
        let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let overdue = self.expiry.overdue(now_unix_s, GROUP_WRITES_MAX);
        let state = self.memory.state();
        let commands: Vec<Command> = overdue
            .into_iter()
            .filter_map(|(table, key)| {
                let revision = state.tables.get(&table)?.entries.get(&key)?.revision;
                let write =
                    Write { table, key, condition: Condition::Revision(revision), change: Change::Delete(None) };
                Some(Command { write, reply: oneshot::channel().0 })
            })
            .collect();
        if !commands.is_empty() {
            self.commit(commands);
        }
    }

    fn commit(&mut self, commands: Vec<Command>) {
        if let Some(reason) = self.failed.get() {
            let error = StoreError::Failed { reason: Arc::clone(reason) };
            commands.into_iter().for_each(|command| answer(command.reply, Err(error.clone())));
            return;
        }
        let state = State::clone(&self.memory.state());
        let (rows, tables, events) = (Vec::with_capacity(commands.len()), HashMap::new(), HashMap::new());
        let mut group = Group { state, rows, tables, events, at: Instant::now() };
        let mut accepted = Vec::with_capacity(commands.len());
        for command in commands {
            match group.apply(command.write, &mut self.expiry) {
                Ok(entry) => accepted.push((command.reply, entry)),
                Err(error) => answer(command.reply, Err(error)),
            }
        }
        if accepted.is_empty() {
            return;
        }
        match self.journal.commit(&group.rows, group.state.revision, &group.tables) {
            Ok(()) => {
                self.memory.publish(group.state, group.events);
                accepted.into_iter().for_each(|(reply, entry)| answer(reply, Ok(entry)));
            }
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                tracing::error!(%reason, "the store's log cannot be written; no more writes are accepted");
                let reason = Arc::clone(self.failed.get_or_init(|| reason));
                let error = StoreError::Failed { reason };
                accepted.into_iter().for_each(|(reply, _)| answer(reply, Err(error.clone())));
            }
        }
    }
}

/// A client that has gone away no longer waits for its answer; the write stands all the same.
fn answer(reply: Reply, result: Result<Arc<Entry>, StoreError>) {
    if reply.send(result).is_err() {
        tracing::trace!("nobody waits for the result of a write");
    }
}

impl Group {
    fn apply(&mut self, write: Write, expiry: &mut Expiry) -> Result<Arc<Entry>, StoreError> {
        let Write { table, key, condition, change } = write;
        let previous = self.state.tables.get(&table).and_then(|content| content.entries.get(&key)).cloned();
        check(condition, previous.as_ref())?;
        let revision = self.state.revision + 1;
        let (entry, deleted) = match change {
            Change::Put(draft) => (Arc::new(draft.finish(revision)), false),
            Change::Delete(Some(last)) => (Arc::new(last.finish(revision)), true),
            Change::Delete(None) => {
                let last = previous.as_ref().ok_or(StoreError::NotFound)?;
                (Arc::new(last.at_revision(revision)), true)
            }
        };
        self.state.revision = revision;
        let content = self.state.tables.entry(Arc::clone(&table)).or_default();
        content.changed = revision;
        match deleted {
            true => content.entries.remove(&key),
            false => content.entries.insert(Arc::clone(&key), Arc::clone(&entry)),
        };
        let before_unix_s = previous.as_ref().map_or(0, |entry| entry.expires_at_unix_s);
        let after_unix_s = if deleted { 0 } else { entry.expires_at_unix_s };
        expiry.change(&table, &key, before_unix_s, after_unix_s);
        self.tables.insert(Arc::clone(&table), revision);
        let stored = (!deleted).then(|| Arc::clone(&entry));
        self.rows.push(Row { table: Arc::clone(&table), key: Arc::clone(&key), entry: stored });
        let event = Event { revision, key, entry: Arc::clone(&entry), previous, deleted, at: self.at };
        self.events.entry(table).or_default().push(Arc::new(event));
        Ok(entry)
    }
}

fn check(condition: Condition, current: Option<&Arc<Entry>>) -> Result<(), StoreError> {
    match (condition, current) {
        (Condition::Absent, None) => Ok(()),
        (Condition::Absent, Some(_)) => Err(StoreError::AlreadyExists),
        (Condition::Revision(_), None) => Err(StoreError::NotFound),
        (Condition::Revision(expected), Some(entry)) if entry.revision == expected => Ok(()),
        (Condition::Revision(_), Some(entry)) => Err(StoreError::Conflict { current: entry.revision }),
    }
}
