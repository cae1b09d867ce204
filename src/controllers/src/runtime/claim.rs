//! Adoption and release: a controller owns what its selector matches, and lets go of what it no longer matches.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Error, Result, meta, selector};

/// What is to be done about one candidate.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

fn decide(
    owner_uid: &str,
    owner_deleting: bool,
    selector: &LabelSelector,
    candidate: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Claim {
    let matching = selector::matches(Some(selector), candidate.labels.as_ref());
    match meta::controller_of(candidate) {
        Some(controller) if controller.uid != owner_uid => Claim::Ignore,
        Some(_) if matching => Claim::Keep,
        Some(_) if owner_deleting => Claim::Ignore,
        Some(_) => Claim::Release,
        None if matching && !owner_deleting && !meta::is_deleting(candidate) => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// The candidates that belong to `owner`, after adopting and releasing.
pub async fn claim<O, K>(
    client: &Client,
    owner: &O,
    selector: &LabelSelector,
    candidates: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let owner_meta = owner.meta();
    let namespace = meta::namespace(owner_meta);
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut claimed = Vec::with_capacity(candidates.len());
    let mut may_adopt = None;
    for candidate in candidates {
        match decide(meta::uid(owner_meta), meta::is_deleting(owner_meta), selector, candidate.meta()) {
            Claim::Keep => claimed.push(candidate),
            Claim::Ignore => {}
            Claim::Release => {
                release(&api, candidate.meta(), meta::uid(owner_meta)).await?;
            }
            Claim::Adopt => {
                if may_adopt.is_none() {
                    may_adopt = Some(still_there(client, owner).await?);
                }
                if may_adopt == Some(true) && adopt(&api, candidate.meta(), owner).await? {
                    claimed.push(candidate);
                }
            }
        }
    }
    Ok(claimed)
}

/// The cache may be behind: adopting for an owner that is gone would make orphans for the collector to delete.
async fn still_there<O>(client: &Client, owner: &O) -> Result<bool>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<O> = Api::namespaced(client.clone(), meta::namespace(owner.meta()));
    let live = api.get_opt(meta::name(owner.meta())).await?;
    Ok(live.is_some_and(|live| meta::uid(live.meta()) == meta::uid(owner.meta()) && !meta::is_deleting(live.meta())))
}

async fn adopt<O, K>(
    api: &Api<K>,
    candidate: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    owner: &O,
) -> Result<bool>
where
    O: Resource<DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let mut owners = candidate.owner_references.clone().unwrap_or_default();
    owners.retain(|reference| reference.uid != meta::uid(owner.meta()));
    owners.push(meta::controller_reference(owner));
    write_owners(api, candidate, &owners).await
}

async fn release<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    candidate: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    owner_uid: &str,
) -> Result<bool> {
    let mut owners = candidate.owner_references.clone().unwrap_or_default();
    owners.retain(|reference| reference.uid != owner_uid);
    write_owners(api, candidate, &owners).await
}

async fn write_owners<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    candidate: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
) -> Result<bool> {
    let patch = json!({"metadata": {
        "uid": candidate.uid, "resourceVersion": candidate.resource_version, "ownerReferences": owners,
    }});
    let written = api.patch(meta::name(candidate), &PatchParams::default(), &Patch::Merge(patch)).await;
    match written.map_err(Error::from) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn candidate(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn decisions() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"a": "b"}})).unwrap();
        let owned = |uid: &str, label: &str| {
            candidate(json!({
                "labels": {"a": label},
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]
            }))
        };
        assert_eq!(decide("me", false, &selector, &owned("me", "b")), Claim::Keep);
        assert_eq!(decide("me", false, &selector, &owned("me", "c")), Claim::Release);
        assert_eq!(decide("me", true, &selector, &owned("me", "c")), Claim::Ignore);
        assert_eq!(decide("me", false, &selector, &owned("you", "b")), Claim::Ignore);
        let orphan = candidate(json!({"labels": {"a": "b"}}));
        assert_eq!(decide("me", false, &selector, &orphan), Claim::Adopt);
        assert_eq!(decide("me", true, &selector, &orphan), Claim::Ignore);
        let dying = candidate(json!({"labels": {"a": "b"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        assert_eq!(decide("me", false, &selector, &dying), Claim::Ignore);
    }
}
