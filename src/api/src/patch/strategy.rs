//! How each field of the built-in types merges: look-ups in the fact table.

use super::types::{ATOMIC_TYPES, TYPES};
use crate::resource::Resource;

/// The marks of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldStrategy {
    pub name: &'static str,
    /// Type of the value or of the list's elements, as `core.v1.Container`; empty when nothing below has marks.
    pub element: &'static str,
    pub patch: Patch,
    /// `x-kubernetes-patch-merge-key`; empty when there is none (a list of scalars).
    pub merge_key: &'static str,
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: &'static [&'static str],
    /// `x-kubernetes-map-type: atomic` on the field.
    pub atomic_map: bool,
}

/// `x-kubernetes-patch-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    Replace,
    Merge,
    Retain,
    MergeRetain,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    Unset,
    Atomic,
    Set,
    Map,
}

impl Patch {
    pub fn merges(self) -> bool {
        matches!(self, Self::Merge | Self::MergeRetain)
    }

    /// The value of the OpenAPI mark, if the field carries one.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Replace => None,
            Self::Merge => Some("merge"),
            Self::Retain => Some("retainKeys"),
            Self::MergeRetain => Some("merge,retainKeys"),
        }
    }
}

impl ListType {
    /// The value of the OpenAPI mark, if the field carries one.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unset => None,
            Self::Atomic => Some("atomic"),
            Self::Set => Some("set"),
            Self::Map => Some("map"),
        }
    }
}

pub(super) const fn field(
    name: &'static str,
    element: &'static str,
    patch: Patch,
    merge_key: &'static str,
    list_type: ListType,
    list_map_keys: &'static [&'static str],
    atomic_map: bool,
) -> FieldStrategy {
    FieldStrategy { name, element, patch, merge_key, list_type, list_map_keys, atomic_map }
}

/// The marks of a field. The type is named as in OpenAPI (`io.k8s.api.core.v1.PodSpec`) or shorter (`core.v1.PodSpec`).
pub fn strategy(type_name: &str, field: &str) -> Option<&'static FieldStrategy> {
    let name = short(type_name);
    let index = TYPES.binary_search_by(|(candidate, _)| (*candidate).cmp(name)).ok()?;
    TYPES[index].1.iter().find(|entry| entry.name == field)
}

/// Whether a whole type is atomic for server-side apply.
pub fn is_atomic_type(type_name: &str) -> bool {
    ATOMIC_TYPES.contains(&short(type_name))
}

/// The type of a row's objects, as `apps.v1.Deployment`.
pub fn type_name(resource: &Resource) -> String {
    let package = match resource.group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    };
    format!("{package}.{}.{}", resource.version, resource.kind)
}

fn short(type_name: &str) -> &str {
    type_name
        .strip_prefix("io.k8s.api.")
        .or_else(|| type_name.strip_prefix("io.k8s.apimachinery.pkg.apis."))
        .unwrap_or(type_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_its_references_resolve_or_are_leaves() {
        assert!(TYPES.is_sorted_by_key(|(name, _)| *name));
        let known = |name: &str| TYPES.iter().any(|(candidate, _)| *candidate == name) || is_atomic_type(name);
        for (name, fields) in TYPES {
            for field in *fields {
                assert!(field.element.is_empty() || known(field.element), "{name}.{} -> {}", field.name, field.element);
            }
        }
    }

    #[test]
    fn marks_of_openapi() {
        let ports = strategy("io.k8s.api.core.v1.ServiceSpec", "ports").unwrap();
        assert_eq!((ports.patch.as_str(), ports.merge_key), (Some("merge"), "port"));
        assert_eq!((ports.list_type.as_str(), ports.list_map_keys), (Some("map"), &["port", "protocol"][..]));
        let volumes = strategy("core.v1.PodSpec", "volumes").unwrap();
        assert_eq!(volumes.patch.as_str(), Some("merge,retainKeys"));
        assert_eq!(strategy("core.v1.PodSpec", "tolerations").unwrap().patch, Patch::Replace);
        let owners = strategy("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "ownerReferences").unwrap();
        assert_eq!(owners.merge_key, "uid");
        assert_eq!(strategy("core.v1.PodSpec", "nodeName"), None);
    }

    #[test]
    fn stored_kinds_with_a_spec_are_known() {
        for plural in ["pods", "deployments", "services", "nodes", "jobs", "roles", "ingresses"] {
            let row = crate::table().iter().find(|row| row.plural == plural).unwrap();
            assert!(strategy(&type_name(row), "metadata").is_some(), "{plural}");
        }
    }
}
