//! Discovery documents, made from the table: the legacy ones (`/api`, `/apis`, one list per group and version) and the
//! aggregated ones.

use crate::resource::{Resource, Scope, Subresource};
use crate::rows;
use base64::Engine;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Bytes of the hash that tells clients how an object is stored; upstream shows eight.
const STORAGE_HASH_BYTES: usize = 8;

/// Which form of `APIGroupDiscoveryList`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregatedVersion {
    V2,
    V2Beta1,
}

impl AggregatedVersion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// `GET /api`.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis`.
pub fn api_group_list() -> Value {
    let named: Vec<Value> = rows::groups().iter().filter(|(name, _)| !name.is_empty()).map(group_document).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named})
}

/// `GET /apis/GROUP`.
pub fn api_group(name: &str) -> Option<Value> {
    let groups = rows::groups();
    let group = groups.iter().find(|(candidate, _)| !name.is_empty() && *candidate == name)?;
    let mut document = group_document(group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

fn group_document((name, versions): &(&str, Vec<&str>)) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// `GET /api/v1` and `GET /apis/GROUP/VERSION`.
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for row in rows::table().iter().filter(|row| row.group == group && row.version == version) {
        resources.push(resource_entry(row));
        resources.extend(row.subresources.iter().map(|subresource| subresource_entry(row, subresource)));
    }
    if resources.is_empty() {
        return None;
    }
    let group_version = crate::meta::api_version(group, version);
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}

fn resource_entry(row: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), row.plural.into());
    entry.insert("singularName".to_owned(), row.singular.into());
    entry.insert("namespaced".to_owned(), (row.scope == Scope::Namespaced).into());
    entry.insert("kind".to_owned(), row.kind.into());
    entry.insert("verbs".to_owned(), json!(row.verbs));
    insert_names(&mut entry, row);
    if row.is_stored() {
        entry.insert("storageVersionHash".to_owned(), storage_version_hash(row).into());
    }
    Value::Object(entry)
}

fn insert_names(entry: &mut Map<String, Value>, row: &Resource) {
    if !row.short_names.is_empty() {
        entry.insert("shortNames".to_owned(), json!(row.short_names));
    }
    if !row.categories.is_empty() {
        entry.insert("categories".to_owned(), json!(row.categories));
    }
}

fn subresource_entry(row: &Resource, subresource: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", row.plural, subresource.name),
        "singularName": "",
        "namespaced": row.scope == Scope::Namespaced,
        "kind": subresource.kind,
        "verbs": subresource.verbs,
    });
    if (subresource.group, subresource.version) != (row.group, row.version) {
        entry["group"] = subresource.group.into();
        entry["version"] = subresource.version.into();
    }
    entry
}

/// Stable for one stored form: clients notice by it that a kind is stored otherwise.
fn storage_version_hash(row: &Resource) -> String {
    let (group, version) = row.stored_as.map_or((row.group, row.version), |view| (view.group, view.version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", row.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..STORAGE_HASH_BYTES])
}

/// `GET /api`, aggregated.
pub fn aggregated_core(version: AggregatedVersion) -> Value {
    aggregated(version, |group| group.is_empty())
}

/// `GET /apis`, aggregated.
pub fn aggregated_groups(version: AggregatedVersion) -> Value {
    aggregated(version, |group| !group.is_empty())
}

fn aggregated(form: AggregatedVersion, wanted: fn(&str) -> bool) -> Value {
    let groups = rows::groups();
    let items: Vec<Value> = groups.iter().filter(|(name, _)| wanted(name)).map(aggregated_group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", form.as_str()),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_group((name, versions): &(&str, Vec<&str>)) -> Value {
    // The core group carries no name.
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    let one = |version: &&str| {
        let rows = rows::table().iter().filter(|row| row.group == *name && row.version == *version);
        let resources: Vec<Value> = rows.map(aggregated_resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = versions.iter().map(one).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(row: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("resource".to_owned(), row.plural.into());
    entry.insert("responseKind".to_owned(), response_kind(row.group, row.version, row.kind));
    let scope = if row.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" };
    entry.insert("scope".to_owned(), scope.into());
    entry.insert("singularResource".to_owned(), row.singular.into());
    entry.insert("verbs".to_owned(), json!(row.verbs));
    insert_names(&mut entry, row);
    if !row.subresources.is_empty() {
        let one = |subresource: &Subresource| {
            json!({
                "subresource": subresource.name,
                "responseKind": response_kind(subresource.group, subresource.version, subresource.kind),
                "verbs": subresource.verbs,
            })
        };
        entry.insert("subresources".to_owned(), row.subresources.iter().map(one).collect());
    }
    Value::Object(entry)
}

/// Group and version always appear, the core group as an empty string.
fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
        list.as_array().unwrap().iter().find(|entry| entry[key] == name).unwrap()
    }

    #[test]
    fn legacy_documents() {
        assert_eq!(api_versions("10.0.0.1:6443")["versions"], json!(["v1"]));
        let groups = api_group_list();
        let autoscaling = find(&groups["groups"], "name", "autoscaling");
        assert_eq!(autoscaling["preferredVersion"]["groupVersion"], "autoscaling/v2");
        assert_eq!(autoscaling["versions"].as_array().unwrap().len(), 2);
        assert_eq!(api_group("apps").unwrap()["kind"], "APIGroup");
        assert_eq!(api_group(""), None);
        assert_eq!(api_resource_list("apps", "v2"), None);

        let core = api_resource_list("", "v1").unwrap();
        assert_eq!(core["groupVersion"], "v1");
        let pods = find(&core["resources"], "name", "pods");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["categories"], json!(["all"]));
        assert_eq!(pods["singularName"], "pod");
        assert!(!pods["storageVersionHash"].as_str().unwrap().is_empty());
        let eviction = find(&core["resources"], "name", "pods/eviction");
        assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
        assert_eq!(find(&core["resources"], "name", "pods/status").get("group"), None);
        assert_eq!(find(&core["resources"], "name", "bindings").get("storageVersionHash"), None);
    }

    #[test]
    fn aggregated_documents() {
        let core = aggregated_core(AggregatedVersion::V2Beta1);
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        assert_eq!(core["items"][0]["metadata"].get("name"), None);
        let pods = find(&core["items"][0]["versions"][0]["resources"], "resource", "pods");
        assert_eq!(pods["responseKind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
        assert_eq!(find(&pods["subresources"], "subresource", "eviction")["responseKind"]["group"], "policy");
        let others = aggregated_groups(AggregatedVersion::V2);
        assert!(others["items"].as_array().unwrap().iter().all(|group| group["metadata"]["name"] != ""));
        assert_eq!(others["items"].as_array().unwrap().len() + 1, rows::groups().len());
    }
}
