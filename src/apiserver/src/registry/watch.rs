//! Watches: a cursor over the table's log, turned into the client's events without a queue or a task per watcher.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use naru_api::Resource;
use naru_api::table_output::{self, IncludeObject};
use naru_store::{Entry, Event, StoreError, Watcher};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::registry::list::{CHUNK_BYTES, parse_version, store_error};
use crate::registry::objects::{Objects, now_unix_s};
use crate::registry::select::Selection;
use crate::registry::view;
use crate::status::ApiError;
use crate::web::accept::{Form, Output};
use crate::web::query::Query;
use crate::web::{self, Outcome, encode};

const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

struct Watch {
    objects: Arc<Objects>,
    row: &'static Resource,
    selection: Selection,
    output: Output,
    include: IncludeObject,
    /// Entries to be sent as ADDED before the log is followed.
    initial: VecDeque<Arc<Entry>>,
    /// The bookmark that ends the initial entries, if asked for.
    initial_end: bool,
    bookmarks: bool,
    columns_sent: bool,
    watcher: Result<Watcher, StoreError>,
    deadline: Instant,
    next_bookmark: Instant,
    /// Becomes true when the server is about to stop.
    ending: tokio::sync::watch::Receiver<bool>,
    ended: bool,
}

pub(crate) fn watch(
    objects: &Arc<Objects>,
    row: &'static Resource,
    selection: Selection,
    query: &Query,
    output: Output,
) -> Outcome {
    if output.yaml {
        return Err(ApiError::new(406, "NotAcceptable", "watches are sent as application/json only"));
    }
    let version = parse_version(query.get("resourceVersion"))?;
    let initial_events = initial_events(query)?;
    let bookmarks = query.flag("allowWatchBookmarks");
    let table = objects.catalog.table(row);
    let synthetic = initial_events.unwrap_or(matches!(version, None | Some(0)));
    let (mut initial, mut start) = (VecDeque::new(), version.unwrap_or(0));
    if synthetic || matches!(version, None | Some(0)) {
        let snapshot = objects.store.snapshot(&table);
        if start > snapshot.revision {
            return Err(store_error(&StoreError::Future { requested: start, current: snapshot.revision }));
        }
        start = snapshot.revision;
        if synthetic {
            let matching = snapshot.entries.iter().filter(|(key, entry)| selection.matches(objects, key, entry));
            initial = matching.map(|(_, entry)| Arc::clone(entry)).collect();
        }
    }
    let watcher = objects.store.watch(&table, start);
    if let Err(error @ StoreError::Future { .. }) = &watcher {
        return Err(store_error(error));
    }
    let least_s = objects.settings.watch_timeout_min_seconds;
    let timeout_s = match query.number("timeoutSeconds")? {
        None | Some(0) => rand::random_range(least_s..=2 * least_s),
        Some(seconds) => seconds,
    };
    let now = Instant::now();
    let watch = Watch {
        objects: Arc::clone(objects),
        row,
        selection,
        output,
        include: view::parse_include(query.get("includeObject"))?,
        initial,
        initial_end: initial_events == Some(true) && bookmarks,
        bookmarks,
        columns_sent: false,
        watcher,
        deadline: now + Duration::from_secs(timeout_s),
        next_bookmark: now + BOOKMARK_INTERVAL,
        ending: objects.ending(),
        ended: false,
    };
    let body = futures::stream::unfold(watch, |mut watch| async move {
        let bytes = watch.step().await?;
        Some((bytes, watch))
    });
    Ok(web::respond(StatusCode::OK, "application/json", web::stream(body)))
}

fn initial_events(query: &Query) -> Result<Option<bool>, ApiError> {
    let rule = query.get("resourceVersionMatch");
    let invalid = |text: &str| {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {text}");
        Err(ApiError::new(422, "Invalid", message))
    };
    match (query.has("sendInitialEvents"), rule) {
        (false, "") => Ok(None),
        (false, _) => invalid(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch \
             unless sendInitialEvents is provided",
        ),
        (true, "NotOlderThan") => Ok(Some(query.flag("sendInitialEvents"))),
        (true, _) => invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    }
}

