//! What travels along the handler chain: who asks (`UserInfo`), for what (`RequestInfo`), and the traits through
//! which authentication, authorization and admission are reached. The HTTP layer knows only these.

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_api::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::ApiError;

/// `authentication.k8s.io/v1 UserInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a path and a method mean. For a non-resource request only `path` and `verb` (the lower-case method) are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    pub path: String,
    /// get, list, watch, create, update, patch, delete, deletecollection (or the lower-case HTTP method).
    pub verb: String,
    pub api_group: String,
    pub api_version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// A write on its way to the store, after decoding and defaulting. `object` is null for a deletion.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    pub operation: Operation,
    pub resource: &'a Resource,
    pub info: &'a RequestInfo,
    pub user: &'a UserInfo,
    pub object: &'a mut Value,
    pub old_object: Option<&'a Value>,
    pub dry_run: bool,
}

/// Reads that need no permission, for members of the chain: always from the server's own memory, never blocking.
pub trait ObjectReader: Send + Sync {
    /// Namespace is empty for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// Every object of the kind, or of the kind in one namespace.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;
    /// Those objects whose selectable field has this value.
    fn list_by_field(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        field: &str,
        value: &str,
    ) -> Vec<Arc<Value>>;
    /// Changes whenever an object of the kind does: lets a reader keep what it derived from a list.
    fn revision_of(&self, group: &str, plural: &str) -> u64;
}

pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: no credentials were shown (the caller makes it `system:anonymous`); `Err`: bad ones were (401).
    fn authenticate(
        &self,
        headers: &http::HeaderMap,
        client_certificate_der: Option<&[u8]>,
    ) -> Result<Option<UserInfo>, ApiError>;
}

pub trait Authorizer: Send + Sync {
    /// `Err` is the 403 that the client sees.
    fn authorize(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), ApiError>;
}

pub trait Admission: Send + Sync {
    /// May change the object, then judges it. Runs before validation.
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError>;
    /// Told once the write is in the store, or has failed: releases what `admit` reserved.
    fn settled(&self, resource: &Resource, object: &Value, committed: bool);
}

/// Kinds that are computed, not stored: TokenReview, SubjectAccessReview and its family, TokenRequest.
pub trait Computed: Send + Sync {
    fn create(&self, user: &UserInfo, info: &RequestInfo, object: Value) -> Result<Value, ApiError>;
}
