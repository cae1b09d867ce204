//! Events: sent in the background, repeated ones counted on the same object.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

/// Beyond this many waiting events new ones are dropped: pods matter more.
const QUEUE_LIMIT: usize = 512;
/// Remembered events, for counting repetitions.
const MEMORY_LIMIT: usize = 1024;
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

struct Note {
    object: ObjectReference,
    kind: Kind,
    reason: &'static str,
    message: String,
}

#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Note>,
}

impl Recorder {
    pub(crate) fn start(client: Client, node_name: &str) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_LIMIT);
        tokio::spawn(send_all(client, node_name.to_owned(), receiver));
        Self { queue }
    }

    pub(crate) fn pod(&self, pod: &Pod, kind: Kind, reason: &'static str, message: impl Into<String>) {
        self.send(pod_reference(pod, None), kind, reason, message.into());
    }

    /// `field` says which container: `spec.containers{web}`.
    pub(crate) fn container(&self, pod: &Pod, field: &str, kind: Kind, reason: &'static str, message: String) {
        self.send(pod_reference(pod, Some(field.to_owned())), kind, reason, message);
    }

    pub(crate) fn node(&self, node_name: &str, kind: Kind, reason: &'static str, message: String) {
        let object = ObjectReference {
            kind: Some("Node".into()),
            name: Some(node_name.into()),
            // Upstream kubelets say the name here, and `kubectl describe node` selects by it.
            uid: Some(node_name.into()),
            ..Default::default()
        };
        self.send(object, kind, reason, message);
    }

    fn send(&self, object: ObjectReference, kind: Kind, reason: &'static str, message: String) {
        if self.queue.try_send(Note { object, kind, reason, message }).is_err() {
            tracing::debug!(reason, "event dropped: the queue is full");
        }
    }
}

fn pod_reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

type Key = (String, String, Kind, &'static str, String);

struct Sent {
    name: String,
    count: i32,
}

async fn send_all(client: Client, node_name: String, mut queue: mpsc::Receiver<Note>) {
    let mut memory: HashMap<Key, Sent> = HashMap::new();
    while let Some(note) = queue.recv().await {
        if memory.len() >= MEMORY_LIMIT {
            memory.clear();
        }
        let sending = send_one(&client, &node_name, &mut memory, note);
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = crate::error_chain(&error), "event not recorded"),
            Err(_) => tracing::debug!("event not recorded in time"),
        }
    }
}

async fn send_one(
    client: &Client,
    node_name: &str,
    memory: &mut HashMap<Key, Sent>,
    note: Note,
) -> Result<(), kube::Error> {
    let namespace = note.object.namespace.clone().unwrap_or_else(|| "default".into());
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let now = Time(jiff::Timestamp::now());
    let key = (
        note.object.uid.clone().unwrap_or_default(),
        note.object.field_path.clone().unwrap_or_default(),
        note.kind,
        note.reason,
        note.message.clone(),
    );
    if let Some(sent) = memory.get_mut(&key) {
        let patch = serde_json::json!({"count": sent.count + 1, "lastTimestamp": now});
        match api.patch(&sent.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                sent.count += 1;
                return Ok(());
            }
            // It has expired on the server: make a new one.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let suffix = format!("{:x}{:04x}", now.0.as_nanosecond(), rand::random::<u16>());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{suffix}", note.object.name.as_deref().unwrap_or_default())),
            namespace: Some(namespace),
            ..Default::default()
        },
        involved_object: note.object,
        reason: Some(note.reason.into()),
        message: Some(note.message),
        type_: Some(if note.kind == Kind::Normal { "Normal" } else { "Warning" }.into()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node_name.into()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node_name.into()),
        ..Default::default()
    };
    let created = api.create(&PostParams::default(), &event).await?;
    memory.insert(key, Sent { name: created.name_any(), count: 1 });
    Ok(())
}
