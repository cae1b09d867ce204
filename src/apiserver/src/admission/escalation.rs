//! Nobody grants rights that they do not hold, unless they may `escalate` roles or `bind` them.

use serde_json::Value;

use super::fields::{items, refused, text};
use crate::authentication::MASTERS;
use crate::authorization::{RBAC_GROUP, Rbac, Rule, describe_uncovered, quoted_list, rules_of, uncovered};
use crate::chain::{AdmissionRequest, Operation, RequestInfo};
use crate::status::ApiError;

pub(super) fn admit(rbac: &Rbac, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    if request.resource.group != RBAC_GROUP
        || request.operation == Operation::Delete
        || request.user.groups.iter().any(|group| group == MASTERS)
    {
        return Ok(());
    }
    match request.resource.plural {
        "roles" | "clusterroles" => role(rbac, request),
        "rolebindings" | "clusterrolebindings" => binding(rbac, request),
        _ => Ok(()),
    }
}

fn role(rbac: &Rbac, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    let unchanged =
        |pointer: &str| request.old_object.is_some_and(|old| old.pointer(pointer) == request.object.pointer(pointer));
    if unchanged("/rules") && unchanged("/aggregationRule") {
        return Ok(());
    }
    if may(rbac, request, "escalate", request.resource.plural, text(request.object, "/metadata/name")) {
        return Ok(());
    }
    let gathers = !items(request.object, "/aggregationRule/clusterRoleSelectors").is_empty();
    if gathers && !unchanged("/aggregationRule") {
        let all = Rule {
            verbs: vec!["*".to_owned()],
            api_groups: vec!["*".to_owned()],
            resources: vec!["*".to_owned()],
            ..Rule::default()
        };
        if !uncovered(&held(rbac, request), &[all]).is_empty() {
            return Err(refused(request, "must have cluster-admin privileges to use an aggregationRule"));
        }
    }
    judge(rbac, request, &rules_of(request.object))
}

fn binding(rbac: &Rbac, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    let same = |old: &Value| {
        old.get("roleRef") == request.object.get("roleRef") && old.get("subjects") == request.object.get("subjects")
    };
    if request.old_object.is_some_and(same) {
        return Ok(());
    }
    let (kind, name) = (text(request.object, "/roleRef/kind"), text(request.object, "/roleRef/name"));
    let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
    if may(rbac, request, "bind", plural, name) {
        return Ok(());
    }
    let Some(rules) = rbac.policy().role_rules(kind, &request.info.namespace, name) else {
        return Err(ApiError::not_found(RBAC_GROUP, plural, name));
    };
    judge(rbac, request, &rules)
}

fn may(rbac: &Rbac, request: &AdmissionRequest<'_>, verb: &str, plural: &str, name: &str) -> bool {
    let info = RequestInfo {
        is_resource: true,
        path: String::new(),
        verb: verb.to_owned(),
        api_group: RBAC_GROUP.to_owned(),
        api_version: "v1".to_owned(),
        namespace: request.info.namespace.clone(),
        resource: plural.to_owned(),
        subresource: String::new(),
        name: name.to_owned(),
    };
    rbac.decide(request.user, &info).allowed
}

fn held(rbac: &Rbac, request: &AdmissionRequest<'_>) -> Vec<Rule> {
    rbac.policy().rules_for(request.user, &request.info.namespace).0
}

fn judge(rbac: &Rbac, request: &AdmissionRequest<'_>, wanted: &[Rule]) -> Result<(), ApiError> {
    let missing = uncovered(&held(rbac, request), wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        request.user.username,
        quoted_list(&request.user.groups),
        describe_uncovered(missing)
    );
    Err(refused(request, &why))
}
