//! The schema of every kind and of what it is made of, by upstream's definition names (`io.k8s.api.core.v1.Pod`).

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

pub(crate) const REFERENCE_PREFIX: &str = "#/components/schemas/";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

macro_rules! register {
    ($generator:ident: $($group:ident::$version:ident { $($kind:ident),* $(,)? })*) => {
        $($( $generator.subschema_for::<k8s_openapi::api::$group::$version::$kind>(); )*)*
    };
}

/// The name under which upstream publishes a kind: the group's first label, `core` for the core group.
pub(crate) fn name(group: &str, version: &str, kind: &str) -> String {
    let module = match group.split('.').next() {
        None | Some("") => "core",
        Some(module) => module,
    };
    format!("io.k8s.api.{module}.{version}.{kind}")
}

pub(crate) fn all() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    register! { generator:
        core::v1 {
            Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
            PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service,
            ServiceAccount,
        }
        apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
        batch::v1 { CronJob, Job }
        autoscaling::v1 { HorizontalPodAutoscaler, Scale }
        autoscaling::v2 { HorizontalPodAutoscaler }
        authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
        authorization::v1 {
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        }
        certificates::v1 { CertificateSigningRequest }
        coordination::v1 { Lease }
        discovery::v1 { EndpointSlice }
        events::v1 { Event }
        networking::v1 { Ingress, IngressClass, NetworkPolicy }
        node::v1 { RuntimeClass }
        policy::v1 { Eviction, PodDisruptionBudget }
        rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
        scheduling::v1 { PriorityClass }
        storage::v1 { CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment }
    }
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>();
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>();
    let mut definitions = generator.take_definitions(false);
    for resource in naru_api::table() {
        let name = name(resource.group, resource.version, resource.kind);
        let schema = definitions.get_mut(&name).unwrap_or_else(|| panic!("no schema for {name}: register it above"));
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": resource.group, "kind": resource.kind, "version": resource.version}]);
    }
    for (name, schema) in &mut definitions {
        complete(name, schema);
    }
    add_lists(&mut definitions);
    definitions
}

/// Upstream requires no `metadata`, and says how strategic merge patches treat each list.
fn complete(name: &str, schema: &mut Value) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            schema.as_object_mut().expect("a schema is an object").remove("required");
        }
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (field, property) in properties {
        let Some(marks) = naru_api::patch::strategy(name, field) else { continue };
        if let Some(strategy) = marks.patch.as_str() {
            property["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        if !marks.merge_key.is_empty() {
            property["x-kubernetes-patch-merge-key"] = json!(marks.merge_key);
        }
        if let Some(list_type) = marks.list_type.as_str() {
            property["x-kubernetes-list-type"] = json!(list_type);
        }
        if !marks.list_map_keys.is_empty() {
            property["x-kubernetes-list-map-keys"] = json!(marks.list_map_keys);
        }
        if marks.atomic_map {
            property["x-kubernetes-map-type"] = json!("atomic");
        }
    }
}

fn add_lists(definitions: &mut Map<String, Value>) {
    for resource in naru_api::table().iter().filter(|row| row.verbs.contains(&"list")) {
        let item = name(resource.group, resource.version, resource.kind);
        let properties = json!({
            "apiVersion": definitions[&item]["properties"]["apiVersion"],
            "kind": definitions[&item]["properties"]["kind"],
            "metadata": {"$ref": format!("{REFERENCE_PREFIX}io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")},
            "items": {"type": "array", "description": format!("Items is the list of {}.", resource.plural),
                      "items": {"$ref": format!("{REFERENCE_PREFIX}{item}")}},
        });
        let schema = json!({
            "description": format!("{0}List is a list of {0}.", resource.kind),
            "type": "object", "properties": properties, "required": ["items"],
            "x-kubernetes-group-version-kind":
                [{"group": resource.group, "kind": format!("{}List", resource.kind), "version": resource.version}],
        });
        definitions.insert(format!("{item}List"), schema);
    }
    definitions.entry("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").or_insert_with(|| {
        json!({"description": "ListMeta describes a list as a whole.", "type": "object", "properties": {
            "continue": {"type": "string", "description": "Set when the list was cut: a token for the next part."},
            "remainingItemCount": {"type": "integer", "format": "int64",
                                   "description": "How many more items there are, where that is known."},
            "resourceVersion": {"type": "string", "description": "The version of the whole list."},
            "selfLink": {"type": "string", "description": "No longer set."},
        }})
    });
}

/// Adds `name` and all it refers to.
pub(crate) fn reach(definitions: &Map<String, Value>, name: &str, reached: &mut BTreeSet<String>) {
    if definitions.contains_key(name) && reached.insert(name.to_owned()) {
        references(&definitions[name], &mut |reference| reach(definitions, reference, reached));
    }
}

fn references(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str) {
                found(name.trim_start_matches(REFERENCE_PREFIX));
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

pub(crate) fn version_2(name: &str, schema: &Value) -> Value {
    let mut schema = match name {
        QUANTITY => json!({"description": schema["description"], "type": "string"}),
        INT_OR_STRING => json!({"description": schema["description"], "type": "string", "format": "int-or-string"}),
        _ => schema.clone(),
    };
    rewrite(&mut schema, &|object| {
        if let Some(Value::String(reference)) = object.get_mut("$ref") {
            *reference = reference.replace(REFERENCE_PREFIX, "#/definitions/");
        }
    });
    schema
}

pub(crate) fn version_3(name: &str, schema: &Value) -> Value {
    let mut schema = match name {
        QUANTITY => json!({"description": schema["description"], "oneOf": [{"type": "string"}, {"type": "number"}]}),
        INT_OR_STRING => json!({"description": schema["description"], "format": "int-or-string",
                                "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        _ => schema.clone(),
    };
    // OpenAPI 3.0 ignores what stands beside a $ref.
    rewrite(&mut schema, &|object| {
        if object.len() > 1
            && let Some(reference) = object.remove("$ref")
        {
            object.insert("allOf".into(), json!([{"$ref": reference}]));
        }
    });
    schema
}

fn rewrite(value: &mut Value, change: &dyn Fn(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(|value| rewrite(value, change));
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rewrite(value, change)),
        _ => {}
    }
}
