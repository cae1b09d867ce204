//! Lists: a page of a table at one revision, streamed from the stored bytes.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use naru_api::Resource;
use naru_api::table_output::{self, IncludeObject};
use naru_store::{Entry, Snapshot, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::registry::objects::Objects;
use crate::registry::select::Selection;
use crate::registry::view;
use crate::status::ApiError;
use crate::web::accept::{Form, Output};
use crate::web::query::Query;
use crate::web::{self, Body, Outcome};

/// A list's bytes are handed to the connection in pieces of about this size.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

const EXPIRED_TOKEN: &str = "The provided continue parameter is too old to display a consistent list result. \
You can start a new list without the continue parameter, or use the continue token in this response to retrieve \
the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// What a continue token says. Revision 0 stands for "whatever is newest".
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

impl Token {
    fn encode(rv: u64, start: &str) -> String {
        let token = Self { v: "meta.k8s.io/v1".to_owned(), rv, start: start.to_owned() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("plain fields"))
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        token
            .filter(|token| token.v == "meta.k8s.io/v1")
            .ok_or_else(|| ApiError::bad_request("continue key is not valid: it was not made by this server"))
    }
}

struct Page {
    entries: Vec<Arc<Entry>>,
    revision: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

pub(crate) fn list(
    objects: &Objects,
    row: &'static Resource,
    selection: &Selection,
    query: &Query,
    output: Output,
) -> Outcome {
    let limit = query.number("limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let token = match query.get("continue") {
        "" => None,
        _ if !matches!(query.get("resourceVersion"), "" | "0") => {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        text => Some(Token::decode(text)?),
    };
    let table = objects.catalog.table(row);
    let snapshot = match &token {
        Some(Token { rv: 0, .. }) => objects.store.snapshot(&table),
        Some(token) => match objects.store.snapshot_at(&table, token.rv) {
            Err(StoreError::Expired { .. }) => return Ok(expired_token(&token.start)),
            other => other.map_err(|error| store_error(&error))?,
        },
        None => snapshot_for(objects, &table, query, limit > 0)?,
    };
    let start = token.map(|token| token.start).unwrap_or_default();
    let page = page(objects, selection, snapshot, &start, limit);
    respond(objects, row, page, output, view::parse_include(query.get("includeObject"))?)
}

fn snapshot_for(objects: &Objects, table: &str, query: &Query, limited: bool) -> Result<Snapshot, ApiError> {
    let version = parse_version(query.get("resourceVersion"))?;
    let rule = query.get("resourceVersionMatch");
    if !rule.is_empty() && version.is_none() {
        return Err(ApiError::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    let exact = match rule {
        "" => limited,
        "Exact" if version == Some(0) => {
            return Err(ApiError::bad_request("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""));
        }
        "Exact" => true,
        "NotOlderThan" => false,
        other => return Err(ApiError::bad_request(format!("unsupported resourceVersionMatch {other:?}"))),
    };
    match version {
        None | Some(0) => Ok(objects.store.snapshot(table)),
        Some(version) if exact => objects.store.snapshot_at(table, version).map_err(|error| store_error(&error)),
        Some(version) => {
            let snapshot = objects.store.snapshot(table);
            match version > snapshot.revision {
                true => Err(store_error(&StoreError::Future { requested: version, current: snapshot.revision })),
                false => Ok(snapshot),
            }
        }
    }
}

pub(crate) fn parse_version(text: &str) -> Result<Option<u64>, ApiError> {
    match text {
        "" => Ok(None),
        text => {
            let parsed = text.parse().map(Some);
            parsed.map_err(|_| ApiError::bad_request(format!("invalid resource version {text:?}")))
        }
    }
}

/// Errors of the store that reads can meet.
pub(crate) fn store_error(error: &StoreError) -> ApiError {
    match error {
        StoreError::Expired { requested, oldest } => {
            ApiError::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        StoreError::Future { requested, current } => {
            let text = format!("Too large resource version: {requested}, current: {current}");
            let mut error = ApiError::new(504, "Timeout", text);
            let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
            error.details = Some(json!({"causes": [cause]}));
            error.retry_after_s = Some(1);
            error
        }
        StoreError::Failed { .. } => {
            let mut unavailable = ApiError::new(503, "ServiceUnavailable", error.to_string());
            unavailable.retry_after_s = Some(1);
            unavailable
        }
        other => ApiError::internal(other.to_string()),
    }
}

/// 410 with a token that goes on from the same place in whatever there is now.
fn expired_token(start: &str) -> Response<Body> {
    let mut status = ApiError::expired(EXPIRED_TOKEN).status();
    status["metadata"]["continue"] = json!(Token::encode(0, start));
    web::json(StatusCode::GONE, &status)
}

/// `start` is the last key of the page before.
fn page(objects: &Objects, selection: &Selection, snapshot: Snapshot, start: &str, limit: usize) -> Page {
    let (first, end) = selection.range();
    let lower = if start.is_empty() { Bound::Included(first.as_str()) } else { Bound::Excluded(start) };
    let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut page = Page { entries: Vec::new(), revision: snapshot.revision, next: None, remaining: None };
    let mut last_key = String::new();
    let mut range = snapshot.entries.range::<_, str>((lower, upper));
    while let Some((key, entry)) = range.next() {
        if !selection.matches(objects, key, entry) {
            continue;
        }
        if limit > 0 && page.entries.len() == limit {
            page.next = Some(Token::encode(snapshot.revision, &last_key));
            page.remaining = selection.is_everything().then(|| 1 + range.count());
            break;
        }
        last_key = key.to_string();
        page.entries.push(Arc::clone(entry));
    }
    page
}

fn respond(objects: &Objects, row: &'static Resource, page: Page, output: Output, include: IncludeObject) -> Outcome {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = &page.next {
        metadata["continue"] = json!(next);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    if output == Output::JSON {
        let head = format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
            row.kind,
            row.api_version()
        );
        let views = row.stored_as.map(|_| page.entries.iter().map(|entry| view::bytes(objects, row, entry)).collect());
        let items: Vec<Bytes> = views.unwrap_or_else(|| page.entries.iter().map(|entry| entry.value.clone()).collect());
        let body =
            web::stream(futures::stream::iter(Chunks { head: Some(head), items: items.into_iter(), first: true }));
        return Ok(web::respond(StatusCode::OK, "application/json", body));
    }
    let items = view::decode_all(objects, row, &page.entries);
    let value = match output.form {
        Form::Table => view::table(row, &items, metadata, include),
        Form::Metadata => {
            let items: Vec<&Value> = items.iter().collect();
            table_output::partial_metadata_list(&items, metadata)
        }
        Form::Plain => {
            let kind = format!("{}List", row.kind);
            json!({"kind": kind, "apiVersion": row.api_version(), "metadata": metadata, "items": items})
        }
    };
    view::value_response(&value, StatusCode::OK, output)
}

/// The list's bytes, made only as fast as the connection takes them.
struct Chunks {
    head: Option<String>,
    items: std::vec::IntoIter<Bytes>,
    first: bool,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        match (&self.head, self.items.len()) {
            (None, 0) => return None,
            (Some(head), _) => chunk.extend_from_slice(head.as_bytes()),
            (None, _) => {}
        }
        self.head = None;
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else { break };
            if !std::mem::take(&mut self.first) {
                chunk.extend_from_slice(b",");
            }
            chunk.extend_from_slice(&item);
        }
        if self.items.len() == 0 {
            chunk.extend_from_slice(b"]}");
        }
        Some(chunk.freeze())
    }
}
