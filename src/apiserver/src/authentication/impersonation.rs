//! `kubectl --as`: acting as somebody else, where RBAC grants the verb `impersonate`.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::{ANONYMOUS, UNAUTHENTICATED, service_account_groups, service_account_of, with_authenticated};
use crate::chain::{Authorizer, RequestInfo, UserInfo};
use crate::status::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Whether any header asks for another user.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

/// The user whose rights the request is judged by: `user` itself unless impersonation headers say otherwise.
pub fn impersonate(headers: &HeaderMap, user: UserInfo, authorizer: &dyn Authorizer) -> Result<UserInfo, ApiError> {
    let Some(wanted) = wanted_user(headers)? else { return Ok(user) };
    for check in checks(&wanted) {
        authorizer.authorize(&user, &check)?;
    }
    Ok(completed(wanted))
}

fn wanted_user(headers: &HeaderMap) -> Result<Option<UserInfo>, ApiError> {
    let username = values(headers, USER)?.into_iter().next().unwrap_or_default();
    let groups = values(headers, GROUP)?;
    let uid = values(headers, UID)?.into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys().filter(|name| name.as_str().starts_with(EXTRA_PREFIX)) {
        let key = percent_decoded(&name.as_str()[EXTRA_PREFIX.len()..]).to_lowercase();
        extra.entry(key).or_default().extend(values(headers, name.as_str())?);
    }
    if username.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::bad_request(
            "requested impersonation of groups, uid or extra without impersonating a user",
        ));
    }
    Ok(Some(UserInfo { username, uid, groups, extra }))
}

fn values(headers: &HeaderMap, name: &str) -> Result<Vec<String>, ApiError> {
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned);
    headers
        .get_all(name)
        .iter()
        .map(|value| text(value).map_err(|_| ApiError::bad_request(format!("header {name} is not text"))))
        .collect()
}

fn checks(wanted: &UserInfo) -> Vec<RequestInfo> {
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| RequestInfo {
        is_resource: true,
        path: String::new(),
        verb: "impersonate".to_owned(),
        api_group: group.to_owned(),
        api_version: "v1".to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
    };
    let mut checks = vec![match service_account_of(&wanted.username) {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name),
        None => check("", "users", "", "", &wanted.username),
    }];
    checks.extend(wanted.groups.iter().map(|group| check("", "groups", "", "", group)));
    for (key, values) in &wanted.extra {
        checks.extend(values.iter().map(|value| check("authentication.k8s.io", "userextras", key, "", value)));
    }
    if !wanted.uid.is_empty() {
        checks.push(check("authentication.k8s.io", "uids", "", "", &wanted.uid));
    }
    checks
}

/// A service account impersonated without groups has the groups that its token would give it.
fn completed(mut wanted: UserInfo) -> UserInfo {
    if wanted.groups.is_empty()
        && let Some((namespace, _)) = service_account_of(&wanted.username)
    {
        wanted.groups = service_account_groups(namespace);
    }
    if wanted.username == ANONYMOUS && !wanted.groups.iter().any(|group| group == UNAUTHENTICATED) {
        wanted.groups.push(UNAUTHENTICATED.to_owned());
    }
    with_authenticated(wanted)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| bytes[index] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
