//! The resource table, one file per family of groups, and what the rows are built from.
//!
//! Served as storage without a controller of ours behind it (yet): StatefulSet, DaemonSet, Job, CronJob,
//! ControllerRevision,
//! ReplicationController, HorizontalPodAutoscaler, PodDisruptionBudget, PersistentVolume(Claim), ResourceQuota,
//! LimitRange,
//! Ingress, NetworkPolicy, StorageClass and the CSI kinds, RuntimeClass, CertificateSigningRequest.

mod apps;
mod core;
mod extras;

use crate::print;
use crate::resource::{FieldError, Resource, Scope, Strategy, Subresource};
use serde_json::Value;
use std::sync::LazyLock;

static TABLE: LazyLock<Vec<Resource>> = LazyLock::new(|| [core::ROWS, apps::ROWS, extras::ROWS].concat());

/// All rows, in the order in which discovery lists them.
pub fn table() -> &'static [Resource] {
    &TABLE
}

/// The row of `group`, `version` and plural name.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    table().iter().find(|row| row.plural == plural && row.version == version && row.group == group)
}

/// The row of `group`, `version` and kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    table().iter().find(|row| row.kind == kind && row.version == version && row.group == group)
}

/// The row that an object belongs to, by its `apiVersion` and `kind`.
pub fn of_object(object: &Value) -> Option<&'static Resource> {
    let (group, version) = crate::meta::split_api_version(crate::meta::string_at(object, &["apiVersion"]));
    by_kind(group, version, crate::meta::string_at(object, &["kind"]))
}

/// The row under whose group, version and plural the objects of this row are kept: itself, but for views.
pub fn stored_row(row: &'static Resource) -> &'static Resource {
    let Some(view) = row.stored_as else { return row };
    by_kind(view.group, view.version, row.kind).unwrap_or(row)
}

/// Groups in the order of the table, the core group (empty name) first, each with its versions, the preferred one
/// first.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for row in table() {
        match groups.iter_mut().find(|(group, _)| *group == row.group) {
            Some((_, versions)) if versions.contains(&row.version) => {}
            Some((_, versions)) => versions.push(row.version),
            None => groups.push((row.group, vec![row.version])),
        }
    }
    groups
}

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces cannot be deleted by collection.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const CREATE_GET: &[&str] = &["create", "get"];
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
const ALL_CATEGORY: &[&str] = &["all"];

fn no_default(_: &mut Value) {}

fn no_errors(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

fn no_update_errors(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

const PLAIN: Strategy = Strategy {
    default: no_default,
    validate: no_errors,
    validate_update: no_update_errors,
    generation: false,
    graceful_deletion: false,
    create_on_update: false,
};

const fn row(
    (group, version): (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    scope: Scope,
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        scope,
        verbs: ALL_VERBS,
        subresources: &[],
        fields: &[],
        columns: print::NAME_AGE,
        strategy: PLAIN,
        stored_as: None,
    }
}

const fn subresource(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, group, version, kind, verbs }
}

const fn status(group: &'static str, version: &'static str, kind: &'static str) -> Subresource {
    subresource("status", group, version, kind, GET_PATCH_UPDATE)
}

const SCALE: Subresource = subresource("scale", "autoscaling", "v1", "Scale", GET_PATCH_UPDATE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_singular_is_the_lower_case_kind() {
        let mut seen = std::collections::HashSet::new();
        for row in table() {
            assert!(seen.insert((row.group, row.version, row.plural)), "{} twice", row.plural);
            assert_eq!(row.singular, row.kind.to_lowercase());
            assert!(row.verbs.is_sorted(), "{}", row.plural);
            assert!(row.subresources.is_sorted_by_key(|subresource| subresource.name), "{}", row.plural);
        }
    }

    #[test]
    fn views_lead_to_rows() {
        let events = by_plural("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(stored_row(events).group, "");
        let scalers = by_plural("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        assert_eq!(stored_row(scalers).version, "v2");
        assert_eq!(groups()[0], ("", vec!["v1"]));
    }

    #[test]
    fn kubectl_get_all_finds_its_kinds() {
        let all: Vec<&str> =
            table().iter().filter(|row| row.categories.contains(&"all")).map(|row| row.plural).collect();
        for plural in
            ["pods", "services", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs"]
        {
            assert!(all.contains(&plural), "{plural}");
        }
    }
}
