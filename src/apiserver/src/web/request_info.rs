//! What a method and a path mean.

use http::{Method, Uri};

use crate::chain::RequestInfo;
use crate::web::query::{Query, decode};

/// Subresources of namespaces that are not kinds within a namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

pub(crate) fn parse(method: &Method, uri: &Uri, query: &Query) -> RequestInfo {
    let path = uri.path();
    let verb = method.as_str().to_lowercase();
    let plain = RequestInfo { path: path.to_owned(), verb: verb.clone(), ..RequestInfo::default() };
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return plain,
    };
    // The old form /api/v1/watch/… of watching.
    let (watch_prefix, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let mut info =
        RequestInfo { is_resource: true, api_group: group.to_owned(), api_version: version.to_owned(), ..plain };
    place(&mut info, rest);
    let named = !info.name.is_empty();
    let watch = watch_prefix || (query.flag("watch") && info.subresource.is_empty());
    info.verb = match (method.as_str(), named) {
        ("GET" | "HEAD", _) if watch => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => verb.as_str(),
    }
    .to_owned();
    if info.name.is_empty() && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        info.name = selected_name(query.get("fieldSelector")).unwrap_or_default().to_owned();
    }
    info
}

/// The one object that a field selector leaves: authorization judges the request as one about it, and the selection
/// holds on to that name.
fn selected_name(field_selector: &str) -> Option<&str> {
    field_selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name")?.strip_prefix('=')?;
        Some(value.strip_prefix('=').unwrap_or(value)).filter(|name| !name.is_empty())
    })
}

fn place(info: &mut RequestInfo, rest: &[&str]) {
    let tail = match rest {
        ["namespaces", namespace, sub, ..] if NAMESPACE_SUBRESOURCES.contains(sub) => {
            // Authorization sees requests on a namespace itself as within that namespace.
            info.namespace = (*namespace).to_owned();
            rest
        }
        ["namespaces", namespace, tail @ ..] if !tail.is_empty() => {
            info.namespace = (*namespace).to_owned();
            tail
        }
        ["namespaces", namespace] => {
            info.namespace = (*namespace).to_owned();
            rest
        }
        rest => rest,
    };
    info.resource = tail.first().map(|part| (*part).to_owned()).unwrap_or_default();
    info.name = tail.get(1).map(|part| (*part).to_owned()).unwrap_or_default();
    info.subresource = tail.get(2).map(|part| (*part).to_owned()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> RequestInfo {
        let uri: Uri = uri.parse().unwrap();
        parse(&method.parse().unwrap(), &uri, &Query::parse(uri.query().unwrap_or_default()))
    }

    #[test]
    fn paths_and_methods_become_verbs() {
        let cases = [
            ("GET", "/api/v1/pods", "list  v1  pods  "),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch  v1 a pods  "),
            ("GET", "/api/v1/namespaces/a/secrets?watch=1&fieldSelector=metadata.name%3Ds", "watch  v1 a secrets s "),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%21%3Dp,spec.nodeName=n", "list  v1  pods  "),
            ("GET", "/apis/apps/v1/namespaces/a/deployments/d", "get apps v1 a deployments d "),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/d/status", "update apps v1 a deployments d status"),
            ("GET", "/api/v1/namespaces/a", "get  v1 a namespaces a "),
            ("PUT", "/api/v1/namespaces/a/finalize", "update  v1 a namespaces a finalize"),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection  v1 a pods  "),
            ("POST", "/api/v1/nodes/", "create  v1  nodes  "),
            ("GET", "/api/v1/watch/pods", "watch  v1  pods  "),
            ("GET", "/api/v1/namespaces/a/pods/p/log?watch=true", "get  v1 a pods p log"),
            (
                "PATCH",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "patch rbac.authorization.k8s.io v1  clusterroles system:node ",
            ),
        ];
        for (method, uri, expected) in cases {
            let info = info(method, uri);
            let parts = [&info.verb, &info.api_group, &info.api_version, &info.namespace, &info.resource, &info.name];
            let found = parts.map(String::as_str).join(" ") + " " + &info.subresource;
            assert_eq!(found, expected, "{method} {uri}");
            assert!(info.is_resource);
        }
    }

    #[test]
    fn other_paths_are_no_resources() {
        for path in
            ["/", "/healthz", "/api", "/api/", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v3"]
        {
            let info = info("GET", path);
            assert!(!info.is_resource && info.verb == "get" && info.path == path, "{path}");
        }
    }
}
