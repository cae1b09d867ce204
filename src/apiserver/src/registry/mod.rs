//! One registry for all kinds: it turns a request on a resource into reads and writes of the store, guided by the
//! resource's row.

pub(crate) mod catalog;
mod create;
mod delete;
mod kinds;
mod list;
mod metadata;
mod modify;
pub(crate) mod objects;
mod patch;
mod select;
mod subresource;
mod view;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use naru_api::Resource;
use naru_store::Entry;
use serde_json::Value;

use crate::chain::{Admission, Computed, RequestInfo, UserInfo};
use crate::registry::modify::Part;
use crate::registry::objects::Objects;
use crate::registry::select::Selection;
use crate::status::ApiError;
use crate::web::accept::Output;
use crate::web::query::{DeleteOptions, Query};
use crate::web::{self, Body, Outcome, body};

/// A request with everything that is known of it before its meaning.
pub(crate) struct Call {
    pub(crate) info: RequestInfo,
    pub(crate) user: UserInfo,
    pub(crate) query: Query,
    pub(crate) parts: Parts,
    pub(crate) output: Output,
}

/// The object that a request names.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) row: &'static Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Target<'_> {
    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(self.row.group, self.row.plural, self.name)
    }

    pub(crate) fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(self.row.group, self.row.plural, self.name, why)
    }
}

/// What a write left behind.
pub(crate) enum Saved {
    Entry(Arc<Entry>),
    /// A dry run: the object as it would have been.
    Dry(Value),
}

pub(crate) struct Registry {
    pub(crate) objects: Arc<Objects>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) computed: Arc<dyn Computed>,
}

impl Registry {
    pub(crate) fn row(&self, info: &RequestInfo) -> Option<&'static Resource> {
        self.objects.catalog.find(&info.api_group, &info.api_version, &info.resource)
    }

    /// Answers a request that authorization has let through.
    pub(crate) async fn serve(&self, call: &Call, body: Bytes) -> Outcome {
        let row = self.row(&call.info).ok_or_else(ApiError::unknown_path)?;
        let info = &call.info;
        let namespaced = row.is_namespaced();
        if !namespaced && !info.namespace.is_empty() && row.plural != "namespaces" {
            return Err(ApiError::unknown_path());
        }
        let namespace = if namespaced { info.namespace.as_str() } else { "" };
        let target = Target { row, namespace, name: &info.name };
        if !info.subresource.is_empty() {
            return self.serve_subresource(call, &target, body).await;
        }
        let needs_name = matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete");
        if !row.has_verb(&info.verb) || (needs_name && info.name.is_empty()) {
            return Err(ApiError::method_not_allowed());
        }
        if namespaced && namespace.is_empty() && !matches!(info.verb.as_str(), "list" | "watch") {
            // Kinds without storage take their namespace from the object (LocalSubjectAccessReview does not, by rule).
            return Err(ApiError::method_not_allowed());
        }
        match info.verb.as_str() {
            "get" => self.get(call, &target),
            "list" => {
                let selection = Selection::parse(row, namespace, &info.name, &call.query)?;
                list::list(&self.objects, row, &selection, &call.query, call.output)
            }
            "watch" => {
                let selection = Selection::parse(row, namespace, &info.name, &call.query)?;
                watch::watch(&self.objects, row, selection, &call.query, call.output)
            }
            "create" => self.create(call, &target, &body).await,
            "update" => self.update(call, &target, Part::Main, &body).await,
            "patch" => self.patch(call, &target, Part::Main, &body).await,
            "delete" => {
                let options = DeleteOptions::parse(&call.query, &body::delete_options(&call.parts.headers, &body)?)?;
                self.delete(call, &target, &options).await
            }
            "deletecollection" => {
                let options = DeleteOptions::parse(&call.query, &body::delete_options(&call.parts.headers, &body)?)?;
                self.delete_collection(call, &target, &options).await
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn get(&self, call: &Call, target: &Target<'_>) -> Outcome {
        let entry = self.entry(target)?;
        let include = view::parse_include(call.query.get("includeObject"))?;
        view::entry_response(&self.objects, target.row, &entry, StatusCode::OK, call.output, include)
    }

    pub(crate) fn entry(&self, target: &Target<'_>) -> Result<Arc<Entry>, ApiError> {
        self.objects.entry(target.row, target.namespace, target.name).ok_or_else(|| target.not_found())
    }

    pub(crate) fn respond_saved(&self, call: &Call, row: &Resource, saved: Saved, code: StatusCode) -> Outcome {
        let include = view::parse_include(call.query.get("includeObject"))?;
        match saved {
            Saved::Entry(entry) => view::entry_response(&self.objects, row, &entry, code, call.output, include),
            Saved::Dry(object) => view::object_response(row, object, code, call.output, include),
        }
    }

    /// Unknown fields of a written object: an error, warnings for the answer, or nobody's business.
    pub(crate) fn check_fields(&self, call: &Call, row: &Resource, object: &Value) -> Result<Vec<String>, ApiError> {
        let mode = call.query.get("fieldValidation");
        if !matches!(mode, "" | "Ignore" | "Warn" | "Strict") {
            return Err(ApiError::bad_request(format!("fieldValidation: Unsupported value: {mode:?}")));
        }
        let unknown = crate::schema::unknown_fields(row, object)?;
        if mode == "Ignore" {
            return Ok(Vec::new());
        }
        let unknown: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        if mode != "Strict" || unknown.is_empty() {
            return Ok(unknown);
        }
        let (kind, version) = (row.kind, row.version);
        Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            unknown.join(", ")
        )))
    }

    pub(crate) fn warned(outcome: Outcome, warnings: &[String]) -> Outcome {
        outcome.map(|mut response: Response<Body>| {
            view::add_warnings(&mut response, warnings);
            response
        })
    }

    /// The object in a request's body, as this row's kind.
    pub(crate) fn decode_body(&self, call: &Call, row: &Resource, bytes: &[u8]) -> Result<Value, ApiError> {
        let mut object = body::object(&call.parts.headers, bytes)?;
        let api_version = row.api_version();
        for (field, expected) in [("apiVersion", api_version.as_str()), ("kind", row.kind)] {
            let found = object[field].as_str().unwrap_or_default();
            if found.is_empty() {
                object[field] = Value::from(expected);
            } else if found != expected {
                return Err(ApiError::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({expected})"
                )));
            }
        }
        Ok(object)
    }
}

/// For kinds that are answered, not stored.
pub(crate) fn answer(object: &Value, code: StatusCode, output: Output) -> Outcome {
    match output.yaml {
        true => view::value_response(object, code, output),
        false => Ok(web::json(code, object)),
    }
}
