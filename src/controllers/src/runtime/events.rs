//! Event objects, aggregated and bounded: the same event again raises `count`, and no object may flood the server.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Error, Shutdown, Tasks, error_chain, meta, stopped};

const PENDING_LIMIT: usize = 1024;
const REMEMBERED_LIMIT: usize = 2048;
const BURST_PER_OBJECT: f64 = 25.0;
const REFILL_PER_S: f64 = 1.0 / 300.0;
const AGGREGATE_FOR: Duration = Duration::from_secs(600);
const MESSAGE_LIMIT: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

impl EventKind {
    fn text(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone)]
pub struct Subject(ObjectReference);

impl Subject {
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        })
    }

    /// Node events carry the node's name as UID, as kubectl describe expects of kubelet's events.
    pub fn node(name: &str) -> Self {
        Self(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(name.into()),
            uid: Some(name.into()),
            ..ObjectReference::default()
        })
    }
}

struct Note {
    component: &'static str,
    subject: Subject,
    kind: EventKind,
    reason: &'static str,
    message: String,
}

/// Hands events to one writer task; never blocks, drops when the writer is far behind.
#[derive(Clone)]
pub struct Recorder {
    component: &'static str,
    sender: mpsc::Sender<Note>,
}

impl Recorder {
    pub fn start(component: &'static str, client: &Client, tasks: &mut Tasks, shutdown: &Shutdown) -> Self {
        let (sender, mut notes) = mpsc::channel::<Note>(PENDING_LIMIT);
        let client = client.clone();
        let mut shutdown = shutdown.clone();
        let memory = Arc::new(Mutex::new(Memory::default()));
        tasks.spawn(async move {
            loop {
                let note = tokio::select! {
                    note = notes.recv() => note,
                    () = stopped(&mut shutdown) => return,
                };
                let Some(note) = note else { return };
                if let Err(error) = write(&client, &memory, note).await {
                    tracing::debug!(error = %error_chain(&error), "event not written");
                }
            }
        });
        Self { component, sender }
    }

    /// The same writer under another component's name.
    #[must_use]
    pub fn named(&self, component: &'static str) -> Self {
        Self { component, sender: self.sender.clone() }
    }

    pub fn event(&self, subject: Subject, kind: EventKind, reason: &'static str, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MESSAGE_LIMIT {
            let end = (0..=MESSAGE_LIMIT).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        let note = Note { component: self.component, subject, kind, reason, message };
        if self.sender.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

struct Written {
    namespace: String,
    name: String,
    count: i32,
    at: Instant,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// What was written lately. Oldest entries leave first.
#[derive(Default)]
struct Memory {
    written: HashMap<String, Written>,
    written_order: VecDeque<String>,
    buckets: HashMap<String, Bucket>,
}

impl Memory {
    /// Takes one of the object's tokens; false when it has none left.
    fn admit(&mut self, object: &str, now: Instant) -> bool {
        if self.buckets.len() >= REMEMBERED_LIMIT {
            self.buckets.retain(|_, bucket| now.duration_since(bucket.at) < AGGREGATE_FOR);
            if self.buckets.len() >= REMEMBERED_LIMIT {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(object.to_owned()).or_insert(Bucket { tokens: BURST_PER_OBJECT, at: now });
        let refill = now.duration_since(bucket.at).as_secs_f64() * REFILL_PER_S;
        bucket.tokens = (bucket.tokens + refill).min(BURST_PER_OBJECT);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn remember(&mut self, key: String, written: Written) {
        if self.written.insert(key.clone(), written).is_none() {
            self.written_order.push_back(key);
        }
        while self.written_order.len() > REMEMBERED_LIMIT {
            if let Some(oldest) = self.written_order.pop_front() {
                self.written.remove(&oldest);
            }
        }
    }
}

async fn write(client: &Client, memory: &Mutex<Memory>, note: Note) -> Result<(), Error> {
    let reference = &note.subject.0;
    let object = format!(
        "{}/{}/{}/{}",
        note.component,
        reference.kind.as_deref().unwrap_or_default(),
        reference.namespace.as_deref().unwrap_or_default(),
        reference.uid.as_deref().or(reference.name.as_deref()).unwrap_or_default()
    );
    let key = format!("{object}/{}/{}/{}", note.kind.text(), note.reason, note.message);
    let again = {
        let mut memory = memory.lock();
        if !memory.admit(&object, Instant::now()) {
            return Ok(());
        }
        memory.written.get_mut(&key).filter(|written| written.at.elapsed() < AGGREGATE_FOR).map(|written| {
            written.count = written.count.saturating_add(1);
            written.at = Instant::now();
            (written.namespace.clone(), written.name.clone(), written.count)
        })
    };
    if let Some((namespace, name, count)) = again {
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let patch = json!({"count": count, "lastTimestamp": meta::now()});
        match events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::from) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let event = build(&note);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let name = event.metadata.name.clone().unwrap_or_default();
    Api::<Event>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await?;
    memory.lock().remember(key, Written { namespace, name, count: 1, at: Instant::now() });
    Ok(())
}

fn build(note: &Note) -> Event {
    let reference = note.subject.0.clone();
    let namespace = reference.namespace.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let name = format!("{}.{:016x}", reference.name.as_deref().unwrap_or_default(), rand::random::<u64>());
    Event {
        metadata: ObjectMeta { namespace: Some(namespace), name: Some(name), ..ObjectMeta::default() },
        involved_object: reference,
        type_: Some(note.kind.text().into()),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
        count: Some(1),
        first_timestamp: Some(meta::now()),
        last_timestamp: Some(meta::now()),
        source: Some(EventSource { component: Some(note.component.into()), host: None }),
        reporting_component: Some(note.component.into()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_may_not_flood() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let admitted = (0..100).filter(|_| memory.admit("pod", start)).count();
        assert_eq!(admitted, 25);
        assert!(memory.admit("other", start));
        assert!(!memory.admit("pod", start + Duration::from_secs(200)));
        assert!(memory.admit("pod", start + Duration::from_secs(301)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for index in 0..REMEMBERED_LIMIT * 2 {
            let written = Written { namespace: String::new(), name: String::new(), count: 1, at: Instant::now() };
            memory.remember(format!("{index}"), written);
            memory.admit(&format!("{index}"), Instant::now());
        }
        assert_eq!(memory.written.len(), REMEMBERED_LIMIT);
        assert!(memory.buckets.len() <= REMEMBERED_LIMIT);
    }
}