impl Watch {
    /// The next bytes for the client; none when the watch is over.
    async fn step(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = BytesMut::new();
        if !self.initial.is_empty() || self.initial_end {
            self.send_initial(&mut out);
            return Some(out.freeze());
        }
        // One round per portion of events; rounds without any matching event send nothing.
        while out.is_empty() {
            let wake = if self.bookmarks { self.deadline.min(self.next_bookmark) } else { self.deadline };
            let waited = match &mut self.watcher {
                Ok(watcher) => tokio::select! {
                    waited = tokio::time::timeout_at(wake, watcher.next()) => waited,
                    _ = self.ending.wait_for(|ending| *ending) => return None,
                },
                Err(error) => Ok(Err(error.clone())),
            };
            match waited {
                Ok(Ok(events)) => events.iter().for_each(|event| self.send(event, &mut out)),
                Ok(Err(error)) => {
                    self.ended = true;
                    self.write("ERROR", &encode(&store_error(&error).status()), &mut out);
                }
                Err(_) if Instant::now() >= self.deadline => return None,
                Err(_) => self.send_bookmark(&mut out),
            }
        }
        Some(out.freeze())
    }

    fn send_initial(&mut self, out: &mut BytesMut) {
        while let Some(entry) = self.initial.pop_front() {
            self.send_entry("ADDED", &entry, out);
            if out.len() >= CHUNK_BYTES {
                return;
            }
        }
        if std::mem::take(&mut self.initial_end)
            && let Ok(watcher) = &self.watcher
        {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            self.write_bookmark(watcher.revision(), Some(annotations), out);
        }
    }

    fn send(&mut self, event: &Event, out: &mut BytesMut) {
        let matches = |entry: &Entry| self.selection.matches(&self.objects, &event.key, entry);
        let before = event.previous.as_ref().is_some_and(|entry| matches(entry));
        let after = !event.deleted && matches(&event.entry);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.send_entry("ADDED", &event.entry, out),
            (true, true) => self.send_entry("MODIFIED", &event.entry, out),
            // Leaving the selection looks like a deletion of the last state that was in it.
            (true, false) => {
                let last = event.last_state();
                self.send_entry("DELETED", &last, out);
            }
        }
    }

    fn send_entry(&mut self, kind: &str, entry: &Entry, out: &mut BytesMut) {
        let bytes = match self.output.form {
            Form::Plain => view::bytes(&self.objects, self.row, entry),
            Form::Metadata => encode(&table_output::partial_metadata(&self.objects.decode(self.row, entry))).into(),
            Form::Table => {
                let object = self.objects.decode(self.row, entry);
                let with_columns = !std::mem::replace(&mut self.columns_sent, true);
                let table = table_output::watch_table(self.row, &object, now_unix_s(), self.include, with_columns);
                encode(&table).into()
            }
        };
        self.write(kind, &bytes, out);
    }

    /// Tells how far the whole store is, once all that the watcher has is told.
    fn send_bookmark(&mut self, out: &mut BytesMut) {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let Ok(watcher) = &mut self.watcher else { return };
        match watcher.take() {
            Ok(events) if events.is_empty() => {
                let revision = watcher.revision();
                self.write_bookmark(revision, None, out);
            }
            Ok(events) => events.iter().for_each(|event| self.send(event, out)),
            Err(error) => self.watcher = Err(error),
        }
    }

    fn write_bookmark(&self, revision: u64, annotations: Option<Value>, out: &mut BytesMut) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let object = match self.output.form {
            Form::Plain => json!({"kind": self.row.kind, "apiVersion": self.row.api_version(), "metadata": metadata}),
            Form::Metadata => table_output::partial_metadata(&json!({"metadata": metadata})),
            Form::Table => {
                let shown =
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": null,
                    "metadata": {"resourceVersion": revision.to_string()}, "rows": [{"cells": [], "object": shown}]})
            }
        };
        self.write("BOOKMARK", &encode(&object), out);
    }

    fn write(&self, kind: &str, object: &[u8], out: &mut BytesMut) {
        out.reserve(object.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(object);
        out.put_slice(b"}\n");
    }
}
