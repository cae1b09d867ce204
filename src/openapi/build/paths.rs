//! The operations of a row of the resource table, and their form in OpenAPI 2 and 3. kubectl asks these whether the
//! server validates fields and dry-runs: it looks for the query parameters of PATCH.

use std::collections::BTreeMap;

use naru_api::{Resource, Scope};
use serde_json::{Value, json};

use crate::definitions;

pub(crate) struct Operation {
    method: &'static str,
    action: &'static str,
    id: String,
    group: String,
    version: String,
    kind: String,
    /// Definition names of the request body and of the answer.
    body: Option<String>,
    answer: String,
    path_parameters: Vec<&'static str>,
    query_parameters: QueryParameters,
}

impl Operation {
    pub(crate) fn definitions(&self) -> impl Iterator<Item = String> + '_ {
        self.body.iter().cloned().chain([self.answer.clone()])
    }
}

const PRETTY: (&str, &str) = ("pretty", "string");
const WRITE: &[(&str, &str)] =
    &[PRETTY, ("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[PRETTY, ("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] = &[
    PRETTY,
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LIST: &[(&str, &str)] = &[
    PRETTY,
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

type QueryParameters = &'static [(&'static str, &'static str)];

#[derive(Clone, Copy)]
struct Verb {
    name: &'static str,
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    of_collection: bool,
    parameters: QueryParameters,
}

const fn verb(
    name: &'static str,
    method: &'static str,
    action: &'static str,
    of_collection: bool,
    parameters: QueryParameters,
) -> Verb {
    Verb { name, method, action, of_collection, parameters }
}

const LIST_VERB: Verb = verb("list", "get", "list", true, LIST);
const VERBS: &[Verb] = &[
    LIST_VERB,
    verb("create", "post", "post", true, WRITE),
    verb("deletecollection", "delete", "deletecollection", true, DELETE),
    verb("get", "get", "get", false, &[PRETTY]),
    verb("update", "put", "put", false, WRITE),
    verb("patch", "patch", "patch", false, PATCH),
    verb("delete", "delete", "delete", false, DELETE),
];

pub(crate) fn of(resource: &Resource) -> BTreeMap<String, Vec<Operation>> {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let namespaced = resource.scope == Scope::Namespaced;
    let collection = if namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let item = format!("{collection}/{{name}}");
    let kind = (resource.group, resource.version, resource.kind);
    let mut paths: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for name in resource.verbs {
        for verb in VERBS.iter().filter(|verb| verb.name == *name) {
            let path = if verb.of_collection { &collection } else { &item };
            paths.entry(path.clone()).or_default().push(operation(resource, kind, *verb, namespaced, ""));
        }
        if *name == "list" && namespaced {
            let path = format!("{root}/{}", resource.plural);
            paths.entry(path).or_default().push(operation(resource, kind, LIST_VERB, false, "ForAllNamespaces"));
        }
    }
    for subresource in resource.subresources {
        let kind = (subresource.group, subresource.version, subresource.kind);
        // Connections (exec, proxy…) have options in the query and no schema of their own.
        if subresource.kind.ends_with("Options") {
            continue;
        }
        for name in subresource.verbs {
            for verb in VERBS.iter().filter(|verb| verb.name == *name) {
                let on_item = Verb { of_collection: false, ..*verb };
                let suffix = capitalised(subresource.name);
                let path = format!("{item}/{}", subresource.name);
                paths.entry(path).or_default().push(operation(resource, kind, on_item, namespaced, &suffix));
            }
        }
    }
    paths
}

fn operation(
    resource: &Resource,
    (group, version, kind): (&str, &str, &str),
    verb: Verb,
    namespaced: bool,
    suffix: &str,
) -> Operation {
    // A subresource without a group of its own speaks the kinds of its parent's.
    let group = if group.is_empty() && version == resource.version { resource.group } else { group };
    let group = if matches!(kind, "Scale") { "autoscaling" } else { group };
    let version = if version.is_empty() { resource.version } else { version };
    let definition = definitions::name(group, version, kind);
    let body = match verb.name {
        "create" | "update" => Some(definition.clone()),
        "delete" | "deletecollection" => Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned()),
        _ => None,
    };
    let answer = match verb.name {
        "list" => format!("{definition}List"),
        "delete" | "deletecollection" => "io.k8s.apimachinery.pkg.apis.meta.v1.Status".to_owned(),
        _ => definition,
    };
    let mut path_parameters = Vec::new();
    if !verb.of_collection {
        path_parameters.push("name");
    }
    if namespaced {
        path_parameters.push("namespace");
    }
    let scope = if namespaced { "Namespaced" } else { "" };
    let group_part: String = resource.group.split('.').next().map(capitalised).unwrap_or_default();
    Operation {
        method: verb.method,
        action: verb.action,
        id: format!("{}{group_part}{}{scope}{}{suffix}", verb.name, capitalised(resource.version), resource.kind),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        body,
        answer,
        path_parameters,
        query_parameters: verb.parameters,
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(crate) fn version_2(operations: &[Operation]) -> Value {
    let mut item = json!({});
    for operation in operations {
        let mut parameters: Vec<Value> = Vec::new();
        for name in &operation.path_parameters {
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true}));
        }
        for (name, kind) in operation.query_parameters {
            parameters.push(json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}));
        }
        if let Some(body) = &operation.body {
            parameters.push(json!({"name": "body", "in": "body", "required": operation.method != "delete",
                                   "schema": {"$ref": format!("#/definitions/{body}")}}));
        }
        item[operation.method] = json!({
            "operationId": operation.id, "parameters": parameters,
            "consumes": consumes(operation.method), "produces": ["application/json", "application/yaml"],
            "responses": {"200": {"description": "OK",
                                  "schema": {"$ref": format!("#/definitions/{}", operation.answer)}}},
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind":
                {"group": operation.group, "kind": operation.kind, "version": operation.version},
        });
    }
    item
}

pub(crate) fn version_3(operations: &[Operation]) -> Value {
    let reference = |name: &String| json!({"schema": {"$ref": format!("{}{name}", definitions::REFERENCE_PREFIX)}});
    let mut item = json!({});
    for operation in operations {
        let mut parameters: Vec<Value> = Vec::new();
        for name in &operation.path_parameters {
            parameters.push(
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}),
            );
        }
        for (name, kind) in operation.query_parameters {
            parameters.push(json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}));
        }
        let mut rendered = json!({
            "operationId": operation.id, "parameters": parameters,
            "responses": {"200": {"description": "OK",
                                  "content": {"application/json": reference(&operation.answer)}}},
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind":
                {"group": operation.group, "kind": operation.kind, "version": operation.version},
        });
        if let Some(body) = &operation.body {
            rendered["requestBody"] = json!({"content": {"*/*": reference(body)}});
        }
        item[operation.method] = rendered;
    }
    item
}

fn consumes(method: &str) -> Value {
    match method {
        "patch" => json!([
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json"
        ]),
        _ => json!(["*/*"]),
    }
}
