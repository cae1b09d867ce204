//! Rules, bindings and aggregation over objects in memory; the reader and the users other tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::admission::fields::text;

type Key = (String, String, String, String);

/// Objects in memory, for all tests of the chain.
#[derive(Default)]
pub(crate) struct Memory {
    objects: Mutex<Vec<(Key, Arc<Value>)>>,
    revision: AtomicU64,
}

impl Memory {
    pub(crate) fn put(&self, group: &str, plural: &str, object: Value) {
        let place = |pointer: &str| text(&object, pointer).to_owned();
        let key = (group.to_owned(), plural.to_owned(), place("/metadata/namespace"), place("/metadata/name"));
        let mut objects = self.objects.lock();
        objects.retain(|(other, _)| *other != key);
        objects.push((key, Arc::new(object)));
        self.revision.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) {
        let key = (group.to_owned(), plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.lock().retain(|(other, _)| *other != key);
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

impl ObjectReader for Memory {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (group.to_owned(), plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.lock().iter().find(|(other, _)| *other == key).map(|(_, object)| Arc::clone(object))
    }

    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.objects.lock();
        let wanted = objects
            .iter()
            .filter(|((g, p, n, _), _)| g == group && p == plural && namespace.is_none_or(|namespace| n == namespace));
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn list_by_field(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        field: &str,
        value: &str,
    ) -> Vec<Arc<Value>> {
        let pointer = format!("/{}", field.replace('.', "/"));
        let all = self.list(group, plural, namespace);
        all.into_iter().filter(|object| text(object, &pointer) == value).collect()
    }

    fn revision_of(&self, _group: &str, _plural: &str) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }
}

pub(crate) fn user(name: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    UserInfo { username: name.to_owned(), groups, ..UserInfo::default() }
}

/// `verb group/resource/subresource namespace name`, missing parts as `-`.
pub(crate) fn request(line: &str) -> RequestInfo {
    let words: Vec<&str> = line.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default().to_owned();
    if words.len() == 2 {
        return RequestInfo { verb: word(0), path: word(1), ..RequestInfo::default() };
    }
    let subresource = words[2].split_once('/').map(|(_, sub)| sub.to_owned()).unwrap_or_default();
    let resource = words[2].split('/').next().unwrap_or_default().to_owned();
    RequestInfo {
        is_resource: true,
        verb: word(0),
        api_group: word(1),
        resource,
        subresource,
        namespace: word(3),
        name: word(4),
        ..RequestInfo::default()
    }
}

pub(crate) fn role(plural: &str, namespace: &str, name: &str, rules: Value) -> Value {
    let kind = if plural == "roles" { "Role" } else { "ClusterRole" };
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({"kind": kind, "metadata": metadata, "rules": rules})
}

pub(crate) fn binding(namespace: &str, name: &str, kind: &str, role: &str, subject: Value) -> Value {
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({"metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]})
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"kind": kind, "name": name})
}

fn pods_role(verbs: &[&str], resources: &[&str]) -> Value {
    json!([{"verbs": verbs, "apiGroups": [""], "resources": resources}])
}

fn sample() -> (Arc<Memory>, Rbac) {
    let memory = Arc::new(Memory::default());
    memory.put(RBAC_GROUP, "roles", role("roles", "dev", "reader", pods_role(&["get", "list"], &["pods", "pods/log"])));
    memory.put(RBAC_GROUP, "rolebindings", binding("dev", "read", "Role", "reader", subject("User", "alice")));
    memory.put(
        RBAC_GROUP,
        "clusterroles",
        role(
            "clusterroles",
            "",
            "scaler",
            json!([
                {"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]},
                {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]},
                {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"], "apiGroups": null},
            ]),
        ),
    );
    memory.put(
        RBAC_GROUP,
        "clusterrolebindings",
        binding("", "scale", "ClusterRole", "scaler", subject("Group", "ops")),
    );
    let account = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "dev"});
    memory.put(RBAC_GROUP, "rolebindings", binding("prod", "bot", "ClusterRole", "scaler", account));
    let rbac = Rbac::new(Arc::clone(&memory) as Arc<dyn ObjectReader>);
    (memory, rbac)
}

#[test]
fn rules_match_as_upstream() {
    let (_, rbac) = sample();
    let alice = user("alice", &[]);
    let ops = user("bob", &["ops"]);
    let bot = user("system:serviceaccount:dev:bot", &[]);
    let cases = [
        (&alice, "list - pods dev", true),
        (&alice, "get - pods/log dev p", true),
        (&alice, "get - pods/exec dev p", false),
        (&alice, "list - pods prod", false),
        (&alice, "list - pods -", false),
        (&alice, "delete - pods dev p", false),
        (&ops, "update apps deployments/scale any x", true),
        (&ops, "update apps deployments any x", false),
        (&ops, "get apps deployments any web", true),
        (&ops, "get apps deployments any other", false),
        (&ops, "list apps deployments any", false),
        (&ops, "get /metrics", true),
        (&ops, "get /debug/pprof/heap", true),
        (&ops, "get /metrics/x", false),
        (&alice, "get /readyz", true),
        (&alice, "get /readyz/etcd", false),
        (&bot, "update apps replicasets/scale prod r", true),
        (&bot, "update apps replicasets/scale dev r", false),
        (&bot, "get /metrics", false),
    ];
    for (user, line, allowed) in cases {
        assert_eq!(rbac.decide(user, &request(line)).allowed, allowed, "{} {line}", user.username);
    }
    assert!(rbac.decide(&user("x", &[MASTERS]), &request("delete - nodes - n")).allowed);
}

#[test]
fn refusals_are_worded_as_upstream() {
    let (memory, rbac) = sample();
    let refusal = |user: &UserInfo, line: &str| rbac.authorize(user, &request(line)).unwrap_err();
    let alice = user("alice", &[]);
    let cases = [
        (
            "list - pods default",
            "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" \
             in the namespace \"default\"",
        ),
        (
            "get apps deployments/scale default web",
            "deployments.apps \"web\" is forbidden: User \"alice\" cannot get resource \
             \"deployments/scale\" in API group \"apps\" in the namespace \"default\"",
        ),
        (
            "list - nodes -",
            "nodes is forbidden: User \"alice\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ),
        ("get /metrics", "forbidden: User \"alice\" cannot get path \"/metrics\""),
    ];
    for (line, expected) in cases {
        let error = refusal(&alice, line);
        assert_eq!((error.code, error.reason, error.message.as_str()), (403, "Forbidden", expected));
    }
    memory.put(RBAC_GROUP, "clusterrolebindings", binding("", "lost", "ClusterRole", "gone", subject("User", "carol")));
    assert_eq!(
        refusal(&user("carol", &[]), "list - nodes -").message,
        "nodes is forbidden: User \"carol\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: \
         RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
}

#[test]
fn reasons_name_the_binding_and_changes_take_effect() {
    let (memory, rbac) = sample();
    let alice = user("alice", &[]);
    let decision = rbac.decide(&alice, &request("list - pods dev"));
    assert_eq!(decision.reason, "RBAC: allowed by RoleBinding \"read/dev\" of Role \"reader\" to User \"alice\"");
    let bot = rbac.decide(&user("system:serviceaccount:dev:bot", &[]), &request("update apps x/scale prod r"));
    assert_eq!(
        bot.reason,
        "RBAC: allowed by RoleBinding \"bot/prod\" of ClusterRole \"scaler\" to ServiceAccount \"bot/dev\""
    );
    memory.delete(RBAC_GROUP, "rolebindings", "dev", "read");
    assert!(!rbac.decide(&alice, &request("list - pods dev")).allowed);
}

#[test]
fn aggregated_roles_gather_by_label() {
    let (memory, rbac) = sample();
    let label = json!({"aggregate": "yes"});
    let mut part = role("clusterroles", "", "part", pods_role(&["watch"], &["pods"]));
    part["metadata"]["labels"] = label.clone();
    memory.put(RBAC_GROUP, "clusterroles", part);
    let mut whole = role("clusterroles", "", "whole", json!([]));
    whole["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": label}]});
    memory.put(RBAC_GROUP, "clusterroles", whole);
    memory.put(RBAC_GROUP, "clusterrolebindings", binding("", "w", "ClusterRole", "whole", subject("User", "dora")));
    assert!(rbac.decide(&user("dora", &[]), &request("watch - pods -")).allowed);
    assert!(!rbac.decide(&user("dora", &[]), &request("update apps x/scale a b")).allowed);
}

