//! Roles and bindings in the form in which questions are answered: by subject, then by scope.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::rules::Rule;
use super::{Decision, RBAC_GROUP};
use crate::admission::fields::{items, text};
use crate::authentication::SERVICE_ACCOUNT_PREFIX;
use crate::chain::{ObjectReader, RequestInfo, UserInfo};

/// A binding as seen from one of its subjects.
struct Grant {
    /// Empty for a ClusterRoleBinding.
    namespace: String,
    /// `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`
    description: String,
    /// Why the role could not be found, if so.
    missing: Option<String>,
    rules: Arc<[Rule]>,
}

/// All roles and bindings of one moment.
pub(crate) struct Policy {
    cluster_roles: HashMap<String, Arc<[Rule]>>,
    roles: HashMap<(String, String), Arc<[Rule]>>,
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Policy {
    pub(crate) fn compile(reader: &dyn ObjectReader) -> Self {
        let mut policy = Self {
            cluster_roles: cluster_roles(&reader.list(RBAC_GROUP, "clusterroles", None)),
            roles: HashMap::new(),
            users: HashMap::new(),
            groups: HashMap::new(),
        };
        for role in reader.list(RBAC_GROUP, "roles", None) {
            let key = (text(&role, "/metadata/namespace").to_owned(), text(&role, "/metadata/name").to_owned());
            policy.roles.insert(key, rules_of(&role).into());
        }
        for binding in reader.list(RBAC_GROUP, "clusterrolebindings", None) {
            policy.add_binding(&binding);
        }
        for binding in reader.list(RBAC_GROUP, "rolebindings", None) {
            policy.add_binding(&binding);
        }
        policy
    }

    fn add_binding(&mut self, binding: &Value) {
        let (namespace, name) = (text(binding, "/metadata/namespace"), text(binding, "/metadata/name"));
        let (role_kind, role) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let (rules, missing) = match self.role_rules(role_kind, namespace, role) {
            Some(rules) => (rules, None),
            None => (Arc::from([]), Some(not_found(role_kind, role))),
        };
        let shown_binding = match namespace {
            "" => format!("ClusterRoleBinding {name:?}"),
            namespace => format!("RoleBinding {:?}", format!("{name}/{namespace}")),
        };
        for subject in items(binding, "/subjects") {
            let (kind, subject_name) = (text(subject, "/kind"), text(subject, "/name"));
            let subject_namespace = match text(subject, "/namespace") {
                "" => namespace,
                given => given,
            };
            let (map, key, shown) = match kind {
                "User" => (&mut self.users, subject_name.to_owned(), subject_name.to_owned()),
                "Group" => (&mut self.groups, subject_name.to_owned(), subject_name.to_owned()),
                "ServiceAccount" => (
                    &mut self.users,
                    format!("{SERVICE_ACCOUNT_PREFIX}{subject_namespace}:{subject_name}"),
                    format!("{subject_name}/{subject_namespace}"),
                ),
                _ => continue,
            };
            map.entry(key).or_default().push(Grant {
                namespace: namespace.to_owned(),
                description: format!("{shown_binding} of {role_kind} {role:?} to {kind} {shown:?}"),
                missing: missing.clone(),
                rules: Arc::clone(&rules),
            });
        }
    }

    /// The rules of a role; of a ClusterRole with an aggregation rule, those that it gathers.
    pub(crate) fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name).cloned(),
            "Role" => self.roles.get(&(namespace.to_owned(), name.to_owned())).cloned(),
            _ => None,
        }
    }

    /// Cluster-wide grants of the user, then those in the namespace.
    fn grants<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let everything = move || {
            let by_group = user.groups.iter().filter_map(|group| self.groups.get(group));
            self.users.get(&user.username).into_iter().chain(by_group).flatten()
        };
        let local = everything().filter(move |grant| !namespace.is_empty() && grant.namespace == namespace);
        everything().filter(|grant| grant.namespace.is_empty()).chain(local)
    }

    pub(crate) fn decide(&self, user: &UserInfo, info: &RequestInfo) -> Decision {
        let mut missing: Vec<&str> = Vec::new();
        let namespace = if info.is_resource { info.namespace.as_str() } else { "" };
        for grant in self.grants(user, namespace) {
            if grant.rules.iter().any(|rule| rule.allows(info)) {
                return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.description) };
            }
            missing.extend(grant.missing.as_deref().filter(|text| !missing.contains(text)));
        }
        let reason = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        };
        Decision { allowed: false, reason }
    }

    /// Every rule that holds for the user in the namespace (empty: cluster-wide only), and what could not be resolved.
    pub(crate) fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let mut rules = Vec::new();
        let mut missing = Vec::new();
        for grant in self.grants(user, namespace) {
            rules.extend(grant.rules.iter().cloned());
            missing.extend(grant.missing.clone());
        }
        (rules, missing)
    }
}

fn not_found(kind: &str, name: &str) -> String {
    let plural = if kind == "ClusterRole" { "clusterrole" } else { "role" };
    format!("{plural}.{RBAC_GROUP} {name:?} not found")
}

pub(crate) fn rules_of(role: &Value) -> Vec<Rule> {
    items(role, "/rules").iter().filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

fn cluster_roles(objects: &[Arc<Value>]) -> HashMap<String, Arc<[Rule]>> {
    let mut all = HashMap::with_capacity(objects.len());
    for object in objects {
        let selectors = items(object, "/aggregationRule/clusterRoleSelectors");
        let mut rules = rules_of(object);
        if !selectors.is_empty() {
            let name = text(object, "/metadata/name");
            rules = aggregated(objects, name, selectors);
        }
        all.insert(text(object, "/metadata/name").to_owned(), rules.into());
    }
    all
}

/// The union of the rules of all roles that one of the selectors matches. Roles may gather gatherers.
fn aggregated(objects: &[Arc<Value>], name: &str, selectors: &[Value]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut visited: Vec<&str> = vec![name];
    let mut waiting: Vec<&[Value]> = vec![selectors];
    // Each role is visited once, so the loop ends after as many rounds as there are roles.
    while let Some(selectors) = waiting.pop() {
        for object in objects {
            let member = text(object, "/metadata/name");
            let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
            if visited.contains(&member) || !selectors.iter().any(|selector| selects(selector, labels)) {
                continue;
            }
            visited.push(member);
            let nested = items(object, "/aggregationRule/clusterRoleSelectors");
            if nested.is_empty() {
                for rule in rules_of(object) {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            } else {
                waiting.push(nested);
            }
        }
    }
    rules
}

/// `meta/v1 LabelSelector` against labels. An empty selector selects nothing here.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = items(selector, "/matchExpressions");
    if wanted.is_none_or(serde_json::Map::is_empty) && expressions.is_empty() {
        return false;
    }
    let equal = wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    equal
        && expressions.iter().all(|expression| {
            let found = labels.get(text(expression, "/key"));
            let listed = found.is_some_and(|value| items(expression, "/values").contains(value));
            match text(expression, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
