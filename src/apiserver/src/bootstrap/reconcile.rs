//! Create what is missing, add what is lacking, never take away what users added.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ObjectWriter, Target};
use crate::admission::fields::{items, list_mut, map_mut, text};
use crate::authorization::{RBAC_GROUP, Rule, rules_of, uncovered};
use crate::chain::ObjectReader;
use crate::status::ApiError;

const AUTOUPDATE: &str = "/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate";
/// Attempts against writers that change the same object at the same time.
const ATTEMPTS: usize = 5;

pub(super) async fn apply(
    reader: &dyn ObjectReader,
    writer: &dyn ObjectWriter,
    target: Target,
) -> Result<(), ApiError> {
    let mut last = ApiError::internal("bootstrap object was not written");
    for _ in 0..ATTEMPTS {
        let outcome = match reader.get(target.group, target.plural, target.namespace(), target.name()) {
            None => writer.request(Method::POST, target.collection_path(), Some(target.object.clone())).await,
            Some(existing) => match completed(&target, &existing) {
                Change::None => return Ok(()),
                Change::Update(object) => writer.request(Method::PUT, target.path(), Some(object)).await,
                Change::Replace => {
                    writer.request(Method::DELETE, target.path(), None).await?;
                    writer.request(Method::POST, target.collection_path(), Some(target.object.clone())).await
                }
            },
        };
        match outcome {
            Ok(_) => return Ok(()),
            // Another control plane was faster: look again.
            Err(error) if error.code == 409 => last = error,
            Err(mut error) => {
                error.message = format!("{} {}: {}", target.plural, target.name(), error.message);
                return Err(error);
            }
        }
    }
    Err(last)
}

pub(super) enum Change {
    None,
    Update(Value),
    /// A binding's role cannot be changed in place.
    Replace,
}

pub(super) fn completed(target: &Target, existing: &Value) -> Change {
    let mut object = existing.clone();
    match (target.group, target.plural) {
        (RBAC_GROUP, _) if text(existing, AUTOUPDATE) == "false" => return Change::None,
        (RBAC_GROUP, "clusterroles" | "roles") => complete_role(&mut object, &target.object),
        (RBAC_GROUP, _) => {
            if object.get("roleRef") != target.object.get("roleRef") {
                return Change::Replace;
            }
            complete_subjects(&mut object, &target.object);
        }
        ("discovery.k8s.io", "endpointslices") => {
            complete_endpoints(&mut object, &target.object, "/endpoints", "endpoints")
        }
        ("", "endpoints") => complete_subsets(&mut object, &target.object),
        ("", "configmaps") => object["data"] = target.object["data"].clone(),
        _ => return Change::None,
    }
    if object == *existing { Change::None } else { Change::Update(object) }
}

fn complete_role(object: &mut Value, wanted: &Value) {
    let missing = uncovered(&rules_of(object), &rules_of(wanted));
    if !missing.is_empty() {
        // Whole rules are added, so that the role stays readable.
        for rule in items(wanted, "/rules") {
            let parsed = Rule::deserialize(rule).unwrap_or_default();
            if !uncovered(&rules_of(object), &[parsed]).is_empty() {
                list_mut(object, "rules").push(rule.clone());
            }
        }
    }
    if let Some(rule) = wanted.get("aggregationRule") {
        object["aggregationRule"] = rule.clone();
    }
    for kind in ["labels", "annotations"] {
        if let Some(wanted) = wanted.pointer(&format!("/metadata/{kind}")).and_then(Value::as_object) {
            let own = map_mut(&mut object["metadata"], kind);
            for (key, value) in wanted {
                own.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
}

fn complete_subjects(object: &mut Value, wanted: &Value) {
    for subject in items(wanted, "/subjects") {
        let same = |other: &Value| ["/kind", "/name", "/namespace"].iter().all(|p| text(other, p) == text(subject, p));
        if !items(object, "/subjects").iter().any(same) {
            list_mut(object, "subjects").push(subject.clone());
        }
    }
}

/// Every control plane adds its own address; taking away those of removed ones is the provisioner's business.
fn complete_endpoints(object: &mut Value, wanted: &Value, pointer: &str, key: &str) {
    for endpoint in items(wanted, pointer) {
        let address = endpoint.pointer("/addresses/0");
        if !items(object, pointer).iter().any(|other| other.pointer("/addresses/0") == address) {
            list_mut(object, key).push(endpoint.clone());
        }
    }
    object["ports"] = wanted["ports"].clone();
}

fn complete_subsets(object: &mut Value, wanted: &Value) {
    let Some(subset) = object.pointer_mut("/subsets/0") else {
        object["subsets"] = wanted["subsets"].clone();
        return;
    };
    for address in items(wanted, "/subsets/0/addresses") {
        let known = items(subset, "/addresses").iter().any(|other| text(other, "/ip") == text(address, "/ip"));
        if !known {
            list_mut(subset, "addresses").push(json!({"ip": text(address, "/ip")}));
        }
    }
}