#[test]
fn uncovered_permissions_are_listed() {
    let rule = |verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]| Rule {
        verbs: verbs.iter().map(|s| (*s).to_owned()).collect(),
        api_groups: groups.iter().map(|s| (*s).to_owned()).collect(),
        resources: resources.iter().map(|s| (*s).to_owned()).collect(),
        resource_names: names.iter().map(|s| (*s).to_owned()).collect(),
        non_resource_urls: Vec::new(),
    };
    let owned = [rule(&["get"], &[""], &["pods"], &[]), rule(&["update"], &["*"], &["*/scale"], &["a"])];
    assert!(uncovered(&owned, &[rule(&["get"], &[""], &["pods"], &["one"])]).is_empty());
    assert!(uncovered(&owned, &[rule(&["update"], &["apps"], &["deployments/scale"], &["a"])]).is_empty());
    assert_eq!(uncovered(&owned, &[rule(&["update"], &["apps"], &["deployments/scale"], &[])]).len(), 1);
    let missing = uncovered(&owned, &[rule(&["get", "list", "watch"], &[""], &["pods", "secrets"], &[])]);
    assert_eq!(
        describe_uncovered(missing),
        "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\" \"watch\"]}"
    );
}

#[test]
fn a_node_reads_only_what_its_own_pods_need() {
    let memory = Arc::new(Memory::default());
    memory.put(
        RBAC_GROUP,
        "clusterroles",
        json!({"metadata": {"name": "system:node"}, "rules": [
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["secrets", "configmaps", "services"]}]}),
    );
    memory.put(
        RBAC_GROUP,
        "clusterrolebindings",
        json!({"metadata": {"name": "system:node"}, "roleRef": {"kind": "ClusterRole", "name": "system:node"},
               "subjects": [{"kind": "Group", "name": "system:nodes"}]}),
    );
    memory.put(
        "",
        "pods",
        json!({"metadata": {"namespace": "dev", "name": "p"}, "spec": {
            "nodeName": "w1",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "password", "key": "k"}}}]}],
            "volumes": [
                {"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "token"}}]}},
                {"secret": {"secretName": "tls"}}]}}),
    );
    let rbac = Rbac::new(Arc::clone(&memory) as Arc<dyn ObjectReader>);
    let may = |node: &str, verb: &str, namespace: &str, resource: &str, name: &str| {
        let user = user(&format!("system:node:{node}"), &["system:nodes"]);
        let info = RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            namespace: namespace.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        rbac.decide(&user, &info).allowed
    };
    for name in ["pull", "password", "token", "tls"] {
        assert!(may("w1", "get", "dev", "secrets", name), "{name}");
        assert!(!may("w2", "get", "dev", "secrets", name), "{name} is none of w2's business");
    }
    assert!(may("w1", "watch", "dev", "configmaps", "kube-root-ca.crt"));
    assert!(!may("w1", "get", "prod", "secrets", "tls"), "another namespace");
    assert!(!may("w1", "get", "dev", "secrets", "other"));
    assert!(!may("w1", "get", "dev", "configmaps", "tls"), "a secret's name is not a config map's");
    assert!(!may("w1", "list", "dev", "secrets", "") && !may("w1", "list", "", "secrets", ""));
    assert!(!may("w1", "delete", "dev", "secrets", "tls"));
    assert!(may("w1", "list", "", "services", ""), "the rest stands in the role");
}
